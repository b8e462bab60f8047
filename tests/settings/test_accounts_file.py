"""Tests of the accounts file: accounts in sections, references to variables, one report with all problems."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path

import pytest

from tests.plugin.conftest import no_module_is_left
from tests.settings.test_environment import AES_KEY, SECRET, TOKEN, Environment, empty_environment
from wxbot.errors import ConfigError
from wxbot.model.quota import Allowance
from wxbot.server.assembly import make_deployment
from wxbot.server.web import create_app
from wxbot.settings.accounts_file import OWN, SHARED, all_secrets, load_accounts
from wxbot.settings.schema import Settings

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
    "CLUB_SECRET": "club5ecret0123456789",
    "CLUB_TOKEN": "clubT0ken",
    "KEY": AES_KEY,
}


class AccountsEnvironment(Environment):
    """The environment and the accounts file of one test."""

    def write_accounts(self, *text: str, path: str = "accounts.toml") -> None:
        (self.folder / path).write_text("\n".join(text), encoding="utf-8")
        self.set(accounts=path)

    def set_variable(self, name: str, value: str) -> None:
        self.patch.setenv(name, value)


@pytest.fixture
def environment(empty_environment: Environment) -> AccountsEnvironment:
    """Return an environment in which the variables of ``ORDERS`` and ``CLUB`` are set."""
    made = AccountsEnvironment(empty_environment.patch, empty_environment.folder)
    for name, value in VARIABLES.items():
        made.set_variable(name, value)
    return made


def problems() -> list[str]:
    """Load the accounts, and return the problems. Check that no secret is in the error."""
    with pytest.raises(ConfigError) as caught:
        load_accounts()
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not [value for value in VARIABLES.values() if value in text]
    return list(caught.value.problems)


def problem(environment: AccountsEnvironment, *lines: str) -> str:
    """Add ``lines`` to the section ``[orders]``, and return the only problem without the name of the section."""
    environment.write_accounts(ORDERS, *lines, CLUB)
    (text,) = problems()
    section = "accounts.toml [orders] "
    assert text.startswith(section)
    return text.removeprefix(section)


# The content of the file


def test_without_a_file_there_is_one_account_from_the_environment(environment: AccountsEnvironment) -> None:
    environment.set(appid="wx1", secret=SECRET, token=TOKEN, callback_path="/here", accounts=" ")
    accounts = load_accounts(max_attempts=5)
    assert list(accounts) == [""]
    assert accounts[""].callback_path == "/here"
    assert accounts[""].max_attempts == 5
    assert accounts[""].account == ""


def test_without_a_file_missing_settings_are_reported_as_variables(empty_environment: Environment) -> None:
    assert problems() == ["WXBOT_APPID is missing", "WXBOT_SECRET is missing", "WXBOT_TOKEN is missing"]


def test_each_section_is_an_account(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS, 'kind = "official"', 'aes_key = "${KEY}"', CLUB, 'plugins = ["faq", "echo"]')
    accounts = load_accounts()
    orders, club = accounts["orders"], accounts["club"]
    assert list(accounts) == ["orders", "club"]
    assert (orders.appid, club.appid) == ("wx1", "wx2")
    assert (orders.account_kind, club.account_kind) == ("official", "miniprogram")
    assert (orders.callback_path, club.callback_path) == ("/wechat/orders", "/wechat/club")
    assert (orders.account, club.account) == ("orders", "club")
    assert orders.secret.get_secret_value() == SECRET
    assert orders.aes_key is not None
    assert club.aes_key is None
    assert (orders.plugins, club.plugins) == ((), ("faq", "echo"))
    assert set(all_secrets(accounts)) == set(VARIABLES.values())


def test_the_environment_has_defaults_and_process_settings(environment: AccountsEnvironment) -> None:
    environment.set(
        handler_timeout="7", store_url="sqlite:///here.db", log_level="ERROR", plugins="echo", api_base="http://a"
    )
    environment.write_accounts(ORDERS, "handler_timeout = 3", 'api_base = "http://127.0.0.1:1"', CLUB)
    accounts = load_accounts()
    assert [each.handler_timeout for each in accounts.values()] == [3, 7]
    assert [each.api_base for each in accounts.values()] == ["http://127.0.0.1:1", "http://a"]
    assert {each.store_url for each in accounts.values()} == {"sqlite:///here.db"}
    assert {each.log_level for each in accounts.values()} == {"ERROR"}
    assert {each.plugins for each in accounts.values()} == {("echo",)}


def test_an_override_applies_to_all_accounts(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS, CLUB)
    assert {each.store_url for each in load_accounts(store_url="sqlite:///there.db").values()} == {"sqlite:///there.db"}


def test_the_env_file_may_name_the_file_and_its_variables(empty_environment: Environment) -> None:
    environment = AccountsEnvironment(empty_environment.patch, empty_environment.folder)
    environment.write_accounts(ORDERS)
    environment.patch.delenv("WXBOT_ACCOUNTS")
    environment.write_env_file(
        "WXBOT_ACCOUNTS=accounts.toml", f"ORDERS_SECRET={SECRET}", f"ORDERS_TOKEN={TOKEN}", "WXBOT_AES_KEY="
    )
    assert load_accounts()["orders"].token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"a${WORD}b"', "awordb"),
        ('"${WORD}${WORD}"', "wordword"),
        ('"${word}"', "word"),
        ('"$WORD"', "$WORD"),
        ('"$${WORD}"', "${WORD}"),
        ('"{WORD}"', "{WORD}"),
        ("'''${WORD}'''", "word"),
    ],
)
def test_a_reference_in_a_text_is_replaced(environment: AccountsEnvironment, written: str, read: str) -> None:
    environment.set_variable("WORD", "word")
    environment.write_accounts(ORDERS, f"error_text = {written}")
    assert load_accounts()["orders"].error_text == read


def test_references_work_in_lists_tables_and_numbers(environment: AccountsEnvironment) -> None:
    environment.set_variable("WORD", "faq")
    environment.set_variable("ROW", "3/1m")
    environment.set_variable("SECONDS", "2.5")
    environment.write_accounts(
        ORDERS, 'plugins = ["echo", "${WORD}"]', 'quota = { enter = "${ROW}" }', 'handler_timeout = "${SECONDS}"'
    )
    orders = load_accounts()["orders"]
    assert orders.plugins == ("echo", "faq")
    assert orders.quota == {"enter": Allowance(3, 60)}
    assert orders.handler_timeout == 2.5


def test_a_referenced_variable_may_begin_with_the_prefix(environment: AccountsEnvironment) -> None:
    environment.set_variable("WXBOT_ORDERS_SECRET", SECRET)
    environment.write_accounts(ORDERS.replace("${ORDERS_SECRET}", "${WXBOT_ORDERS_SECRET}"))
    assert load_accounts()["orders"].secret.get_secret_value() == SECRET


def test_cloud_call_needs_no_secrets(environment: AccountsEnvironment) -> None:
    environment.write_accounts('[a]\nappid = "wx1"\ncloud_call = "open"', CLUB)
    assert load_accounts()["a"].secrets() == ("", "")


def test_an_empty_aes_key_means_plaintext(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS, 'aes_key = ""')
    assert load_accounts()["orders"].aes_key is None


def test_a_file_with_bom_and_crlf_is_read(environment: AccountsEnvironment) -> None:
    environment.set(accounts="accounts.toml")
    (environment.folder / "accounts.toml").write_bytes(b"\xef\xbb\xbf" + (ORDERS + CLUB).replace("\n", "\r\n").encode())
    assert list(load_accounts()) == ["orders", "club"]


def test_plugin_settings_belong_to_one_account(environment: AccountsEnvironment) -> None:
    environment.write_accounts(
        ORDERS, "[orders.plugin_settings.faq]", 'file = "${ORDERS_TOKEN}.yaml"', "sizes = [1, 2]", CLUB
    )
    accounts = load_accounts()
    assert accounts["orders"].plugin_settings == {"faq": {"file": f"{TOKEN}.yaml", "sizes": [1, 2]}}
    assert accounts["club"].plugin_settings == {}


def test_accounts_show_no_secret(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS, "[orders.plugin_settings.bank]", 'key = "${KEY}"')
    orders = load_accounts()["orders"]
    shown = repr(orders) + str(orders) + repr(orders.model_dump()) + orders.model_dump_json()
    assert not [value for value in VARIABLES.values() if value in shown]


def test_no_setting_belongs_to_an_account_and_to_the_process() -> None:
    assert set(Settings.model_fields) >= OWN | SHARED
    assert not OWN & SHARED


# The file itself


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "accounts.toml contains no account: write a section such as [orders] for each one"),
        ("# empty_environment\n", "accounts.toml contains no account: write a section such as [orders] for each one"),
        (
            "[orders]\nappid = wx1",
            "accounts.toml is not TOML: Invalid value (at line 2, column 9)",
        ),
        (
            "[orders]\nappid 'wx1'",
            "accounts.toml is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 7)",
        ),
        (f'[orders]\nsecret = "{SECRET}', "accounts.toml is not TOML: "),
        (ORDERS + ORDERS, "accounts.toml is not TOML: "),
        (
            "[Club House]\nappid = 'wx1'",
            "accounts.toml is not TOML: Expected ']' at the end of a table declaration (at line 1, column 7); "
            "an account's name contains only lower-case letters, digits, - and _, such as [club-house]",
        ),
        (
            "[orders]\nresume_words = " + "[" * 3000 + "]" * 3000,
            "accounts.toml is not an accounts file: its brackets",
        ),
        ("[orders]\nimage_bytes = " + "9" * 5000, "accounts.toml is not an accounts file: it contains a number"),
        ('[orders]\nappid = "1"\nappid = "2"', "accounts.toml is not TOML: Cannot overwrite a value"),
    ],
)
def test_an_invalid_file_is_one_problem(environment: AccountsEnvironment, text: str, expected: str) -> None:
    environment.write_accounts(text)
    (problem,) = problems()
    assert problem.startswith(expected)


def test_a_missing_file_is_one_problem(environment: AccountsEnvironment) -> None:
    environment.set(accounts="accounts.toml")
    assert problems() == ["accounts.toml cannot be read: No such file or directory; check WXBOT_ACCOUNTS"]
    environment.set(accounts=".")
    assert problems() == [". cannot be read: Is a directory; check WXBOT_ACCOUNTS"]


def test_a_file_that_is_not_utf8_is_one_problem(environment: AccountsEnvironment) -> None:
    environment.set(accounts="accounts.toml")
    (environment.folder / "accounts.toml").write_bytes("# 账号".encode("gbk"))
    assert problems() == ["accounts.toml is not UTF-8: save it as UTF-8"]


def test_a_key_outside_of_all_sections_is_a_problem(environment: AccountsEnvironment) -> None:
    environment.write_accounts('appid = "wx1"', "orders = [1]", CLUB)
    assert problems() == [
        "accounts.toml: appid is in no section: write it below the name of its account, such as [orders]",
        "accounts.toml: orders is in no section: write it below the name of its account, such as [orders]",
    ]


def test_double_brackets_are_a_problem(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS.replace("[orders]", "[[orders]]"))
    assert problems() == ["accounts.toml: [[orders]] has too many brackets: write [orders]"]


@pytest.mark.parametrize("name", ["Orders", "my shop", "a/b", "订单", "", "a.b", "a\\n"])
def test_an_invalid_account_name_is_a_problem(environment: AccountsEnvironment, name: str) -> None:
    environment.write_accounts(CLUB.replace("[club]", f'["{name}"]'))
    (text,) = problems()
    assert "is not a valid account name: use only a-z, 0-9, - and _, because it is part of a path" in text


@pytest.mark.parametrize("name", ["a", "0", "my-shop_2", "send"])
def test_a_valid_account_name_is_part_of_the_callback_path(environment: AccountsEnvironment, name: str) -> None:
    environment.write_accounts(CLUB.replace("club", name).replace("CLUB", "CLUB"))
    assert load_accounts()[name].callback_path == f"/wechat/{name}"


# Problems in a section


def test_all_problems_of_all_sections_are_in_one_report(environment: AccountsEnvironment) -> None:
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
        "accounts.toml [orders] appid: String should have at least 1 character",
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


def test_two_sections_with_the_same_appid_are_a_problem(environment: AccountsEnvironment) -> None:
    environment.write_accounts(ORDERS, CLUB.replace("wx2", "WX1"), CLUB.replace("club", "third").replace("wx2", "wx1"))
    assert problems() == [
        "accounts.toml [club] appid is also the AppID of [orders]: write only one section",
        "accounts.toml [third] appid is also the AppID of [orders]: write only one section",
    ]


@pytest.mark.parametrize("name", ["secret", "token", "aes_key", "previous_aes_key", "send_key"])
@pytest.mark.parametrize(
    "literal", [f'"{SECRET}"', f'"${{ORDERS_SECRET}}{SECRET}"', '"$${ORDERS_SECRET}"', f'["{SECRET}"]', "17", "true"]
)
def test_a_secret_in_the_file_is_a_problem(environment: AccountsEnvironment, name: str, literal: str) -> None:
    lines = [line for line in ORDERS.splitlines() if not line.startswith(f"{name} ")]
    environment.write_accounts(*lines, f"{name} = {literal}")
    variable = f"ORDERS_{name.upper()}"
    assert problems() == [
        f"accounts.toml [orders] {name} is a secret and must not be in the file: "
        f'write {name} = "${{{variable}}}" and set {variable} in the environment'
    ]


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_process_setting_in_the_file_is_a_problem(environment: AccountsEnvironment, name: str) -> None:
    text = problem(environment, f'{name} = "x"')
    assert text == f"{name} is a setting of the whole process: set WXBOT_{name.upper()} in the environment"


@pytest.mark.parametrize("name", sorted(OWN - {"callback_path"}))
def test_an_account_setting_in_the_environment_is_a_problem(environment: AccountsEnvironment, name: str) -> None:
    environment.set(**{name: SECRET})
    environment.write_accounts(ORDERS, CLUB)
    assert problems() == [
        f"WXBOT_{name.upper()} and WXBOT_ACCOUNTS exclude each other: "
        f"write {name} into its account's section of accounts.toml"
    ]


def test_an_empty_variable_of_an_account_setting_is_ignored(environment: AccountsEnvironment) -> None:
    environment.set(appid="", secret="", token=" ", aes_key="", send_key="")
    environment.write_accounts(ORDERS)
    assert load_accounts()["orders"].appid == "wx1"


def test_the_callback_path_cannot_be_set(environment: AccountsEnvironment) -> None:
    assert problem(environment, 'callback_path = "/x"') == (
        "callback_path is always /wechat/orders, from the section's name: leave it out"
    )
    environment.set(callback_path="/x")
    environment.write_accounts(ORDERS)
    assert problems() == ["WXBOT_CALLBACK_PATH and WXBOT_ACCOUNTS exclude each other: the paths are /wechat/<account>"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('plugin_folder = "x"', "plugin_folder is not a setting of an account; did you mean plugin_folders?"),
        ('WXBOT_TYPING = "x"', "WXBOT_TYPING is not a setting: write names in lower case"),
        ('WXBOT_TYPNG = "x"', "WXBOT_TYPNG is not a setting of an account; did you mean typing?"),
        ("Typing = true", "Typing is not a setting: write names in lower case"),
        ('colour = "blue"', "colour is not a setting of an account"),
        ("[orders.faq]", "faq is not a setting of an account"),
        ("[orders.plugin_setting.faq]", "plugin_setting is not a setting of an account; did you mean plugin_settings?"),
    ],
)
def test_an_unknown_key_is_a_problem(environment: AccountsEnvironment, line: str, expected: str) -> None:
    assert problem(environment, line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_attempts = true", "max_attempts: must not be true or false"),
        ("error_text = false", "error_text: must not be true or false"),
        ("max_attempts = 0", "max_attempts: Input should be greater than 0"),
        ("max_attempts = 2.5", "max_attempts: Input should be a valid integer, got a number with a fractional part"),
        ("max_attempts = [3]", "max_attempts: Input should be a valid integer"),
        ("retry_seconds = inf", "retry_seconds: Input should be a finite number"),
        ("error_text = 5", "error_text: Input should be a valid string"),
        ('typing = "perhaps"', "typing: Input should be a valid boolean, unable to interpret input"),
        ("plugins = []", "plugins: must not be empty: leave it out for all plugins"),
        (
            'kind = "unverified"\nreply_types = ["link"]',
            "reply_types: link cannot be a passive reply, and an unverified account sends only passive replies; "
            "use image, music, news, text, video, voice",
        ),
        (
            'previous_aes_key = "${KEY}"',
            "previous_aes_key: needs the current EncodingAESKey as well: without it, no push can be decrypted",
        ),
        ("plugins = 1", "plugins: Input should be a valid tuple"),
        ('plugins = ["a", 1]', "plugins[1]: Input should be a valid string"),
        ('kind = "shop"', "kind: Input should be 'miniprogram', 'official' or 'unverified'"),
        ('kind = "official"\naccount_kind = "official"', "account_kind and kind are the same setting: write it once"),
        ('error_text = "${}"', "error_text: write the name of an environment variable between ${ and }"),
        ('error_text = "${A B}"', "error_text: write the name of an environment variable between ${ and }"),
        ('error_text = "${NO_SUCH}"', "error_text: NO_SUCH is not set in the environment"),
        ('plugins = ["${NO_SUCH}"]', "plugins: NO_SUCH is not set in the environment"),
        (
            'aes_key = "${ORDERS_TOKEN}"',
            "aes_key: must be 43 characters of a-z, A-Z and 0-9, as WeChat's console shows it",
        ),
        (
            'send_key = "${ORDERS_TOKEN}"',
            "send_key: must have at least 17 characters, because a guessed key can send to your users",
        ),
        (
            'quota = { message = "often" }',
            "quota: row 1 is not a row of a quota; write rows such as message=5/48h, enter=2/1m "
            "(user actions: message, enter, menu, subscribe, scan; times in s, m, h or d)",
        ),
        ("quota = 5", "quota: Input should be a valid dictionary"),
        ("plugin_settings = 1", "plugin_settings: write a section [orders.plugin_settings.NAME] for each plugin"),
        (
            '[orders.plugin_settings]\nfile = "x"',
            "plugin_settings: write a section [orders.plugin_settings.NAME] for each plugin",
        ),
        (
            '[orders.plugin_settings.faq]\nfile = "${NO_SUCH}"',
            "plugin_settings.faq.file: NO_SUCH is not set in the environment",
        ),
    ],
)
def test_an_invalid_value_is_a_problem_that_does_not_quote_it(
    environment: AccountsEnvironment, monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    monkeypatch.setattr("wxbot.settings.schema.MIN_SEND_KEY", len(TOKEN) + 1)
    assert problem(environment, line) == expected


def test_a_reference_to_an_empty_variable_is_an_empty_secret(environment: AccountsEnvironment) -> None:
    environment.set_variable("ORDERS_SECRET", "")
    environment.write_accounts(ORDERS)
    (text,) = problems()
    assert text.startswith("accounts.toml [orders] secret: must not be empty")


def test_a_problem_of_the_process_is_reported_once(environment: AccountsEnvironment) -> None:
    environment.set(role="worker")
    environment.write_accounts(ORDERS, CLUB)
    (text,) = problems()
    assert text.startswith("a worker needs a broker: set WXBOT_BROKER_URL")


# The example


def test_the_example_works_when_its_variables_are_set(environment: AccountsEnvironment) -> None:
    shutil.copy(ROOT / "examples" / "accounts.toml", environment.folder)
    shutil.copytree(ROOT / "plugins", environment.folder / "plugins")
    for account in ("ORDERS", "CLUB"):
        for name in ("SECRET", "TOKEN", "SEND_KEY"):
            environment.set_variable(f"{account}_{name}", f"{account}-{name}-0123456789")
        environment.set_variable(f"{account}_AES_KEY", AES_KEY)
    environment.set(accounts="accounts.toml")
    accounts = load_accounts()
    assert accounts["club"].allowances["message"] == Allowance(20, 48 * 3600)
    deployment = make_deployment(accounts)
    paths = {rule.rule for rule in create_app(deployment).url_map.iter_rules()}
    assert paths == {"/wechat/orders", "/send/orders", "/wechat/club", "/healthz", "/readyz", "/metrics"}
