"""Follows an import through every hook, finder and path entry of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, FileFinder, FrozenImporter, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbx_patch._doctor._report import Kind, Step
from dbx_patch._finders import LOADERS
from dbx_patch._inventory import EditableInstall, is_inside
from dbx_patch._process import find_shim
from dbx_patch._verify import check_patched
from dbx_patch.sitecustomize_template import template

if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable


def follow(top: str, installs: list[EditableInstall]) -> Iterator[Step]:
    """List what the import of a top-level name comes by, up to where it ends."""
    yield from list_hooks()
    for step in ask_finders(top, installs):
        yield step
        if step.state == "found" or step.ends:
            return


def list_hooks() -> Iterator[Step]:
    """List Databricks' hooks that are in this process."""
    shim = find_shim()
    for hook in check_patched(shim) if shim else []:
        if hook.state == "patched":
            yield Step("hook", hook.hook, "passes", hook.state)
        elif hook.state == "incompatible":
            yield Step("hook", hook.hook, "stops", hook.reason)


def ask_finders(top: str, installs: list[EditableInstall]) -> Iterator[Step]:
    """Ask the finders on `sys.meta_path` for a top-level name, each in its turn."""
    shim = find_shim()
    folders = [folder for install in installs for folder in list_folders(install)]
    for finder in list(sys.meta_path):
        kind: type = finder if isinstance(finder, type) else type(finder)
        place = f"{kind.__module__}.{kind.__qualname__}"
        if finder is PathFinder:
            yield from follow_path(top, installs, folders)
        elif shim is not None and finder is shim.watcher:
            yield Step("finder", "dbx-patch", "passes", "looks for new installs")
        else:
            try:
                spec = finder.find_spec(top, None, None) if hasattr(finder, "find_spec") else None
            except Exception as error:  # noqa: BLE001  # what a finder raises, an import would as well
                yield Step("finder", place, "stops", repr(error), ends=True)
                continue
            if spec is not None:
                yield tell_found("finder", place, spec, folders)
            elif kind not in {BuiltinImporter, FrozenImporter}:
                yield Step("finder", place, "passes")


def follow_path(top: str, installs: list[EditableInstall], folders: list[str]) -> Iterator[Step]:
    """List the entries of `sys.path`, and behind each layer the roots that should be there and are not."""
    kinds: dict[str, Kind] = {root: "root" for install in installs for root in list_roots(install)}
    for entry in path_entries():
        kind = kinds.get(entry, "layer" if template.is_layer(entry) else "path entry")
        spec = PathFinder.find_spec(top, [entry])
        hook = sys.path_importer_cache.get(entry or os.getcwd())  # noqa: PTH109  # as Python itself spells it
        if spec is not None and (spec.origin or not folders):
            yield tell_found(kind, entry, spec, folders)
        elif spec is None and not isinstance(hook, (FileFinder, type(None))) and finds(top, entry):
            name = f"{type(hook).__module__}.{type(hook).__qualname__}"
            yield Step(kind, entry, "stops", f"{name} refuses it to the code of libraries")
        elif kind == "root" and not os.path.isdir(entry):  # noqa: PTH112  # pathlib's raises what a mount answers
            yield Step(kind, entry, "stops", "absent, or can't be read")
        else:
            yield Step(kind, entry, "passes")
        for install in installs:
            if install.layer == entry:
                for root in list_roots(install):
                    if root not in sys.path:
                        yield Step("root", root, "stops", f"not on sys.path, though {install.pth} names it")


def tell_found(kind: Kind, place: str, spec: Any, folders: list[str]) -> Step:
    """Tell what was found: what was looked for, or another copy."""
    where = next(iter(filter(None, [spec.has_location and spec.origin, *(spec.submodule_search_locations or [])])), "")
    if where and folders and not is_inside(where, folders):
        return Step(kind, place, "stops", f"another copy: {where}", ends=True)
    return Step(kind, place, "found", where or str(spec.origin))


def finds(top: str, entry: str) -> bool:
    """Tell whether Python's own finder would find a name in a folder."""
    try:
        return FileFinder(entry, *LOADERS).find_spec(top) is not None
    except OSError:
        return False


# What is known of an install


def find_editables(install: EditableInstall) -> list[Editable]:
    """List the lines of an install's `.pth` file."""
    try:
        found: list[Editable] = template.load("editables").read_editables(install.layer)
    except OSError:
        return []
    own = [editable for editable in found if editable["pth"] == install.pth]
    inside = [editable for editable in own if install.project and is_inside(editable["root"], [install.project])]
    return inside if Path(install.pth).name == "easy-install.pth" else own


def list_roots(install: EditableInstall) -> list[str]:
    """List the roots that an install puts on the path."""
    return [editable["root"] for editable in find_editables(install) if editable["root"]]


def list_folders(install: EditableInstall) -> list[str]:
    """List the folders that an install's modules may lie in."""
    return [folder for folder in (install.project, *list_roots(install)) if folder]


def path_entries() -> list[str]:
    """List what is a string on `sys.path`: others put there what they like."""
    entries: list[object] = [*sys.path]
    return [entry for entry in entries if isinstance(entry, str)]
