"""Tests of the accounts file: accounts in sections, references to variables, one report with all problems."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.conftest import no_module_is_left
from tests.settings.support import (
    AES_KEY,
    CLUB_SECRET,
    CLUB_TOKEN,
    SECRET,
    TOKEN,
    Environment,
    empty_environment,
    load,
    problems,
)
from wxbot.model.quota import Allowance
from wxbot.server.assembly import make_deployment
from wxbot.server.web import create_app
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import ACCOUNT_SETTINGS, PROCESS_SETTINGS

__all__ = ["empty_environment", "no_module_is_left"]

ROOT = Path(__file__).parents[2]
ORDERS = """
[orders]
appid = "wx1"
secret = "${ORDERS_SECRET}"
token = "${ORDERS_TOKEN}"
"""
CLUB = """
[club]
appid = "wx2"
secret = "${CLUB_SECRET}"
token = "${CLUB_TOKEN}"
"""
VARIABLES = {
    "ORDERS_SECRET": SECRET,
    "ORDERS_TOKEN": TOKEN,
    "CLUB_SECRET": CLUB_SECRET,
    "CLUB_TOKEN": CLUB_TOKEN,
    "KEY": AES_KEY,
}
OWN = {"appid", "secret", "token", "aes_key", "previous_aes_key", "send_key", "business_id"}


@pytest.fixture
def environment(empty_environment: Environment) -> Environment:
    """Return an environment in which the variables of ``ORDERS`` and ``CLUB`` are set."""
    empty_environment.set_variables(VARIABLES)
    return empty_environment


# The content of the file


def test_without_a_file_there_is_one_account_from_the_environment(environment: Environment) -> None:
    environment.set(appid="wx1", secret=SECRET, token=TOKEN, callback_path="/here", accounts=" ")
    settings = load_settings(max_attempts=5)
    assert list(settings.accounts) == [""]
    account = settings.accounts[""]
    assert (account.name, account.push.path, account.handlers.max_attempts) == ("", "/here", 5)


def test_each_section_is_an_account(environment: Environment) -> None:
    environment.write_accounts(ORDERS, 'kind = "official"', 'aes_key = "${KEY}"', CLUB, 'plugins = ["faq", "echo"]')
    settings = load_settings()
    assert [account.name for account in settings.accounts.values()] == list(settings.accounts) == ["orders", "club"]
    names = ("appid", "account_kind", "callback_path", "plugins")
    assert [[load(name)[setting] for setting in names] for name in ("orders", "club")] == [
        ["wx1", "official", "/wechat/orders", ()],
        ["wx2", "miniprogram", "/wechat/club", ("faq", "echo")],
    ]
    assert load("orders")["secret"].get_secret_value() == SECRET
    assert load("club")["aes_key"] is None
    assert set(settings.secrets()) == set(VARIABLES.values())


def test_the_environment_has_defaults_and_process_settings(environment: Environment) -> None:
    environment.set(handler_timeout="7", store_url="sqlite:///a.db", plugins="echo", api_base="http://a")
    environment.write_accounts(ORDERS, "handler_timeout = 3", 'api_base = "http://127.0.0.1:1"', CLUB)
    names = ("handler_timeout", "api_base", "store_url", "plugins")
    assert [load("orders")[name] for name in names] == [3, "http://127.0.0.1:1", "sqlite:///a.db", ("echo",)]
    assert [load("club")[name] for name in names] == [7, "http://a", "sqlite:///a.db", ("echo",)]
    assert load("club", store_url="sqlite:///there.db")["store_url"] == "sqlite:///there.db"


def test_an_argument_turns_the_file_off(environment: Environment) -> None:
    environment.write_accounts("not read")
    assert load(accounts="", appid="wx9", secret="s", token="t")["appid"] == "wx9"


def test_the_env_file_may_name_the_file_and_its_variables(empty_environment: Environment) -> None:
    empty_environment.write_accounts(ORDERS)
    empty_environment.patch.delenv("WXBOT_ACCOUNTS")
    empty_environment.write_env_file(
        "WXBOT_ACCOUNTS=accounts.toml", f"ORDERS_SECRET={SECRET}", f"ORDERS_TOKEN={TOKEN}", "WXBOT_AES_KEY="
    )
    assert load("orders")["token"].get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('error_text = "a${WORD}b"', {"error_text": "afaqb"}),
        ('error_text = "${WORD}${WORD}"', {"error_text": "faqfaq"}),
        ('error_text = "${word}"', {"error_text": "faq"}),
        ('error_text = "$WORD"', {"error_text": "$WORD"}),
        ('error_text = "$${WORD}"', {"error_text": "${WORD}"}),
        ('error_text = "{WORD}"', {"error_text": "{WORD}"}),
        ("error_text = '''${WORD}'''", {"error_text": "faq"}),
        ('error_text = "${WXBOT_WORD}"', {"error_text": "with prefix"}),
        ('plugins = ["echo", "${WORD}"]', {"plugins": ("echo", "faq")}),
        ('handler_timeout = "${SECONDS}"', {"handler_timeout": 2.5}),
        ('aes_key = ""', {"aes_key": None}),
    ],
)
def test_references_are_replaced(environment: Environment, line: str, expected: dict[str, object]) -> None:
    environment.set_variables({"WORD": "faq", "SECONDS": "2.5", "WXBOT_WORD": "with prefix"})
    environment.write_accounts(ORDERS, line, 'continue_text = "${WXBOT_WORD}"')
    read = load("orders")
    assert {name: read[name] for name in expected} == expected


def test_references_in_tables_are_replaced_also_in_plugin_settings(environment: Environment) -> None:
    environment.set_variables({"ROW": "3/1m"})
    lines = ("[orders.plugin_settings.faq]", 'file = "${ORDERS_TOKEN}.yaml"', "sizes = [1, 2]")
    environment.write_accounts(ORDERS, 'quota = { enter = "${ROW}" }', *lines, CLUB)
    accounts = load_settings().accounts
    assert accounts["orders"].replies.quota["enter"] == Allowance(3, 60)
    assert accounts["orders"].plugin_settings == {"faq": {"file": f"{TOKEN}.yaml", "sizes": [1, 2]}}
    assert accounts["club"].plugin_settings == {}
    shown = repr(accounts) + str(accounts["orders"]) + repr(accounts["orders"].model_dump())
    assert not [value for value in VARIABLES.values() if value in shown + accounts["orders"].model_dump_json()]


def test_cloud_call_needs_no_secrets(environment: Environment) -> None:
    environment.write_accounts('[a]\nappid = "wx1"\ncloud_call = "open"')
    assert load_settings().secrets() == ()
    assert load("a")["api_base"] == "http://api.weixin.qq.com"


def test_a_file_with_bom_and_crlf_is_read(environment: Environment) -> None:
    environment.set(accounts="accounts.toml")
    (environment.folder / "accounts.toml").write_bytes(b"\xef\xbb\xbf" + (ORDERS + CLUB).replace("\n", "\r\n").encode())
    assert list(load_settings().accounts) == ["orders", "club"]


# The file itself


NO_ACCOUNT = "contains no account: write a section such as [orders] for each one"
NO_SECTION = "is in no section: write it below the name of its account, such as [orders]"
BAD_NAME = "is not a valid account name: use only a-z, 0-9, - and _, because it is part of a path"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f" {NO_ACCOUNT}"),
        ("# nothing", f" {NO_ACCOUNT}"),
        ("[orders]\nappid = wx1", " is not TOML: Invalid value (at line 2, column 9)"),
        ("[orders]\nappid 'wx1'", " is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 7)"),
        (f'[orders]\nsecret = "{SECRET}', " is not TOML: …"),
        (ORDERS + ORDERS, " is not TOML: …"),
        (
            "[Club House]\nappid = 'wx1'",
            " is not TOML: Expected ']' at the end of a table declaration (at line 1, column 7); "
            "an account's name contains only lower-case letters, digits, - and _, such as [club-house]",
        ),
        ("[orders]\nplugins = " + "[" * 3000, " is not an accounts file: its brackets are nested too deeply"),
        ("[orders]\nimage_bytes = " + "9" * 5000, " is not an accounts file: it contains a number that is too long"),
        ('[orders]\nappid = "1"\nappid = "2"', " is not TOML: Cannot overwrite a value…"),
        ('appid = "wx1"', f": appid {NO_SECTION}"),
        ("orders = [1]", f": orders {NO_SECTION}"),
        ("[[orders]]", ": [[orders]] has too many brackets: write [orders]"),
        *((f'["{name}"]', f": [{name}] {BAD_NAME}") for name in ("Orders", "my shop", "a/b", "订单", "", "a.b")),
    ],
)
def test_an_invalid_file_is_one_problem(environment: Environment, text: str, expected: str) -> None:
    environment.write_accounts(text)
    (problem,) = problems()
    assert problem.startswith("accounts.toml" + expected.removesuffix("…"))
    assert expected.endswith("…") or problem.endswith(expected)


def test_a_file_that_cannot_be_read_is_one_problem(environment: Environment) -> None:
    environment.set(accounts="accounts.toml")
    assert problems() == ["accounts.toml cannot be read: No such file or directory; check WXBOT_ACCOUNTS"]
    (environment.folder / "accounts.toml").write_bytes("# 账号".encode("gbk"))
    assert problems() == ["accounts.toml is not UTF-8: save it as UTF-8"]
    environment.set(accounts=".")
    assert problems() == [". cannot be read: Is a directory; check WXBOT_ACCOUNTS"]


@pytest.mark.parametrize("name", ["a", "0", "my-shop_2", "send"])
def test_a_valid_account_name_is_part_of_the_callback_path(environment: Environment, name: str) -> None:
    environment.write_accounts(CLUB.replace("[club]", f"[{name}]"))
    assert load(name)["callback_path"] == f"/wechat/{name}"


# Problems in a section


def test_all_problems_of_all_sections_are_in_one_report(environment: Environment) -> None:
    environment.set(typng="no", secret=SECRET, handler_threads="0")
    environment.write_accounts(
        '[orders]\nappid = ""\nsecret = "${NOT_SET}"\naes_key = "short"\nstore_url = "sqlite:///a.db"',
        '[club]\nappid = "wx2"\nscret = 1\ntyping_delay = "soon"',
        "[empty]",
    )
    assert problems() == [
        "WXBOT_TYPNG is not a setting; did you mean WXBOT_TYPING?",
        "WXBOT_SECRET and WXBOT_ACCOUNTS exclude each other: write secret into its account's section of accounts.toml",
        "accounts.toml [orders] secret: NOT_SET is not set in the environment",
        "accounts.toml [orders] aes_key is a secret and must not be in the file: "
        'write aes_key = "${ORDERS_AES_KEY}" and set ORDERS_AES_KEY in the environment',
        "accounts.toml [orders] store_url is a setting of the whole process: set WXBOT_STORE_URL in the environment",
        "accounts.toml [orders] appid: must not be empty: copy it from WeChat's console",
        "accounts.toml [orders] token is missing",
        "WXBOT_HANDLER_THREADS: Input should be greater than 0",
        "accounts.toml [club] scret is not a setting of an account; did you mean secret?",
        "accounts.toml [club] secret is missing",
        "accounts.toml [club] token is missing",
        "accounts.toml [club] typing_delay: Input should be a valid number, unable to parse string as a number",
        "accounts.toml [empty] appid is missing",
        "accounts.toml [empty] secret is missing",
        "accounts.toml [empty] token is missing",
    ]


def test_two_sections_with_the_same_appid_are_a_problem(environment: Environment) -> None:
    environment.write_accounts(ORDERS, CLUB.replace("wx2", "WX1"), CLUB.replace("club", "third").replace("wx2", "wx1"))
    assert problems() == [
        "accounts.toml [club] appid is also the AppID of [orders]: write only one section",
        "accounts.toml [third] appid is also the AppID of [orders]: write only one section",
    ]


@pytest.mark.parametrize("name", ["secret", "token", "aes_key", "previous_aes_key", "send_key"])
@pytest.mark.parametrize(
    "literal", [f'"{SECRET}"', f'"${{ORDERS_SECRET}}{SECRET}"', '"$${ORDERS_SECRET}"', f'["{SECRET}"]', "17", "true"]
)
def test_a_secret_in_the_file_is_a_problem(environment: Environment, name: str, literal: str) -> None:
    lines = [line for line in ORDERS.splitlines() if not line.startswith(f"{name} ")]
    environment.write_accounts(*lines, f"{name} = {literal}")
    variable = f"ORDERS_{name.upper()}"
    assert problems() == [
        f"accounts.toml [orders] {name} is a secret and must not be in the file: "
        f'write {name} = "${{{variable}}}" and set {variable} in the environment'
    ]


def test_an_account_setting_in_the_environment_is_a_problem_unless_it_is_empty(environment: Environment) -> None:
    assert {name for name, setting in ACCOUNT_SETTINGS.items() if setting.is_own} == OWN | {"callback_path"}
    environment.write_accounts(ORDERS, CLUB)
    environment.set(**dict.fromkeys(OWN, " "), callback_path="")
    assert load("orders")["appid"] == "wx1"
    environment.set(**dict.fromkeys(OWN, SECRET), callback_path="/x")
    assert set(problems()) == {
        f"WXBOT_{name.upper()} and WXBOT_ACCOUNTS exclude each other: "
        f"write {name} into its account's section of accounts.toml"
        for name in OWN
    } | {"WXBOT_CALLBACK_PATH and WXBOT_ACCOUNTS exclude each other: the paths are /wechat/<account>"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # names
        *(
            (f'{name} = "x"', f"{name} is a setting of the whole process: set {each.variable} in the environment")
            for name, each in PROCESS_SETTINGS.items()
        ),
        ('plugin_folder = "x"', "plugin_folder is not a setting of an account; did you mean plugin_folders?"),
        ('WXBOT_TYPING = "x"', "WXBOT_TYPING is not a setting: write names in lower case"),
        ('WXBOT_TYPNG = "x"', "WXBOT_TYPNG is not a setting of an account; did you mean typing?"),
        ("Typing = true", "Typing is not a setting: write names in lower case"),
        ('colour = "blue"', "colour is not a setting of an account"),
        ('secrt = "x"', "secrt is not a setting of an account; did you mean secret?"),
        ('callback_path = "/x"', "callback_path is always /wechat/orders, from the section's name: leave it out"),
        ("[orders.faq]", "faq is not a setting of an account"),
        ("[orders.plugin_setting.faq]", "plugin_setting is not a setting of an account; did you mean plugin_settings?"),
        ('kind = "official"\naccount_kind = "official"', "account_kind and kind are the same setting: write it once"),
        # values
        ("max_attempts = true", "max_attempts: must not be true or false"),
        ("error_text = false", "error_text: must not be true or false"),
        ("max_attempts = 2.5", "max_attempts: Input should be a valid integer, got a number with a fractional part"),
        ("max_attempts = [3]", "max_attempts: Input should be a valid integer"),
        ("retry_seconds = inf", "retry_seconds: Input should be a finite number"),
        ("error_text = 5", "error_text: Input should be a valid string"),
        ('typing = "perhaps"', "typing: Input should be a valid boolean, unable to interpret input"),
        ("plugins = []", "plugins: must not be empty: leave it out for all plugins"),
        ("plugins = 1", "plugins: Input should be a valid tuple"),
        ('plugins = ["a", 1]', "plugins[1]: Input should be a valid string"),
        ("resume_words = [1]", "resume_words[0]: Input should be a valid string"),
        ("reply_types = 1", "reply_types: Input should be a valid frozenset"),
        ("reply_types = [[1]]", "reply_types: number 1 is not a type of reply; use …"),
        ('kind = "unverified"\nreply_types = ["link"]', "reply_types: link cannot be a passive reply, and an …"),
        ('kind = "shop"', "kind: must be one of miniprogram, official, unverified"),
        ('aes_key = "${ORDERS_TOKEN}"', "aes_key: must be 43 characters of a-z, A-Z and 0-9, as WeChat's console …"),
        ('previous_aes_key = "${KEY}"', "previous_aes_key: needs the current EncodingAESKey as well: …"),
        ('send_key = "${SHORT}"', "send_key: must have at least 16 characters, because a guessed key can send to …"),
        ('quota = { message = "often" }', "quota: row 1 is not a row of a quota; write rows such as message=5/48h, …"),
        ("quota = 5", "quota: Input should be a valid dictionary"),
        # references and settings of plugins
        ('error_text = "${}"', "error_text: write the name of an environment variable between ${ and }"),
        ('error_text = "${A B}"', "error_text: write the name of an environment variable between ${ and }"),
        ('error_text = "${NO_SUCH}"', "error_text: NO_SUCH is not set in the environment"),
        ('plugins = ["${NO_SUCH}"]', "plugins: NO_SUCH is not set in the environment"),
        ("plugin_settings = 1", "plugin_settings: write a section [orders.plugin_settings.NAME] for each plugin"),
        ("[orders.plugin_settings]\nfile = 1", "plugin_settings: write a section [orders.plugin_settings.NAME] for …"),
        ('[orders.plugin_settings.faq]\nx = "${NO}"', "plugin_settings.faq.x: NO is not set in the environment"),
    ],
)
def test_a_wrong_line_is_a_problem_that_does_not_quote_the_value(
    environment: Environment, line: str, expected: str
) -> None:
    environment.set_variables({"SHORT": TOKEN[:15]})
    environment.write_accounts(ORDERS, line, CLUB)
    (problem,) = problems()
    assert problem.startswith(f"accounts.toml [orders] {expected.removesuffix('…')}")
    assert expected.endswith("…") or problem.endswith(f" {expected}")
    assert TOKEN[:15] not in problem


def test_a_reference_to_an_empty_variable_is_an_empty_secret(environment: Environment) -> None:
    environment.set_variables({"ORDERS_SECRET": ""})
    environment.write_accounts(ORDERS)
    assert problems() == ["accounts.toml [orders] secret: must not be empty: copy it from WeChat's console"]


def test_a_problem_of_the_process_is_reported_once(environment: Environment) -> None:
    environment.set(role="worker")
    environment.write_accounts(ORDERS, CLUB)
    assert problems() == ["a worker needs a broker: set WXBOT_BROKER_URL (docs/scaling.md)"]


# The example


def test_the_example_works_when_its_variables_are_set(environment: Environment) -> None:
    shutil.copy(ROOT / "examples" / "accounts.toml", environment.folder)
    shutil.copytree(ROOT / "plugins", environment.folder / "plugins")
    for account in ("ORDERS", "CLUB"):
        values = {name: f"{account}-{name}-0123456789" for name in ("SECRET", "TOKEN", "SEND_KEY")}
        values["AES_KEY"] = AES_KEY
        environment.set_variables({f"{account}_{name}": value for name, value in values.items()})
    environment.set(accounts="accounts.toml")
    settings = load_settings()
    assert settings.accounts["club"].replies.quota["message"] == Allowance(20, 48 * 3600)
    paths = {rule.rule for rule in create_app(make_deployment(settings)).url_map.iter_rules()}
    assert paths == {"/wechat/orders", "/send/orders", "/wechat/club", "/healthz", "/readyz", "/metrics"}
