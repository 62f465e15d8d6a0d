"""Asks finders for modules without touching a mount that does not answer, or one folder whatever hooks there are."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    BuiltinImporter,
    ExtensionFileLoader,
    FileFinder,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from typing import Any

from dbx_patch._mounts import any_hangs, hangs
from dbx_patch.sitecustomize_template import template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable

LOADERS: tuple[Any, ...] = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)
"""The loaders that Python's own path hook passes to a `FileFinder`, in its order."""


def finds(name: str, folder: str) -> bool:
    """Return whether Python's own finder finds a module in a folder; False if the folder can't be read."""
    try:
        return not hangs(folder) and FileFinder(folder, *LOADERS).find_spec(name) is not None
    except OSError:  # the workspace mount's
        return False


def find_spec(name: str) -> ModuleSpec | None:
    """Return the spec of a top-level module that is imported, or would be. Raises what finders raise.

    While a mount does not answer, nothing on it is searched, and only finders are asked that are known to leave it
    alone.
    """
    if not any_hangs():
        return importlib.util.find_spec(name)
    if name in sys.modules:
        return sys.modules[name].__spec__
    found = (ask(finder, name) for finder in list(sys.meta_path) if is_safe(finder))
    return next((spec for spec in found if spec is not None), None)


def is_safe(finder: Any) -> bool:
    """Return whether a finder on `sys.meta_path` can be asked: others than these may touch any folder."""
    safe = (BuiltinImporter, FrozenImporter, PathFinder, find_live("watcher"))
    return not any_hangs() or any(finder is each for each in safe)


def ask(finder: Any, name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Ask a finder that is safe for a module. Raises what it raises.

    The shim's first finder is asked for the turns only: it would honor new installs.
    """
    spec: ModuleSpec | None
    if any_hangs() and finder is PathFinder:
        spec = PathFinder.find_spec(name, list_answering(sys.path if path is None else path))
    elif finder is find_live("watcher"):
        spec = ask_in_turn(name) if path is None else None
    else:
        spec = finder.find_spec(name, path, None) if hasattr(finder, "find_spec") else None
    return spec


def ask_in_turn(name: str) -> ModuleSpec | None:
    """Ask the finders of editable installs for a top-level module as the shim does, but none that may be waiting."""
    part = find_live("loaded", {}).get("turns")
    if part is None or not any_hangs():
        spec: ModuleSpec | None = part and part.find_in_turn(name)
        return spec
    for layer, find, owner, editable in part.order_turns():
        if layer in sys.path and any(finder is owner for finder in sys.meta_path) and not may_wait(editable):
            above = list_answering(sys.path[: sys.path.index(layer) + 1])
            spec = find(name, None, None)
            if spec is not None:
                higher = PathFinder.find_spec(name, above)
                return higher if higher is not None and higher.loader is not None else spec
    return None


def list_lost_turns() -> list[Editable]:
    """Return the lines whose finders the shim has given a turn, and that are not on `sys.meta_path` any more."""
    turns = getattr(find_live("loaded", {}).get("turns"), "turns", [])
    return [editable for _, _, owner, editable in turns if not any(finder is owner for finder in sys.meta_path)]


def may_wait(editable: Editable) -> bool:
    """Return whether the finder of an editable install, or a module of it, is on a mount that does not answer."""
    layer, file = editable["layer"], editable["file"]
    return hangs(layer) or (file != "" and (hangs(file) or any(map(hangs, list_paths(Path(file))))))


def list_paths(finder: Path) -> Iterator[str]:
    """List the absolute paths in the module of an editable install's finder: where its modules are."""
    try:
        nodes = list(ast.walk(ast.parse(finder.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    yield from (text for text in constants if isinstance(text, str) and text.startswith("/"))


def list_answering(path: Sequence[object]) -> list[str]:
    """Return the strings on a path that are not on a mount that does not answer."""
    return [entry for entry in path if isinstance(entry, str) and not hangs(entry)]


def find_live(name: str, default: Any = None) -> Any:
    """Return what the running shim, of any version, has under a name."""
    return getattr(sys.modules.get(template.LIVE_NAME), name, default)
