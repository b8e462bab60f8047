"""Tests of the settings: values from the environment, one report with all problems and without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pydantic
import pytest

from tests.settings.support import (
    AES_KEY,
    PREVIOUS_AES_KEY,
    SECRET,
    SECRETS,
    TOKEN,
    Environment,
    empty_environment,
    load,
    problems,
    values,
)
from wxbot.errors import ConfigError
from wxbot.model.accounts import ACCOUNTS, AccountKind, decode_aes_key
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import (
    ACCOUNT_SETTINGS,
    MIN_SEND_KEY,
    PROCESS_SETTINGS,
    Credentials,
    ReplySettings,
    TypingSettings,
    without_password,
)

__all__ = ["empty_environment"]

ROOT = Path(__file__).parents[2]
ALL = {**ACCOUNT_SETTINGS, **PROCESS_SETTINGS}
BAD_AES_KEY = "must be 43 characters of a-z, A-Z and 0-9, as WeChat's console shows it"
BAD_ROW = (
    "is not a row of a quota; write rows such as message=5/48h, enter=2/1m "
    "(user actions: message, enter, menu, subscribe, scan; times in s, m, h or d)"
)
UNSENDABLE = "must have ASCII characters only and no blanks, because it is sent in an HTTP header"
QUOTED = "must have no quotes and no backslashes, because log redaction would not find it"
KEYS = ("aes_key", "previous_aes_key", "send_key")
WITH_API = {"message": (5, 172_800), "enter": (2, 60), "menu": (3, 60), "subscribe": (3, 60), "scan": (3, 60)}


@pytest.fixture
def environment(empty_environment: Environment) -> Environment:
    """Return an environment in which the required settings are set."""
    empty_environment.set(appid="wx1", secret=SECRET, token=TOKEN)
    return empty_environment


# Values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"appid": "wx1", "aes_key": None, "send_key": None, "plugin_folders": (Path("plugins"),), "plugins": ()}),
        (dict.fromkeys(KEYS, ""), dict.fromkeys(KEYS)),
        ({"plugins": "", "plugin_folders": ""}, {"plugins": (), "plugin_folders": ()}),
        ({"plugins": " echo , faq,,"}, {"plugins": ("echo", "faq")}),
        ({"plugin_folders": " a , b,,"}, {"plugin_folders": (Path("a"), Path("b"))}),
        ({"plugins": ","}, {"plugins": ()}),
        ({}, {"resume_words": {"返回机器人"}, "continue_words": {"继续"}}),
        (
            {"resume_words": "Bot, back", "continue_words": ""},
            {"resume_words": {"bot", "back"}, "continue_words": set()},
        ),
        ({"quota": ""}, {"quota": WITH_API}),
        ({"quota": "message=20/48h"}, {"quota": {**WITH_API, "message": (20, 172_800)}}),
        (
            {"quota": " message = 5 / 2 d , enter=1/30s,menu=0/1m"},
            {"quota": {**WITH_API, "enter": (1, 30), "menu": (0, 60)}},
        ),
        ({"reply_types": " text , image,"}, {"reply_types": {"text", "image"}}),
        ({"reply_types": ""}, {"reply_types": set(ACCOUNTS["miniprogram"].sends)}),
        ({"account_kind": "unverified", "reply_types": "text,news"}, {"reply_types": {"text", "news"}}),
        ({"reply_types": "text,link"}, {"reply_types": {"text", "link"}}),
        ({"api_base": ""}, {"api_base": "https://api.weixin.qq.com"}),
        ({"cloud_call": "open"}, {"api_base": "http://api.weixin.qq.com"}),
        ({"cloud_call": "token", "api_base": "http://127.0.0.1:1"}, {"api_base": "http://127.0.0.1:1"}),
        ({"store_url": "redis://127.0.0.1:6379/0", "broker_url": "amqp://guest:guest@127.0.0.1:5672/"}, {}),
        ({"store_url": "rediss://user:word@redis.example:6380/1?ssl_ca_certs=/etc/ca.pem"}, {}),
        ({"store_url": "redis+sentinel://a:26379,b:26379/m/0", "broker_url": "redis+sentinel://a:1/m"}, {}),
        *(({"callback_path": path}, {"callback_path": path}) for path in ("/", "/sender", "/wechat/send", "/healthz2")),
        *(({"callback_path": path}, {"callback_path": path}) for path in ("/send.php", "/a/healthz")),
    ],
)
def test_a_value_is_read(environment: Environment, given: dict[str, str], expected: dict[str, Any]) -> None:
    environment.set(**given)
    read = load()
    assert {name: read[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ACCOUNTS)
def test_the_account_kind_decides_quota_and_reply_types(environment: Environment, kind: AccountKind) -> None:
    """Check the defaults. Mini Programs and Official Accounts share one quota table, but have different events."""
    environment.set(account_kind=kind)
    read = load()
    assert read["quota"] == ({} if kind == "unverified" else WITH_API)
    assert read["reply_types"] == set(ACCOUNTS[kind].sends)
    assert ("voice" in read["reply_types"]) is (kind != "miniprogram")
    assert load_settings().accounts[""].credentials.account.is_passive is (kind == "unverified")


def test_quota_rows_are_read_from_a_table(environment: Environment) -> None:
    quota = load(quota={"message": "20/48h", "enter": "1/30s"})["quota"]
    assert quota == {**WITH_API, "message": (20, 172_800), "enter": (1, 30)}


def test_a_program_makes_a_group_with_its_own_names() -> None:
    assert TypingSettings(delay=2).delay == 2
    replies = ReplySettings()
    assert replies.quota == ACCOUNTS["miniprogram"].allowances
    assert replies.reply_types == set(ACCOUNTS["miniprogram"].sends)


def test_unused_bits_of_an_aes_key_are_ignored() -> None:
    assert decode_aes_key("A" * 43) == decode_aes_key("A" * 42 + "B") == bytes(32)


@pytest.mark.parametrize("way", ["open", "token"])
def test_cloud_call_requires_neither_secret_nor_token(empty_environment: Environment, way: str) -> None:
    empty_environment.set(appid="wx1", cloud_call=way)
    read = load()
    assert (read["secret"].get_secret_value(), read["token"].get_secret_value()) == ("", "")
    assert read["cloud_token_file"] == Path("/.tencentcloudbase/wx/cloudbase_access_token")
    empty_environment.set(secret=" ", token=TOKEN)
    assert load()["token"].get_secret_value() == TOKEN


def test_settings_are_frozen_and_belong_to_the_process_or_to_an_account(environment: Environment) -> None:
    settings = load_settings()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.accounts[""].credentials.appid = "wx2"
    assert not ACCOUNT_SETTINGS.keys() & PROCESS_SETTINGS.keys()
    assert values(settings).keys() == ALL.keys()
    groups = [type(group) for whole in (settings.process, settings.accounts[""]) for _, group in whole]
    fields = [each for group in groups if issubclass(group, pydantic.BaseModel) for each in group.model_fields.items()]
    renamed = {name for name, field in fields if field.validation_alias}
    assert not renamed & ALL.keys(), "a group would take the value of another one"


# Secrets


def test_settings_show_no_secret(environment: Environment) -> None:
    environment.set(aes_key=AES_KEY, previous_aes_key=PREVIOUS_AES_KEY, send_key="key-for-the-shop")
    settings = load_settings()
    account = settings.accounts[""]
    secrets = {SECRET, TOKEN, AES_KEY, PREVIOUS_AES_KEY, "key-for-the-shop"}
    assert set(settings.secrets()) == secrets
    shown = [repr(settings), str(account), repr(account.model_dump()), account.model_dump_json(), f"{account}"]
    assert not [secret for secret in secrets for text in shown if secret in text]
    assert "**" in repr(settings)
    assert {name for name, setting in ALL.items() if setting.is_secret} == {
        *("secret", "token", "aes_key", "previous_aes_key", "send_key")
    }


@pytest.mark.parametrize("name", sorted({*ALL, "typng"} - {"appid", "secret", "token", "business_id"}))
def test_no_error_shows_a_misplaced_secret(environment: Environment, name: str) -> None:
    """Every setting gets secrets as its value. Settings that take any text are accepted together with a bad one."""
    environment.set(**{name: f"{SECRET} {TOKEN}", "typng": "1"})
    assert "WXBOT_TYPNG is not a setting; did you mean WXBOT_TYPING?" in problems()


def test_pydantics_error_shows_no_secret() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Credentials.model_validate({"appid": "wx1", "secret": SECRET, "token": TOKEN, "aes_key": AES_KEY[:-1]})
    assert "43 characters" in str(caught.value)
    assert not [secret for secret in (*SECRETS, AES_KEY[:-1]) if secret in str(caught.value) + repr(caught.value)]


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
        assert {written, unquote(written)} <= set(settings.secrets())


# Sources


def test_an_argument_overrides_the_environment_which_overrides_the_env_file(empty_environment: Environment) -> None:
    empty_environment.write_env_file(
        *("WXBOT_APPID=wx-file", f"WXBOT_SECRET={SECRET}", f'WXBOT_TOKEN="{TOKEN}"', "WXBOT_TYPING=false"),
        *("DATABASE_URL=postgres://x", "WEB_CONCURRENCY=4", "WXBOT_BIND=0.0.0.0:80", "just words"),
    )
    empty_environment.set(appid="wx-environment", typing_delay="2")
    read = load(typing_delay=3)
    assert (read["appid"], read["typing"], read["typing_delay"]) == ("wx-environment", False, 3)
    assert read["token"].get_secret_value() == TOKEN
    assert "WXBOT_SECRET is missing" in problems(env_file=None, token=TOKEN)


def test_an_env_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("WXBOT_ERROR_TEXT=出错了".encode("gbk"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(env_file=str(file))


@pytest.mark.parametrize("spelt", ["WXBOT_TYPING", "wxbot_typing", "Wxbot_Typing"])
def test_case_does_not_matter_in_names(environment: Environment, spelt: str) -> None:
    environment.set_variables({spelt: "no"})
    assert load()["typing"] is False


def test_variables_of_gunicorn_conf_are_known(environment: Environment) -> None:
    conf = (ROOT / "gunicorn.conf.py").read_text(encoding="utf-8")
    read = {word for word in conf.replace('"', " ").split() if word.startswith("WXBOT_")}
    environment.set_variables(dict.fromkeys(read - {"WXBOT_ACCOUNT_KIND"}, "30"))
    assert load()["drain_seconds"] == 30


def test_variables_that_kubernetes_sets_for_a_service_are_ignored(environment: Environment) -> None:
    of_services = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "WEB_SERVICE_HOST", "WEB_PORT")
    of_ports = ("PORT_80_TCP", "PORT_80_TCP_PROTO", "PORT_80_TCP_PORT", "PORT_80_TCP_ADDR")
    environment.set(**dict.fromkeys((*of_services, *of_ports), "80"), port="tcp://10.0.0.1:80")
    assert load()["appid"] == "wx1"


# Problems


def test_all_problems_of_all_groups_are_reported_together(empty_environment: Environment) -> None:
    assert problems() == ["WXBOT_APPID is missing", "WXBOT_SECRET is missing", "WXBOT_TOKEN is missing"]
    empty_environment.set(
        token=" ", aes_key="short", store_url="mysql://x", handler_timeout="soon", typng="no", appid="", role="both"
    )
    report = problems()
    named = ("TYPNG", "STORE_URL", "ROLE", "APPID", "SECRET", "TOKEN", "AES_KEY", "HANDLER_TIMEOUT")
    assert [problem.split()[0].rstrip(":") for problem in report] == [f"WXBOT_{name}" for name in named]
    assert str(ConfigError(report)).count("\n  - WXBOT_") == len(named)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        # names
        ({"typng": "false"}, "WXBOT_TYPNG is not a setting; did you mean WXBOT_TYPING?"),
        ({"colour": "blue"}, "WXBOT_COLOUR is not a setting"),
        ({"secrt": SECRET}, "WXBOT_SECRT is not a setting; did you mean WXBOT_SECRET?"),
        ({"aes_kye": AES_KEY}, "WXBOT_AES_KYE is not a setting; did you mean WXBOT_AES_KEY?"),
        ({"port": "8000"}, "WXBOT_PORT is not a setting"),
        # values that do not fit together
        (
            {"broker_url": "redis://127.0.0.1:6379/1"},
            "WXBOT_BROKER_URL needs a store that several machines can share: …",
        ),
        (
            {"role": "worker", "store_url": "redis://h/0"},
            "a worker needs a broker: set WXBOT_BROKER_URL (docs/scaling.md)",
        ),
        ({"previous_aes_key": PREVIOUS_AES_KEY}, "WXBOT_PREVIOUS_AES_KEY: needs the current EncodingAESKey as well: …"),
        ({"previous_aes_key": PREVIOUS_AES_KEY, "aes_key": "wrong"}, f"WXBOT_AES_KEY: {BAD_AES_KEY}"),
        (
            {"account_kind": "unverified", "reply_types": "text,link"},
            "WXBOT_REPLY_TYPES: link cannot be a passive reply, and an unverified account sends only passive replies; "
            "use image, music, news, text, video, voice",
        ),
        # with cloud call, an incomplete signature
        *(
            ({"cloud_call": way, **keys}, problem)
            for way in ("open", "token")
            for keys, problem in (
                ({"token": ""}, "WXBOT_TOKEN: must not be empty: set it, or leave it out to accept unsigned pushes"),
                ({"token": " ", "aes_key": AES_KEY}, "WXBOT_TOKEN: must not be empty: set it, or leave it out to …"),
                (
                    {"token": None, "aes_key": ""},
                    "WXBOT_AES_KEY: must not be empty: leave it out if pushes come over …",
                ),
                ({"aes_key": ""}, "WXBOT_AES_KEY: must not be empty: leave it out if pushes come over Cloud …"),
                ({"token": None, "aes_key": " "}, f"WXBOT_AES_KEY: {BAD_AES_KEY}"),
                ({"token": None, "aes_key": AES_KEY}, "WXBOT_AES_KEY: needs the Token of the message push as well: …"),
            )
        ),
    ],
)
def test_a_name_or_a_combination_is_a_problem(
    environment: Environment, given: dict[str, str | None], problem: str
) -> None:
    for name, value in given.items():
        if value is None:
            environment.patch.delenv(f"WXBOT_{name.upper()}")
        else:
            environment.set(**{name: value})
    (text,) = problems()
    assert text.startswith(problem.removesuffix("…"))
    assert problem.endswith("…") or text == problem


def test_a_misspelt_name_is_found_in_the_env_file_and_in_arguments(environment: Environment) -> None:
    expected = ["WXBOT_HANDLER_TIMOUT is not a setting; did you mean WXBOT_HANDLER_TIMEOUT?"]
    assert problems(handler_timout=5) == expected
    environment.write_env_file("wxbot_handler_timout=5")
    assert problems() == expected


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "Infinity", "NaN"])
@pytest.mark.parametrize("name", [name for name, each in ALL.items() if each.field.annotation in (int, float)])
def test_numbers_must_be_finite(environment: Environment, name: str, number: str) -> None:
    environment.set(**{name: number})
    (problem,) = problems()
    assert problem.startswith(f"WXBOT_{name.upper()}: ")


@pytest.mark.parametrize(
    ("name", "wrong", "problem"),
    [
        ("handler_timeout", ["0"], "Input should be greater than 0"),
        ("handler_threads", ["0"], "Input should be greater than 0"),
        ("max_attempts", ["0"], "Input should be greater than 0"),
        ("image_bytes", ["0"], "Input should be greater than 0"),
        ("handover_seconds", ["0"], "Input should be greater than 0"),
        ("poll_seconds", ["0"], "Input should be greater than 0"),
        ("redis_replicas", ["-1"], "Input should be greater than or equal to 0"),
        ("typing_delay", ["30"], "Input should be less than 30"),
        ("typing_margin", ["-1", "0.9"], "Input should be greater than or equal to 1"),
        ("lease_seconds", ["0.9"], "Input should be greater than or equal to 1"),
        ("dedup_seconds", ["59"], "Input should be greater than or equal to 60"),
        ("text_bytes", ["2049"], "Input should be less than or equal to 2048"),
        ("text_bytes", ["99"], "Input should be greater than or equal to 100"),
        ("callback_path", ["wechat", "/we chat", "/<x>"], "String should match pattern"),
        (
            "callback_path",
            ["/healthz", "/readyz/", "//metrics", "/send", "/send/", "/send/orders"],
            "is reserved: wxbot uses /healthz, /readyz, /metrics, /send and the paths below /send",
        ),
        ("appid", ["wx1 ", " wx1", "wx1\n"], "must not begin or end with blanks"),
        ("appid", ["wx 1", "微信"], "must contain only a-z, A-Z, 0-9, - and _: copy it from WeChat's console"),
        ("secret", ["", " ", "\t"], "must not be empty: copy it from WeChat's console"),
        ("token", ["", " ", "\t"], "must not be empty: copy it from WeChat's console"),
        ("aes_key", [AES_KEY[:-1] + end for end in ("", "AA", "=", "+", "é")], BAD_AES_KEY),
        ("previous_aes_key", [AES_KEY[:-1], AES_KEY + "A", " " * 43], BAD_AES_KEY),
        ("send_key", ["0123456789abcdef" + quote for quote in "\"'\\"], QUOTED),
        ("send_key", [" " * MIN_SEND_KEY, "x" * MIN_SEND_KEY + "\n", "钥" * MIN_SEND_KEY], UNSENDABLE),
        ("send_key", ["x" * 15], "must have at least 16 characters, because a guessed key can send to your users"),
        ("api_base", ["api.weixin.qq.com", "https://api.weixin.qq.com/"], "String should match pattern"),
        ("typing_path", ["typing"], "String should match pattern"),
        ("token_call", ["new"], "Input should be 'stable' or 'classic'"),
        ("sqlite_synchronous", ["off"], "Input should be 'full' or 'normal'"),
        ("log_level", ["LOUD"], "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("role", ["both"], "Input should be 'webhook' or 'worker'"),
        ("account_kind", ["shop", ""], "must be one of miniprogram, official, unverified"),
        ("cloud_call", ["on"], "Input should be 'off', 'open' or 'token'"),
        ("typing", ["perhaps"], "Input should be a valid boolean"),
        ("cloud_from_appid", ["perhaps"], "Input should be a valid boolean"),
        ("ai_mark", ["perhaps"], "Input should be a valid boolean"),
        ("store_url", ["wxbot.db", "sqlite:///", "sqlite://wxbot.db", "", "redis://", "mysql://h/w"], "is not an addr"),
        ("broker_url", ["127.0.0.1:6379", "sqlite:///wxbot.db"], "is not an address of a broker; use redis://HOST"),
        ("reply_types", ["text,songs"], "number 2 is not a type of reply; use text, image, voice"),
        ("continue_text", [""], "String should have at least 1 character"),
        ("continue_text", ["…" * 101], "String should have at most 100 characters"),
        ("pending_text", [""], "String should have at least 1 character"),
        ("pending_text", ["…" * 501], "String should have at most 500 characters"),
        ("quota", ["message", "5/48h", "message=5", "message=5/48", "message=five/48h"], f"row 1 {BAD_ROW}"),
        ("quota", ["message=-5/48h", "message=5/48h; enter=1/1m"], f"row 1 {BAD_ROW}"),
        ("quota", ["message=5/48h, write=5/48h", ",,message=5/48h,enter"], f"row 2 {BAD_ROW}"),
    ],
)
def test_an_invalid_value_is_a_problem(environment: Environment, name: str, wrong: list[str], problem: str) -> None:
    for value in wrong:
        environment.set(**{name: value})
        (text,) = problems()
        assert text.startswith(f"WXBOT_{name.upper()}: {problem}")


def test_with_an_unknown_cloud_call_secret_and_token_are_required(empty_environment: Environment) -> None:
    empty_environment.set(appid="wx1", cloud_call="on")
    assert problems() == [
        "WXBOT_CLOUD_CALL: Input should be 'off', 'open' or 'token'",
        "WXBOT_SECRET is missing",
        "WXBOT_TOKEN is missing",
    ]
