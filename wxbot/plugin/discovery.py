"""Plugin discovery: find plugins in folders and in installed packages, and select them by name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from wxbot.errors import ConfigError, PluginError
from wxbot.plugin.plugin import Plugin

ENTRY_POINT_GROUP = "wxbot.plugins"


def find_plugins(folders: Iterable[Path], account: str = "") -> list[Plugin]:
    """Return the plugins in ``folders``, sorted by file name, then those of installed packages. Raises PluginError.

    Each ``account`` of a process imports the files in ``folders`` again, so accounts share no module-level state.
    """
    found = [plugin for folder in folders for module in _modules(folder, account) for plugin in _plugins_in(module)]
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        found += _plugins_of_entry_point(entry_point)
    return found


def select_plugins(found: Sequence[Plugin], names: Sequence[str]) -> list[Plugin]:
    """Return the plugins with these ``names``, in that order; all if ``names`` is empty.

    Raises ConfigError for an unknown name.
    """
    if not names:
        return list(found)
    found_names = {plugin.name for plugin in found}
    unknown = [name for name in names if name not in found_names]
    if unknown:
        known = ", ".join(sorted(found_names)) or "none"
        raise ConfigError([f"WXBOT_PLUGINS: there is no plugin {name!r} (found: {known})" for name in unknown])
    return [plugin for name in dict.fromkeys(names) for plugin in found if plugin.name == name]


def _modules(folder: Path, account: str) -> list[ModuleType]:
    if not folder.is_dir():
        raise PluginError(f"the plugin folder {folder} does not exist; set WXBOT_PLUGIN_FOLDERS")
    paths = [path for path in folder.iterdir() if not path.name.startswith(("_", "."))]
    files = [path for path in paths if path.suffix == ".py" and path.is_file()]
    packages = [path / "__init__.py" for path in paths if (path / "__init__.py").is_file()]
    return [_import(path.absolute(), account) for path in sorted(files + packages)]


def _import(path: Path, account: str) -> ModuleType:
    """Import the file ``path`` under a unique module name, so that a plugin ``json.py`` replaces no other module."""
    is_package = path.name == "__init__.py"
    stem = path.parent.name if is_package else path.stem
    checksum = zlib.crc32(bytes(path), zlib.crc32(account.encode()))  # two folders may have files of the same name
    name = f"wxbot_plugins_{stem}_{checksum:08x}"
    _remove_modules(name)
    locations = [str(path.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=locations)
    assert spec is not None  # noqa: S101 - None only for unknown file extensions
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # relative imports inside a package need it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _remove_modules(name)
        raise PluginError(f"the plugin {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _remove_modules(name: str) -> None:
    for imported in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[imported]


def _plugins_in(module: ModuleType) -> list[Plugin]:
    plugins = [item for item in vars(module).values() if isinstance(item, Plugin)]
    if not plugins:
        raise PluginError(
            f"{module.__file__} defines no Plugin; add plugin = Plugin('name'),"
            " or begin the file's name with _ if it is not a plugin"
        )
    return list(dict.fromkeys(plugins))


def _plugins_of_entry_point(entry_point: importlib.metadata.EntryPoint) -> list[Plugin]:
    try:
        loaded = entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the installed plugin {entry_point.value} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if isinstance(loaded, Plugin):
        return [loaded]
    if isinstance(loaded, ModuleType):
        return _plugins_in(loaded)
    raise PluginError(f"the entry point {entry_point.name} = {entry_point.value} is neither a Plugin nor a module")
