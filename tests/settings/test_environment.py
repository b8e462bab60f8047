"""Tests of the settings: values from the environment, one report with all problems and without secrets."""

from __future__ import annotations

import dataclasses
import os
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pydantic
import pytest

from wxbot.errors import ConfigError
from wxbot.model.accounts import decode_aes_key, reply_kinds
from wxbot.settings.environment import load_plugin_settings, load_settings, misspelt_plugin_settings
from wxbot.settings.schema import MIN_SEND_KEY, Settings, without_password

SECRET = "5ecretValue0123456789abcdef"
TOKEN = "t0kenValueABCDEF"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
PREVIOUS_AES_KEY = "ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210abcdefg"
SECRETS = (SECRET, TOKEN, AES_KEY, PREVIOUS_AES_KEY)


class Environment:
    """The environment of one test: an empty folder and no variables of wxbot."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch = patch
        self.folder = folder
        for name in [name for name in os.environ if name.upper().startswith("WXBOT_")]:
            patch.delenv(name)
        patch.chdir(folder)

    def set(self, **values: str) -> None:
        """Set variables: ``appid="wx1"`` sets WXBOT_APPID."""
        for name, value in values.items():
            self.patch.setenv(f"WXBOT_{name.upper()}", value)

    def write_env_file(self, *lines: str) -> None:
        (self.folder / ".env").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


@pytest.fixture
def environment(empty_environment: Environment) -> Environment:
    """Return an environment in which the required settings are set."""
    empty_environment.set(appid="wx1", secret=SECRET, token=TOKEN)
    return empty_environment


def problems(**overrides: Any) -> tuple[str, ...]:
    """Load the settings, and return the problems."""
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    return caught.value.problems


# Required settings


def test_three_settings_are_required(environment: Environment) -> None:
    settings = load_settings()
    assert settings.appid == "wx1"
    assert (settings.secret.get_secret_value(), settings.token.get_secret_value()) == (SECRET, TOKEN)
    assert settings.aes_key is None
    assert settings.plugin_folders == (Path("plugins"),)
    assert settings.plugins == ()


def test_missing_settings_are_reported_by_name(empty_environment: Environment) -> None:
    assert problems() == ("WXBOT_APPID is missing", "WXBOT_SECRET is missing", "WXBOT_TOKEN is missing")


def test_all_problems_are_reported_together(empty_environment: Environment) -> None:
    empty_environment.set(
        token=" ", aes_key="short", store_url="mysql://x", handler_timeout="soon", typng="no", appid=""
    )
    report = problems()
    named = [problem.split()[0].rstrip(":") for problem in report]
    assert sorted(named) == [
        "WXBOT_AES_KEY",
        "WXBOT_APPID",
        "WXBOT_HANDLER_TIMEOUT",
        "WXBOT_SECRET",
        "WXBOT_STORE_URL",
        "WXBOT_TOKEN",
        "WXBOT_TYPNG",
    ]
    with pytest.raises(ConfigError, match=r"7 problem\(s\):\n  - WXBOT_") as caught:
        load_settings()
    assert str(caught.value).count("\n  - ") == 7


@pytest.mark.parametrize("blank", ["", " ", "\t"])
@pytest.mark.parametrize("name", ["secret", "token"])
def test_an_empty_secret_is_a_problem(environment: Environment, name: str, blank: str) -> None:
    environment.set(**{name: blank})
    (problem,) = problems()
    assert problem.startswith(f"WXBOT_{name.upper()}: must not be empty")


# The AES key


@pytest.mark.parametrize(
    "wrong", [AES_KEY[:-1], AES_KEY + "A", AES_KEY[:-1] + "=", AES_KEY[:-1] + "+", AES_KEY[:-1] + "é", " " * 43]
)
@pytest.mark.parametrize("name", ["aes_key", "previous_aes_key"])
def test_an_invalid_aes_key_is_a_problem_that_does_not_quote_it(
    environment: Environment, name: str, wrong: str
) -> None:
    environment.set(**{name: wrong})
    (problem,) = problems()
    assert problem == f"WXBOT_{name.upper()}: must be 43 characters of a-z, A-Z and 0-9, as WeChat's console shows it"


def test_unused_bits_of_an_aes_key_are_ignored(environment: Environment) -> None:
    assert decode_aes_key("A" * 43) == decode_aes_key("A" * 42 + "B") == bytes(32)


def test_the_previous_aes_key_is_read(environment: Environment) -> None:
    environment.set(aes_key=AES_KEY, previous_aes_key=PREVIOUS_AES_KEY)
    settings = load_settings()
    assert settings.previous_aes_key is not None
    assert settings.previous_aes_key.get_secret_value() == PREVIOUS_AES_KEY
    assert set(settings.secrets()) == set(SECRETS)


def test_an_empty_aes_key_means_plaintext(environment: Environment) -> None:
    environment.set(aes_key="", previous_aes_key="")
    assert load_settings().aes_key is None
    assert set(load_settings().secrets()) == {SECRET, TOKEN}


# Secrets


def test_settings_show_no_secret(environment: Environment) -> None:
    environment.set(aes_key=AES_KEY, previous_aes_key=PREVIOUS_AES_KEY)
    settings = load_settings()
    shown = [repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json(), f"{settings}"]
    assert not [secret for secret in SECRETS for text in shown if secret in text]
    assert "**" in repr(settings)


@pytest.mark.parametrize(
    "name",
    [
        "aes_key",
        "previous_aes_key",
        "store_url",
        "callback_path",
        "api_base",
        "token_call",
        "handler_timeout",
        "typing",
        "log_level",
        "max_attempts",
        "typing_path",
        "text_bytes",
        "typng",
        "account_kind",
        "cloud_call",
        "quota",
        "reply_types",
        "image_bytes",
        "ai_mark",
        "send_key",
        "handover_seconds",
    ],
)
def test_no_error_shows_a_misplaced_secret(environment: Environment, name: str) -> None:
    environment.set(**{name: f"{SECRET} {TOKEN}"})
    with pytest.raises(ConfigError) as caught:
        load_settings()
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.args)
    assert f"WXBOT_{name.upper()}" in text
    assert not [secret for secret in SECRETS if secret in text]


def test_pydantics_error_shows_no_secret(environment: Environment) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Settings.model_validate({"appid": "wx1", "secret": SECRET, "token": TOKEN, "aes_key": PREVIOUS_AES_KEY[:-1]})
    assert "43 characters" in str(caught.value)
    assert PREVIOUS_AES_KEY[:-1] not in str(caught.value) + repr(caught.value)


# Sources of settings


def test_the_environment_overrides_the_env_file(empty_environment: Environment) -> None:
    empty_environment.write_env_file(
        "WXBOT_APPID=wx-file", f"WXBOT_SECRET={SECRET}", f'WXBOT_TOKEN="{TOKEN}"', "WXBOT_TYPING=false"
    )
    empty_environment.set(appid="wx-environment")
    settings = load_settings()
    assert settings.appid == "wx-environment"
    assert settings.token.get_secret_value() == TOKEN
    assert settings.typing is False


def test_an_argument_overrides_environment_and_env_file(environment: Environment) -> None:
    environment.write_env_file("WXBOT_TYPING_DELAY=1")
    environment.set(typing_delay="2")
    assert load_settings(typing_delay=3).typing_delay == 3


def test_the_env_file_can_be_switched_off(empty_environment: Environment) -> None:
    empty_environment.write_env_file("WXBOT_APPID=wx1", "WXBOT_TYPNG=1")
    assert "WXBOT_APPID is missing" in problems(env_file=None, secret=SECRET, token=TOKEN)


def test_other_variables_in_the_env_file_are_ignored(environment: Environment) -> None:
    environment.write_env_file("DATABASE_URL=postgres://x", "WEB_CONCURRENCY=4", "WXBOT_BIND=0.0.0.0:80", "just words")
    assert load_settings().appid == "wx1"


@pytest.mark.parametrize("spelt", ["WXBOT_TYPING", "wxbot_typing", "Wxbot_Typing"])
def test_case_does_not_matter_in_names(environment: Environment, spelt: str) -> None:
    environment.patch.setenv(spelt, "no")
    assert load_settings().typing is False


@pytest.mark.parametrize(
    ("written", "names", "folders"),
    [
        ("", (), ()),
        ("echo", ("echo",), (Path("echo"),)),
        (" echo , faq,,", ("echo", "faq"), (Path("echo"), Path("faq"))),
        (",", (), ()),
    ],
)
def test_lists_are_separated_by_commas(
    environment: Environment, written: str, names: tuple[str, ...], folders: tuple[Path, ...]
) -> None:
    environment.set(plugins=written, plugin_folders=written)
    assert load_settings().plugins == names
    assert load_settings().plugin_folders == folders


# Misspelt settings


def test_a_misspelt_setting_is_a_problem(environment: Environment) -> None:
    environment.set(typng="false")
    assert problems() == ("WXBOT_TYPNG is not a setting; did you mean WXBOT_TYPING?",)


def test_a_misspelt_setting_in_the_env_file_is_a_problem(environment: Environment) -> None:
    environment.write_env_file("wxbot_handler_timout=5")
    assert problems() == ("WXBOT_HANDLER_TIMOUT is not a setting; did you mean WXBOT_HANDLER_TIMEOUT?",)


def test_a_misspelt_argument_is_a_problem(environment: Environment) -> None:
    assert problems(handler_timout=5) == ("WXBOT_HANDLER_TIMOUT is not a setting; did you mean WXBOT_HANDLER_TIMEOUT?",)


def test_no_suggestion_for_a_name_that_is_not_similar(environment: Environment) -> None:
    environment.set(colour="blue")
    assert problems() == ("WXBOT_COLOUR is not a setting",)


def test_variables_of_gunicorn_conf_are_known(environment: Environment) -> None:
    environment.set(bind="0.0.0.0:80")
    assert load_settings().appid == "wx1"
    conf = Path(__file__).parents[2] / "gunicorn.conf.py"
    read = {word for word in conf.read_text(encoding="utf-8").replace('"', " ").split() if word.startswith("WXBOT_")}
    environment.set(**{name.removeprefix("WXBOT_"): "30" for name in read if name != "WXBOT_ACCOUNT_KIND"})
    assert load_settings().drain_seconds == 30


def test_variables_that_kubernetes_sets_for_a_service_are_ignored(environment: Environment) -> None:
    environment.set(
        service_host="10.0.0.1",
        service_port="80",
        service_port_http="80",
        port="tcp://10.0.0.1:80",
        port_80_tcp="tcp://10.0.0.1:80",
        port_80_tcp_proto="tcp",
        port_80_tcp_port="80",
        port_80_tcp_addr="10.0.0.1",
        web_service_host="10.0.0.2",
        web_port="tcp://10.0.0.2:80",
    )
    assert load_settings().appid == "wx1"


def test_a_plain_port_number_is_not_from_kubernetes(environment: Environment) -> None:
    environment.set(port="8000")
    assert problems() == ("WXBOT_PORT is not a setting",)


# Values


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "Infinity", "NaN"])
@pytest.mark.parametrize(
    "name",
    [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)],
)
def test_numbers_must_be_finite(environment: Environment, name: str, number: str) -> None:
    environment.set(**{name: number})
    (problem,) = problems()
    assert problem.startswith(f"WXBOT_{name.upper()}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handler_timeout", "0"),
        ("handler_threads", "0"),
        ("max_attempts", "0"),
        ("typing_delay", "30"),
        ("typing_margin", "-1"),
        ("text_bytes", "2049"),
        ("text_bytes", "99"),
        ("callback_path", "wechat"),
        ("callback_path", "/we chat"),
        ("callback_path", "/<x>"),
        ("callback_path", "/healthz"),
        ("callback_path", "/readyz/"),
        ("callback_path", "//metrics"),
        ("callback_path", "/send"),
        ("callback_path", "/send/"),
        ("callback_path", "/send/orders"),
        ("appid", " wx1"),
        ("appid", "wx1\n"),
        ("appid", "wx 1"),
        ("appid", "微信"),
        ("send_key", '0123456789abcdef"'),
        ("send_key", "0123456789abcdef'"),
        ("send_key", "0123456789abcdef\\"),
        ("api_base", "api.weixin.qq.com"),
        ("api_base", "https://api.weixin.qq.com/"),
        ("typing_path", "typing"),
        ("token_call", "new"),
        ("sqlite_synchronous", "off"),
        ("log_level", "LOUD"),
        ("typing", "perhaps"),
        ("store_url", "wxbot.db"),
        ("store_url", "sqlite:///"),
        ("store_url", "sqlite://wxbot.db"),
        ("store_url", ""),
        ("store_url", "redis://"),
        ("store_url", "mysql://127.0.0.1/wxbot"),
        ("broker_url", "127.0.0.1:6379"),
        ("broker_url", "sqlite:///wxbot.db"),
        ("redis_replicas", "-1"),
        ("role", "both"),
        ("account_kind", "shop"),
        ("account_kind", ""),
        ("cloud_call", "on"),
        ("cloud_from_appid", "perhaps"),
        ("image_bytes", "0"),
        ("ai_mark", "perhaps"),
        ("handover_seconds", "0"),
        ("reply_types", "text,songs"),
        ("continue_text", ""),
        ("continue_text", "…" * 101),
        ("pending_text", ""),
        ("pending_text", "…" * 501),
    ],
)
def test_an_invalid_value_is_a_problem(environment: Environment, name: str, value: str) -> None:
    environment.set(**{name: value})
    (problem,) = problems()
    assert problem.startswith(f"WXBOT_{name.upper()}: ")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://user:password@redis.example:6380/1?ssl_ca_certs=/etc/ca.pem",
        "redis+sentinel://one:26379,two:26379/mymaster/0",
    ],
)
def test_shared_addresses_of_store_and_broker_are_accepted(environment: Environment, url: str) -> None:
    environment.set(store_url=url, broker_url=url)
    assert load_settings().store_url == url
    environment.set(broker_url="amqp://guest:guest@127.0.0.1:5672/")
    assert load_settings().broker_url.startswith("amqp")


def test_a_broker_requires_a_shared_store(environment: Environment) -> None:
    environment.set(broker_url="redis://127.0.0.1:6379/1")
    assert problems() == (
        "WXBOT_BROKER_URL needs a store that several machines can share: set WXBOT_STORE_URL to redis://…",
    )


def test_a_worker_requires_a_broker(environment: Environment) -> None:
    environment.set(role="worker", store_url="redis://127.0.0.1/0")
    (problem,) = problems()
    assert "WXBOT_BROKER_URL" in problem


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pass%20word@h:1/0", "redis://:***@h:1/0"),
        ("redis+sentinel://me:pass%20word@a,b/m", "redis+sentinel://me:***@a,b/m"),
        ("amqp://me:p@ss%20word@h/", "amqp://me:***@h/"),
        ("redis://h/0?password=pass%20word&db=1", "redis://h/0?password=***&db=1"),
        ("redis://h/0", "redis://h/0"),
    ],
)
def test_the_password_in_an_address_is_a_secret(environment: Environment, url: str, shown: str) -> None:
    environment.set(store_url=url if url.startswith("redis") else "redis://h/0", broker_url=url)
    settings = load_settings()
    assert without_password(url) == shown
    assert "pass%20word" not in repr(settings)
    if "@" in url:
        written = url.rpartition("@")[0].rpartition("me:" if "me:" in url else ":")[2]
        assert written in settings.secrets()
        assert unquote(written) in settings.secrets()


# Kinds of account, cloud call

WITH_API = {"message": (5, 172_800), "enter": (2, 60), "menu": (3, 60), "subscribe": (3, 60), "scan": (3, 60)}


@pytest.mark.parametrize(
    ("kind", "quota", "kinds"),
    [
        ("miniprogram", WITH_API, {"text", "image", "link", "miniprogrampage"}),
        ("official", WITH_API, reply_kinds("official")),
        ("unverified", {}, {"text", "image", "voice", "video", "music", "news"}),
    ],
)
def test_the_account_kind_decides_quota_and_reply_types(
    environment: Environment, kind: str, quota: dict[str, tuple[int, float]], kinds: set[str]
) -> None:
    """Check the defaults. Mini Programs and Official Accounts share one quota table, but have different events."""
    environment.set(account_kind=kind)
    settings = load_settings()
    assert settings.allowances == quota
    assert settings.reply_kinds >= kinds
    assert ("voice" in settings.reply_kinds) is (kind != "miniprogram")


def test_reply_types_replace_the_default(environment: Environment) -> None:
    environment.set(reply_types=" text , image,")
    assert load_settings().reply_kinds == {"text", "image"}
    environment.set(reply_types="")
    assert "miniprogrampage" in load_settings().reply_kinds


def test_an_unknown_reply_type_is_a_problem(environment: Environment) -> None:
    environment.set(reply_types="text,songs")
    (problem,) = problems()
    assert problem.startswith("WXBOT_REPLY_TYPES: number 2 is not a type of reply; use ")
    assert all(kind in problem for kind in ("text", "image", "news"))


def test_an_unverified_account_allows_only_passive_reply_types(environment: Environment) -> None:
    environment.set(account_kind="unverified", reply_types="text,news")
    assert load_settings().reply_kinds == {"text", "news"}
    environment.set(reply_types="text,link")
    assert problems() == (
        "WXBOT_REPLY_TYPES: link cannot be a passive reply, and an unverified account sends only passive replies; "
        "use image, music, news, text, video, voice",
    )
    environment.set(account_kind="miniprogram")
    assert load_settings().reply_kinds == {"text", "link"}


@pytest.mark.parametrize("path", ["/", "/sender", "/wechat/send", "/healthz2", "/send.php", "/a/healthz"])
def test_other_callback_paths_are_accepted(environment: Environment, path: str) -> None:
    environment.set(callback_path=path)
    assert load_settings().callback_path == path


def test_reserved_paths_and_blanks_are_problems(environment: Environment) -> None:
    environment.set(callback_path="/send", appid="wx1 ")
    assert problems() == (
        "WXBOT_APPID: must not begin or end with blanks",
        "WXBOT_CALLBACK_PATH: is reserved: wxbot uses /healthz, /readyz, /metrics, /send and the paths below /send",
    )


def test_a_previous_aes_key_requires_a_current_one(environment: Environment) -> None:
    environment.set(previous_aes_key=PREVIOUS_AES_KEY)
    (problem,) = problems()
    assert problem.startswith("WXBOT_PREVIOUS_AES_KEY: needs the current EncodingAESKey as well")
    environment.set(aes_key="wrong")
    (problem,) = problems()
    assert problem.startswith("WXBOT_AES_KEY: must be 43 characters")
    environment.set(aes_key=AES_KEY)
    assert load_settings().previous_aes_key is not None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"token": ""}, "WXBOT_TOKEN: must not be empty: set it, or leave it out to accept unsigned pushes"),
        ({"token": " "}, "WXBOT_TOKEN: must not be empty: set it, or leave it out to accept unsigned pushes"),
        (
            {"token": "", "aes_key": AES_KEY},
            "WXBOT_TOKEN: must not be empty: set it, or leave it out to accept unsigned pushes",
        ),
        ({"aes_key": ""}, "WXBOT_AES_KEY: must not be empty"),
        ({"aes_key": " "}, "WXBOT_AES_KEY: must be 43 characters"),
        ({"aes_key": "", "token": TOKEN}, "WXBOT_AES_KEY: must not be empty"),
        ({"aes_key": AES_KEY}, "WXBOT_AES_KEY: needs the Token of the message push as well"),
    ],
)
@pytest.mark.parametrize("way", ["open", "token"])
def test_with_cloud_call_an_incomplete_signature_setup_is_a_problem(
    empty_environment: Environment, way: str, given: dict[str, str], expected: str
) -> None:
    empty_environment.set(appid="wx1", cloud_call=way, **given)
    (problem,) = problems()
    assert problem.startswith(expected)


@pytest.mark.parametrize("way", ["open", "token"])
def test_cloud_call_requires_neither_secret_nor_token(empty_environment: Environment, way: str) -> None:
    empty_environment.set(appid="wx1", cloud_call=way)
    settings = load_settings()
    assert (settings.secret.get_secret_value(), settings.token.get_secret_value()) == ("", "")
    assert settings.api_base == "http://api.weixin.qq.com"
    assert settings.cloud_token_file == Path("/.tencentcloudbase/wx/cloudbase_access_token")


def test_with_cloud_call_secret_and_token_are_optional(empty_environment: Environment) -> None:
    empty_environment.set(appid="wx1", cloud_call="open", secret=" ", token=TOKEN, api_base="http://127.0.0.1:1")
    settings = load_settings()
    assert settings.token.get_secret_value() == TOKEN
    assert settings.api_base == "http://127.0.0.1:1"


def test_without_cloud_call_the_default_address_uses_https(environment: Environment) -> None:
    assert load_settings().api_base == "https://api.weixin.qq.com"
    environment.set(api_base="")
    assert load_settings().api_base == "https://api.weixin.qq.com"


def test_with_an_unknown_cloud_call_secret_and_token_are_required(empty_environment: Environment) -> None:
    empty_environment.set(appid="wx1", cloud_call="on")
    assert problems() == (
        "WXBOT_CLOUD_CALL: Input should be 'off', 'open' or 'token'",
        "WXBOT_SECRET is missing",
        "WXBOT_TOKEN is missing",
    )


# The quota


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ("", {}),
        ("message=20/48h", {"message": (20, 172_800)}),
        (" message = 5 / 2 d , enter=1/30s,", {"message": (5, 172_800), "enter": (1, 30)}),
        ("menu=0/1m", {"menu": (0, 60)}),
    ],
)
def test_quota_rows_are_read_from_a_text(
    environment: Environment, written: str, rows: dict[str, tuple[int, float]]
) -> None:
    environment.set(quota=written)
    settings = load_settings()
    assert settings.quota == rows
    assert settings.allowances == {**WITH_API, **rows}


def test_quota_rows_are_read_from_a_table(environment: Environment) -> None:
    assert load_settings(quota={"message": "20/48h", "enter": "1/30s"}).quota == {
        "message": (20, 172_800),
        "enter": (1, 30),
    }


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("message", 1),
        ("5/48h", 1),
        ("message=5", 1),
        ("message=5/48", 1),
        ("message=five/48h", 1),
        ("message=-5/48h", 1),
        ("message=5/48h, write=5/48h", 2),
        ("message=5/48h; enter=1/1m", 1),
        (",,message=5/48h,enter", 2),
    ],
)
def test_an_invalid_quota_row_is_a_problem_named_by_its_number(
    environment: Environment, written: str, number: int
) -> None:
    environment.set(quota=written)
    assert problems() == (
        f"WXBOT_QUOTA: row {number} is not a row of a quota; write rows such as message=5/48h, enter=2/1m "
        "(user actions: message, enter, menu, subscribe, scan; times in s, m, h or d)",
    )


# The key for other systems


def test_without_a_send_key_sending_is_off(environment: Environment) -> None:
    assert load_settings().send_key is None
    environment.set(send_key="")
    assert load_settings().send_key is None


def test_the_send_key_is_a_secret(environment: Environment) -> None:
    environment.set(send_key="key-for-the-shop")
    settings = load_settings()
    assert settings.send_key is not None
    assert settings.send_key.get_secret_value() == "key-for-the-shop"
    assert "key-for-the-shop" in settings.secrets()
    assert "key-for-the-shop" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("x" * (MIN_SEND_KEY - 1), "must have at least 16 characters, because a guessed key can send to your users"),
        (" " * MIN_SEND_KEY, "must have ASCII characters only and no blanks, because it is sent in an HTTP header"),
        (
            "x" * MIN_SEND_KEY + "\n",
            "must have ASCII characters only and no blanks, because it is sent in an HTTP header",
        ),
        ("钥" * MIN_SEND_KEY, "must have ASCII characters only and no blanks, because it is sent in an HTTP header"),
    ],
)
def test_a_short_or_unsendable_send_key_is_a_problem(environment: Environment, key: str, expected: str) -> None:
    environment.set(send_key=key)
    assert problems() == (f"WXBOT_SEND_KEY: {expected}",)


def test_resume_and_continue_words_are_separated_by_commas(environment: Environment) -> None:
    assert load_settings().resume_words == ("返回机器人",)
    environment.set(resume_words="bot, back", continue_words="")
    assert load_settings().resume_words == ("bot", "back")
    assert load_settings().continue_words == ()


# One of several accounts (tests/settings/test_accounts_file.py)


def test_of_account_returns_a_copy(environment: Environment) -> None:
    settings = load_settings()
    orders = settings.of_account("orders", {"faq": {"file": "x"}})
    assert (orders.account, orders.callback_path) == ("orders", "/wechat/orders")
    assert orders.of_account("orders").plugin_settings == {"faq": {"file": "x"}}
    assert (settings.account, settings.callback_path, settings.plugin_settings) == ("", "/wechat", {})


def test_an_accounts_plugin_settings_override_the_environment(environment: Environment) -> None:
    environment.set(plugin_shop_name="of all", plugin_shop_door="back")
    assert load_plugin_settings("shop", Shop, of_account={"name": "its own"}) == Shop("its own", door=Path("back"))


def test_a_plugin_setting_problem_names_its_source(environment: Environment) -> None:
    environment.set(plugin_shop_name="of all", plugin_shop_open_hours=SECRET)
    with pytest.raises(ConfigError) as caught:
        load_plugin_settings("shop", Shop, of_account={"door": 5})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "WXBOT_PLUGIN_SHOP_OPEN_HOURS",
        "plugin_settings.shop.door",
    ]


def test_settings_are_frozen(environment: Environment) -> None:
    settings = load_settings()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.appid = "wx2"
    assert settings.appid == "wx1"


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


# Settings of plugins


@dataclasses.dataclass
class Shop:
    name: str
    open_hours: float = 8.0
    door: Path = Path("front")
    rooms: int = dataclasses.field(default=1, init=False)


class Bank(pydantic.BaseModel):
    url: pydantic.HttpUrl
    retries: int = pydantic.Field(3, ge=0)
    api_key: pydantic.SecretStr = pydantic.SecretStr("")
    limit: int = pydantic.Field(1, alias="dailyLimit")


def test_a_dataclass_gets_its_fields_with_their_types(environment: Environment) -> None:
    environment.set(plugin_shop_name="Corner", plugin_shop_open_hours="7.5", plugin_shop_door="back")
    assert load_plugin_settings("shop", Shop) == Shop("Corner", 7.5, Path("back"))


def test_a_model_gets_its_fields_with_their_types(environment: Environment) -> None:
    environment.set(plugin_my_bank_url="https://bank", plugin_my_bank_retries="5", plugin_my_bank_dailylimit="9")
    bank = load_plugin_settings("my-bank", Bank)
    assert (str(bank.url), bank.retries, bank.limit) == ("https://bank/", 5, 9)


def test_all_problems_of_a_plugin_are_named_without_secrets(environment: Environment) -> None:
    environment.set(plugin_bank_url=SECRET, plugin_bank_retries=TOKEN)
    with pytest.raises(ConfigError) as caught:
        load_plugin_settings("bank", Bank)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "WXBOT_PLUGIN_BANK_URL",
        "WXBOT_PLUGIN_BANK_RETRIES",
    ]
    text = "".join(traceback.format_exception(caught.value))
    assert SECRET not in text
    assert TOKEN not in text


def test_a_missing_plugin_setting_is_a_problem(environment: Environment) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugin_settings("shop", Shop)
    assert caught.value.problems == ("WXBOT_PLUGIN_SHOP_NAME is missing",)


def test_plugin_settings_are_read_from_the_env_file(environment: Environment) -> None:
    environment.write_env_file("WXBOT_PLUGIN_SHOP_NAME=from file", "wxbot_plugin_shop_door=side")
    environment.set(plugin_shop_name="from environment")
    assert load_plugin_settings("shop", Shop) == Shop("from environment", door=Path("side"))


def test_two_plugins_with_a_common_prefix_get_their_own_settings(environment: Environment) -> None:
    class Strict(pydantic.BaseModel, extra="forbid"):
        name: str

    given = {"WXBOT_PLUGIN_SHOP_NAME": "a", "WXBOT_PLUGIN_SHOP_TWO_NAME": "b"}
    assert load_plugin_settings("shop", Strict, given) == Strict(name="a")
    assert load_plugin_settings("shop-two", Strict, given) == Strict(name="b")
    assert misspelt_plugin_settings({"shop": Strict, "shop-two": Strict}, given) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("WXBOT_PLUGIN_SHOP_NAM", "; did you mean WXBOT_PLUGIN_SHOP_NAME?"),
        ("WXBOT_PLUGIN_SHOPS_NAME", "; did you mean WXBOT_PLUGIN_SHOP_NAME?"),
        ("WXBOT_PLUGIN_SHOP_ROOMS", ""),
        ("WXBOT_PLUGIN_ECHO_LOUD", ""),
        ("WXBOT_PLUGIN_FOLDER", "; did you mean WXBOT_PLUGIN_FOLDERS?"),
    ],
)
def test_a_misspelt_plugin_setting_is_a_problem(name: str, problem: str) -> None:
    found = {"shop": Shop, "echo": None}
    (text,) = misspelt_plugin_settings(found, {name: "x", "WXBOT_PLUGIN_FOLDERS": "here", "WXBOT_PLUGINS": "shop"})
    assert text.startswith(f"{name} is a setting of no plugin that was found")
    if problem:
        assert text.endswith(problem)


def test_an_env_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("WXBOT_ERROR_TEXT=出错了".encode("gbk"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(env_file=str(file))
