"""Test plugin discovery: files in folders and installed packages become plugins, or one error says why not."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import Write
from tests.plugin.messages import chosen, text
from wxbot.errors import ConfigError, PluginError
from wxbot.plugin.discovery import find_plugins, select_plugins
from wxbot.plugin.plugin import Plugin
from wxbot.server.assembly import make_plugins
from wxbot.server.plugin_setup import PluginSet
from wxbot.settings.environment import load_settings

SHOP = """
from wxbot import Context, Plugin

plugin = Plugin("{name}")

@plugin.text("{name}")
async def answer(ctx: Context) -> str:
    return "{name}"
"""


def shop(name: str) -> str:
    return SHOP.format(name=name)


def names(*folders: Path) -> list[str]:
    return [plugin.name for plugin in find_plugins(folders)]


def load(*folders: Path, **choices: Any) -> PluginSet:
    """Load the plugins as the bot does."""
    return make_plugins(
        load_settings(appid="wx1", secret="s", token="t", plugin_folders=folders, **choices).accounts[""]
    )


def plugin_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("wxbot_plugins_")}


# -- plugins in folders


def test_files_and_packages_are_sorted_by_name(folder: Path, write: Write) -> None:
    assert names(folder) == []
    write("b.py", shop("b"))
    write("c/__init__.py", shop("c"))
    write("a.py", shop("a"))
    write("many.py", "from wxbot import Plugin\none = Plugin('one')\ntwo = Plugin('two')\nagain = one\n")
    assert names(folder) == ["a", "b", "c", "one", "two"]
    assert names(Path("plugins")) == names(folder), "a folder may be relative to the working directory"


@pytest.mark.parametrize(
    "name", ["_helper.py", "_helpers/__init__.py", ".hidden.py", "._shop.py", "notes.txt", "odd.py/notes.txt", "x.pyc"]
)
def test_other_files_are_not_imported(folder: Path, write: Write, name: str) -> None:
    write(name, "raise Exception('must not be imported')")
    write("shop.py", shop("shop"))
    assert names(folder) == ["shop"]


def test_a_package_imports_its_own_modules(folder: Path, write: Write) -> None:
    write("shop/__init__.py", "from .handlers import plugin\nfrom . import prices\nprices.register(plugin)\n")
    write("shop/handlers.py", shop("shop"))
    write(
        "shop/prices.py",
        """
        from wxbot import Context, Plugin

        def register(plugin: Plugin) -> None:
            @plugin.text("price")
            def price(ctx: Context) -> str:
                from .handlers import plugin as same
                return str(same is plugin)
        """,
    )
    (plugin,) = find_plugins([folder])
    assert [handler.name for handler in plugin.handlers] == ["shop.answer", "shop.price"]
    assert plugin.handlers[1].function(None) == "True"  # type: ignore[arg-type]


def test_packages_of_the_same_name_in_two_folders_import_their_own_modules(tmp_path: Path, write: Write) -> None:
    """Import each folder's own modules, although two folders have a package of the same name."""
    for name in ("one", "two"):
        write(
            "shop/__init__.py",
            shop(name) + "\n    ...\ndef late():\n    from .data import VALUE\n    return VALUE\n"
            "plugin.setup(lambda settings: late)\n",
            where=tmp_path / name,
        )
        write("shop/data.py", f"VALUE = '{name}'", where=tmp_path / name)
    loaded = load(tmp_path / "one", tmp_path / "two")
    assert [late() for late in loaded.resources.values()] == ["one", "two"]


def test_several_folders_are_read_in_order(tmp_path: Path, write: Write) -> None:
    write("shop.py", shop("first"), where=tmp_path / "z")
    write("shop.py", shop("second"), where=tmp_path / "a")
    assert names(tmp_path / "z", tmp_path / "a") == ["first", "second"]


@pytest.mark.parametrize("name", ["json", "asyncio", "wxbot", "plugins"])
def test_a_plugin_with_the_name_of_a_module_does_not_replace_it(folder: Path, write: Write, name: str) -> None:
    before, path = sys.modules.get(name), list(sys.path)
    write(f"{name}.py", f"import {name}\n" * (name != "plugins") + shop(name))
    assert names(folder) == [name]
    assert (sys.modules.get(name), sys.path) == (before, path)
    assert json.loads("[1]") == [1]
    assert asyncio.run(asyncio.sleep(0, "works")) == "works"


def test_finding_plugins_twice_reads_the_files_twice(folder: Path, write: Write) -> None:
    """Read the files again, because a test or a program may make several bots."""
    write("shop/__init__.py", "from .handlers import plugin")
    write("shop/handlers.py", shop("before"))
    before = plugin_modules()
    assert names(folder) == ["before"]
    write("shop/handlers.py", shop("afterwards"))
    assert names(folder) == ["afterwards"]
    assert len(plugin_modules() - before) == 2


# -- invalid plugins


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
        ("from . import sibling", "ImportError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError"),
        ("import sys; sys.exit('not today')", "SystemExit: not today"),
        ("import sys; sys.modules.pop(__name__); raise ValueError('odd')", "ValueError: odd"),
        ("raise StopIteration", "StopIteration"),
        ("from wxbot import Plugin\nPlugin('Bad Name')", "PluginError: a plugin's name must be lower-case"),
        ("from wxbot import Plugin\nplugin = Plugin('x')\n@plugin.image()\ndef f(ctx): ...", "without parentheses"),
        ("from wxbot import Plugin\nplugin = Plugin('x')\n@plugin.text\ndef f(ctx): ...", "with parentheses"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named(folder: Path, write: Write, source: str, problem: str) -> None:
    path = write("broken/__init__.py", "from . import data\n" + source)
    (path.parent / "data.py").touch()
    before = plugin_modules()
    with pytest.raises(PluginError) as caught:
        names(folder)
    assert str(caught.value).startswith(f"the plugin {path} cannot be imported: ")
    assert problem in str(caught.value)
    assert caught.value.__cause__ is not None, "the error has the plugin's traceback"
    assert plugin_modules() == before, "no partly imported module is left"


def test_a_file_that_is_no_text_raises_an_error(folder: Path) -> None:
    # Python before 3.11.4 raises ValueError for a null byte.
    (folder / "shop.py").write_bytes(b"\xff\xfe\x00 no python")
    with pytest.raises(PluginError, match=r"shop\.py cannot be imported: (SyntaxError|ValueError)"):
        names(folder)


def test_a_keyboard_interrupt_is_passed_on(folder: Path, write: Write) -> None:
    write("shop.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        names(folder)


def test_a_module_without_a_plugin_raises_an_error(folder: Path, write: Write) -> None:
    path = write("helper.py", "from wxbot import Plugin\n\ndef make(): return Plugin('shop')\n")
    with pytest.raises(PluginError) as caught:
        names(folder)
    assert str(caught.value).startswith(f"{path} defines no Plugin; add plugin = Plugin('name'), or begin")


def test_a_folder_that_is_missing_or_a_file_raises_an_error(tmp_path: Path, write: Write) -> None:
    with pytest.raises(PluginError, match=r"the plugin folder .*missing does not exist; set WXBOT_PLUGIN_FOLDERS"):
        names(tmp_path / "missing")
    with pytest.raises(PluginError, match=r"shop\.py does not exist"):
        names(write("shop.py", shop("shop")))


# -- installed packages


class Installed:
    """Packages in a folder on ``sys.path``, with real metadata."""

    def __init__(self, site: Path, write: Write) -> None:
        self.site = site
        self.write = write

    def package(self, name: str, source: str, *entry_points: str) -> None:
        """Install a package with ``source`` and with ``entry_points`` such as ``"shop = shop_x:plugin"``."""
        self.write(f"{name}/__init__.py", source, where=self.site)
        info = f"{name}-1.0.dist-info"
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", where=self.site)
        lines = ["[wxbot.plugins]", *entry_points, ""]
        self.write(f"{info}/entry_points.txt", "\n".join(lines), where=self.site)


@pytest.fixture
def installed(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Installed:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    return Installed(site, write)


def test_installed_plugins_come_after_those_in_folders(folder: Path, write: Write, installed: Installed) -> None:
    write("zoo.py", shop("zoo"))
    installed.package("shop_b", shop("b"), "b = shop_b:plugin")
    installed.package("shop_a", shop("a") + "\nmore = Plugin('more')", "a = shop_a")
    assert names(folder) == ["zoo", "a", "more", "b"]


def test_installed_plugins_reply(folder: Path, installed: Installed) -> None:
    installed.package("shop_a", shop("a"), "a = shop_a:plugin")
    assert chosen(text("a"), *load(folder).router.plugins) == "a.answer"


@pytest.mark.parametrize(
    ("source", "entry_point", "problem"),
    [
        ("1 / 0", "a = shop_a:plugin", "the installed plugin shop_a:plugin cannot be imported: ZeroDivisionError"),
        ("", "a = shop_a:plugin", "the installed plugin shop_a:plugin cannot be imported: AttributeError"),
        ("", "a = shop_missing", "the installed plugin shop_missing cannot be imported: ModuleNotFoundError"),
        ("import sys; sys.exit()", "a = shop_a", "the installed plugin shop_a cannot be imported: SystemExit"),
        ("plugin = 42", "a = shop_a:plugin", "the entry point a = shop_a:plugin is neither a Plugin nor a module"),
        ("plugin = 42", "a = shop_a", "defines no Plugin"),
    ],
)
def test_an_invalid_installed_plugin_is_named(
    installed: Installed, source: str, entry_point: str, problem: str
) -> None:
    installed.package("shop_a", source, entry_point)
    with pytest.raises(PluginError) as caught:
        names()
    assert problem in str(caught.value)


# -- the selection of plugins


def plugins(*chosen: str) -> list[Plugin]:
    return [Plugin(name) for name in chosen]


def test_all_plugins_are_selected_unless_names_are_given() -> None:
    found = plugins("a", "b", "c")
    assert select_plugins(found, ()) == found
    assert [plugin.name for plugin in select_plugins(found, ("c", "a"))] == ["c", "a"]
    assert [plugin.name for plugin in select_plugins(found, ("c", "a", "c"))] == ["c", "a"]


def test_an_unknown_name_raises_an_error_with_the_found_names() -> None:
    with pytest.raises(ConfigError) as caught:
        select_plugins(plugins("shop", "echo"), ("ecko", "echo", "shp"))
    assert caught.value.problems == (
        "WXBOT_PLUGINS: there is no plugin 'ecko' (found: echo, shop)",
        "WXBOT_PLUGINS: there is no plugin 'shp' (found: echo, shop)",
    )
    with pytest.raises(ConfigError, match=r"\(found: none\)"):
        select_plugins([], ("echo",))


def test_the_setting_selects_and_orders_plugins(folder: Path, write: Write) -> None:
    for name in ("a", "b", "c"):
        write(f"{name}.py", shop(name).replace(f'@plugin.text("{name}")', "@plugin.text()"))
    loaded = load(folder, plugins="c,a")
    assert [plugin.name for plugin in loaded.router.plugins] == ["c", "a"]
    assert chosen(text("hi"), *loaded.router.plugins) == "c.answer"
    assert set(loaded.resources) == {"a", "c"}


def test_two_plugins_with_the_same_name_raise_an_error(tmp_path: Path, write: Write) -> None:
    write("one.py", shop("shop"), where=tmp_path / "a")
    write("two.py", shop("shop"), where=tmp_path / "b")
    write("three.py", shop("other"), where=tmp_path / "b")
    folders = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(PluginError, match="two plugins have the name 'shop'"):
        load(*folders)
    with pytest.raises(PluginError, match="two plugins have the name 'shop'"):
        load(*folders, plugins="shop")
    assert [plugin.name for plugin in load(*folders, plugins="other").router.plugins] == ["other"]


# -- settings and setup

WITH_SETTINGS = """
import dataclasses
from wxbot import Plugin

@dataclasses.dataclass
class Settings:
    rooms: int
    door: str = "front"

plugin = Plugin("{name}", settings=Settings)

@plugin.setup
def build(settings: Settings) -> str:
    return f"{{settings.rooms}} rooms, {{settings.door}} door"
"""


def test_the_setup_gets_the_settings_and_makes_the_resource(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("my_house.py", WITH_SETTINGS.format(name="my-house"))
    monkeypatch.setenv("WXBOT_PLUGIN_MY_HOUSE_ROOMS", "4")
    assert load(folder).resources == {"my-house": "4 rooms, front door"}


def test_the_settings_of_all_plugins_are_in_one_report(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write(f"{name}.py", WITH_SETTINGS.format(name=name))
    monkeypatch.setenv("WXBOT_PLUGIN_A_ROOMS", "many")
    monkeypatch.setenv("WXBOT_PLUGIN_C_ROOMS", "2")
    monkeypatch.setenv("WXBOT_PLUGIN_C_DOR", "back")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    names_in_report = sorted(problem.split()[0].rstrip(":") for problem in caught.value.problems)
    assert names_in_report == ["WXBOT_PLUGIN_A_ROOMS", "WXBOT_PLUGIN_B_ROOMS", "WXBOT_PLUGIN_C_DOR"]


def test_settings_of_an_unselected_plugin_are_ignored(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", WITH_SETTINGS.format(name="a"))
    write("b.py", shop("b"))
    monkeypatch.setenv("WXBOT_PLUGIN_A_DOOR", "back")
    assert set(load(folder, plugins="b").resources) == {"b"}


def test_settings_of_other_plugins_are_ignored_if_a_program_gives_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WXBOT_PLUGIN_A_DOOR", "back")
    loaded = make_plugins(load_settings(appid="wx1", secret="s", token="t").accounts[""], plugins("b"))
    assert set(loaded.resources) == {"b"}


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        ("1 / 0", "the setup of plugin 'shop' failed: ZeroDivisionError('division by zero')"),
        ("raise SystemExit(3)", "the setup of plugin 'shop' failed: SystemExit(3)"),
        ("from wxbot import PluginError; raise PluginError('shop: no table')", "shop: no table"),
    ],
)
def test_a_failing_setup_stops_the_start(folder: Path, write: Write, failure: str, problem: str) -> None:
    write("shop.py", shop("shop") + f"\n@plugin.setup\ndef build(settings):\n    {failure}\n")
    with pytest.raises(PluginError) as caught:
        load(folder)
    assert str(caught.value) == problem


def test_no_setup_runs_if_settings_are_invalid(folder: Path, write: Write, tmp_path: Path) -> None:
    write("a.py", shop("a") + f"\n@plugin.setup\ndef build(settings):\n    open({str(tmp_path / 'made')!r}, 'w')\n")
    write("b.py", WITH_SETTINGS.format(name="b"))
    with pytest.raises(ConfigError):
        load(folder)
    assert not (tmp_path / "made").exists()
