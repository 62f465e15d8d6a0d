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
    return not any_hangs() or finder in (BuiltinImporter, FrozenImporter, PathFinder) or finder is find_ordered()


def ask(finder: Any, name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Ask a finder that is safe for a module."""
    spec: ModuleSpec | None
    if any_hangs() and finder is PathFinder:
        spec = PathFinder.find_spec(name, list_answering(sys.path if path is None else path))
    elif any_hangs() and finder is find_ordered():
        spec = ask_in_turn(name)
    else:
        spec = finder.find_spec(name, path, None) if hasattr(finder, "find_spec") else None
    return spec


def ask_in_turn(name: str) -> ModuleSpec | None:
    """Ask the finders of editable installs for a top-level module as the shim does, but none that may be waiting."""
    for layer, find in find_part().turns:
        if layer in sys.path and not may_wait(layer):
            above = list_answering(sys.path[: sys.path.index(layer) + 1])
            spec = find(name, None, None)
            if spec is not None:
                higher = PathFinder.find_spec(name, above)
                return higher if higher is not None and higher.loader is not None else spec
    return None


def may_wait(layer: str) -> bool:
    """Return whether a layer has a finder whose modules are on a mount that does not answer."""
    if hangs(layer):
        return True
    finders = [editable["finder"] for editable in template.load("editables").read_editables(layer)]
    return any(hangs(path) for finder in filter(None, finders) for path in list_paths(Path(layer, f"{finder}.py")))


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


def find_ordered() -> Any:
    """Return the finder of the running shim that asks those of editable installs in their turn, or None."""
    return getattr(find_part(), "ordered", None)


def find_part() -> Any:  # of any version
    """Return the part of the running shim that has the finders of editable installs, or None."""
    return getattr(sys.modules.get(template.LIVE_NAME), "loaded", {}).get("finders")
