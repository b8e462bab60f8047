"""The documents agree with the code: errcodes, log lines, times, the demo."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tests.docs.documents import ROOT, blocks, code_words, prose, read, rows
from wxbot.errors import ApiError, api_error
from wxbot.model import messages
from wxbot.model.accounts import ACCOUNTS, AccountKind, table
from wxbot.model.quota import Allowance, parse_allowances
from wxbot.model.replies import KINDS
from wxbot.playground.demo import SCENARIOS
from wxbot.server.web import SEND_PATH
from wxbot.settings.schema import PushSettings, ServerSettings
from wxbot.wechat.api.token_call import EXPLANATIONS

WECHAT = ROOT / "docs" / "wechat.md"
DEPLOYMENT = ROOT / "docs" / "deployment.md"
SOURCE = "\n".join(read(path) for path in [*sorted((ROOT / "wxbot").rglob("*.py")), ROOT / "gunicorn.conf.py"])
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "critical": "CRITICAL"}


def test_errcodes_have_the_documented_error_classes() -> None:
    documented = {
        int(row[0]): code_words(row[2])[0] for row in rows(WECHAT) if len(row) == 4 and row[0].lstrip("-").isdigit()
    }
    assert documented == {code: type(api_error("", code, "")).__name__ for code in documented}
    special = {code for code in range(-1, 100_000) if type(api_error("", code, "")) is not ApiError}
    assert special <= set(documented)
    assert list(documented) == sorted(documented)


def test_every_errcode_of_the_token_calls_is_documented() -> None:
    documented = [row[0] for row in rows(WECHAT) if len(row) == 3 and re.fullmatch(r"[\d, ]+", row[0])]
    assert sorted(int(code) for cell in documented for code in cell.split(",")) == sorted(EXPLANATIONS)


def test_the_documented_capabilities_are_those_of_the_code() -> None:
    _, begin, after = read(WECHAT).partition("<!-- capabilities: begin -->\n\n")
    documented, end, _ = after.partition("\n<!-- capabilities: end -->")
    assert begin
    assert end
    assert documented == table()


def test_every_received_kind_has_the_documented_class() -> None:
    documented = {
        (row[1].startswith("event"), kind.lower()): code_words(row[3])[0]
        for row in rows(WECHAT)
        if len(row) == 5 and row[0] in ("all", "MP", "OA", "MP, OA")
        for kind in code_words(row[1])
        if kind.isidentifier()
    }
    made = {(False, kind): each.__name__ for kind, (each, _) in messages._MESSAGES.items()}
    made |= {(True, kind): each.__name__ for kind, (each, _) in messages._EVENTS.items()}
    assert documented == made


def test_every_sent_kind_has_the_documented_class() -> None:
    documented = {
        code_words(row[0])[0]: (code_words(row[1])[0], row[3])
        for row in rows(WECHAT)
        if len(row) == 4 and code_words(row[1]) and code_words(row[1])[0].endswith("Reply")
    }
    short: Mapping[AccountKind, str] = {"miniprogram": "MP", "official": "OA"}
    assert documented == {
        kind: (each.__name__, ", ".join(short[account] for account in short if kind in ACCOUNTS[account].sends))
        for kind, each in KINDS.items()
    }


def test_the_documented_quota_is_that_of_the_code() -> None:
    documented: dict[str, Allowance] = {}
    for row in rows(WECHAT):
        if len(row) == 6 and row[0] in ("MP", "OA"):
            action, allowance = next(iter(parse_allowances(code_words(row[4])[0]).items()))
            number, unit = row[3].split()
            assert Allowance(int(row[2]), int(number) * {"hours": 3600, "minute": 60}[unit]) == allowance
            documented[action] = allowance
    assert documented == ACCOUNTS["miniprogram"].allowances == ACCOUNTS["official"].allowances


LOG_LINES = [
    (line, row[1]) for row in rows(DEPLOYMENT) if row[1] in (*LEVELS.values(), "ERROR") for line in code_words(row[0])
]


@pytest.mark.parametrize(("line", "level"), LOG_LINES)
def test_documented_log_lines_exist(line: str, level: str) -> None:
    text = r"[^\"]*".join(re.escape(part.strip()) for part in line.split("…"))
    calls = re.findall(rf'log\.(\w+)\(\s*"{text}', SOURCE)
    assert level in [LEVELS.get(call, "ERROR") for call in calls], (
        f"no log line in the code begins with this text: {line}"
    )


def test_every_warning_and_error_line_is_documented() -> None:
    for document in (DEPLOYMENT, ROOT / "docs" / "zh-CN" / "deployment.md"):
        explained = [line.partition("…")[0].strip() for row in rows(document) for line in code_words(row[0])]
        serious = re.findall(r'log\.(?:error|critical|warning|exception)\(\s*"([^"]+)"', SOURCE)
        missing = [text for text in serious if not text.startswith(tuple(explained))]
        assert missing == []


def test_the_systemd_unit_waits_longer_than_gunicorn() -> None:
    (unit,) = blocks(DEPLOYMENT, "ini")
    stop = re.search(r"TimeoutStopSec=(\d+)", unit.code)
    assert stop is not None
    assert int(stop[1]) > ServerSettings().drain_seconds + 5 + 5
    assert "+ 5" in read(ROOT / "gunicorn.conf.py"), "gunicorn's own five seconds"


def test_the_nginx_configuration_fits_the_settings() -> None:
    server, inside = blocks(DEPLOYMENT, "nginx")
    for each in (server, inside):
        assert "client_max_body_size 1m;" in each.code
        assert each.code.count("proxy_pass http://127.0.0.1:8000;") == 1
    assert SEND_PATH not in server.code, "/send must not be reachable from the internet"
    assert f"location {SEND_PATH} {{" in inside.code
    assert "deny all;" in inside.code
    assert ServerSettings().max_body_bytes == 1024 * 1024
    assert f"location = {PushSettings().path} {{" in server.code


def test_the_readme_shows_the_demo_of_the_code() -> None:
    (timeline, *_) = blocks(ROOT / "README.md", "text")
    users = dict(re.findall(r"(?m)^  ok  (\w+) +(.+)$", timeline.code))
    assert users
    assert users.items() <= {scenario.user: scenario.about for scenario in SCENARIOS}.items()
    assert f"PASS: {len(SCENARIOS)} scenarios in" in timeline.code


def test_the_first_screen_of_the_readme_has_code_and_commands() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        first, *_ = blocks(ROOT / name)
        assert first.line < 22
        assert first.language == "python"
        assert first.code.count("\n") <= 11
        screen = read(ROOT / name).partition("\n## ")[0]
        assert screen.count("\n") < 44
        assert "$ make demo" in screen
        assert "$ make test" in screen


def test_the_design_refers_to_the_figures() -> None:
    """The design names the page that has the figures, instead of repeating them."""
    assert "figures are in [performance.md](performance.md)" in prose(ROOT / "docs" / "design.md")
