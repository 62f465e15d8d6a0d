"""Traces an import through every hook, finder and path entry of this process."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, FileFinder, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType
from typing import Any

from dbx_patch._doctor._pth_lines import list_folders, list_roots
from dbx_patch._doctor._report import Kind, Step
from dbx_patch._finders import ask, find_live, finds, is_safe
from dbx_patch._inventory import EditableInstall, is_inside, list_entries
from dbx_patch._mounts import describe, find_mount, find_state, hangs, is_folder
from dbx_patch._process import find_shim
from dbx_patch._verify import check_patched
from dbx_patch.sitecustomize_template import template


def trace_import(top: str, installs: list[EditableInstall]) -> Iterator[Step]:
    """Return the places that the import of a top-level name passes through, up to the one where it ends."""
    yield from list_hooks()
    for step in ask_finders(top, installs):
        yield step
        if step.state == "found" or step.ends:
            return


def list_hooks() -> Iterator[Step]:
    """Return a step for each of Databricks' hooks that is in this process."""
    shim = find_shim()
    for hook in check_patched(shim) if shim else []:
        if hook.state == "patched":
            yield Step("hook", hook.hook, "passes", hook.state)
        elif hook.state in {"incompatible", "missed"}:
            yield Step("hook", hook.hook, "stops", hook.reason)


def ask_finders(top: str, installs: list[EditableInstall]) -> Iterator[Step]:
    """Ask the finders on `sys.meta_path` for a top-level name, one after the other."""
    folders = [folder for install in installs for folder in list_folders(install)]
    for finder in list(sys.meta_path):
        place = name_finder(finder)
        if finder is PathFinder:
            yield from ask_path_entries(top, installs, folders)
        elif finder is find_live("latecomer"):
            yield Step("finder", place, "passes", "looks for new installs again")
        elif not is_safe(finder):
            yield Step("finder", place, "passes", "not asked, because it may use a mount that does not answer")
        else:
            try:
                spec = ask(finder, top)
            except Exception as error:  # noqa: BLE001  # what a finder raises ends an import as well
                yield Step("finder", place, "stops", repr(error), ends=True)
                continue
            if spec is not None:
                yield describe_spec("finder", place, spec, folders)
            elif finder is not BuiltinImporter and finder is not FrozenImporter:
                is_watcher = finder is find_live("watcher")
                yield Step("finder", place, "passes", "looks for new installs" if is_watcher else "")


def name_finder(finder: Any) -> str:
    """Return the name of a finder on `sys.meta_path`: a class, a function such as the shim's, or any other object."""
    named = finder if isinstance(finder, (type, FunctionType)) else type(finder)
    ours = isinstance(finder, FunctionType) and finder.__code__.co_filename == "<dbx-patch>"
    return "dbx-patch" if ours else f"{named.__module__}.{named.__qualname__}"


def ask_path_entries(top: str, installs: list[EditableInstall], folders: list[str]) -> Iterator[Step]:
    """Ask the entries of `sys.path`. After each layer, return the roots that should be on the path and are not."""
    kinds: dict[str, Kind] = {root: "root" for install in installs for root in list_roots(install)}
    for entry in list_entries():
        kind = kinds.get(entry, "layer" if template.is_layer(entry) else "path entry")
        try:
            spec = ask_entry(top, entry)
        except OSError as error:
            yield Step(kind, entry, "stops", str(error.strerror), ends=not isinstance(error, TimeoutError))
            continue
        hook = sys.path_importer_cache.get(entry or os.getcwd())  # noqa: PTH109  # as Python itself spells it
        if spec is not None and (spec.origin or not folders):
            yield describe_spec(kind, entry, spec, folders)
        elif spec is None and not isinstance(hook, (FileFinder, type(None))) and finds(top, entry):
            name = f"{type(hook).__module__}.{type(hook).__qualname__}"
            yield Step(kind, entry, "stops", f"{name} refuses it to library code")
        elif kind == "root" and not is_folder(entry):
            yield Step(kind, entry, "stops", "missing or unreadable")
        else:
            yield Step(kind, entry, "passes")
        for install in installs:
            if install.layer == entry:
                for root in list_roots(install):
                    if root not in sys.path:
                        yield Step("root", root, "stops", f"not on sys.path, but named in {install.pth}")


def ask_entry(top: str, entry: str) -> ModuleSpec | None:
    """Ask one entry of `sys.path`.

    Raises OSError if its mount does, which ends an import as well; TimeoutError if the mount does not answer.
    """
    if hangs(entry):
        raise TimeoutError(errno.ETIMEDOUT, f"not searched, because {describe(find_mount(entry), find_state(entry))}")
    return PathFinder.find_spec(top, [entry])


def describe_spec(kind: Kind, place: str, spec: Any, folders: list[str]) -> Step:
    """Return the step for a place that has the module: the one that was looked for, or another copy."""
    where = next(iter(filter(None, [spec.has_location and spec.origin, *(spec.submodule_search_locations or [])])), "")
    if where and folders and not is_inside(where, folders):
        return Step(kind, place, "stops", f"another copy: {where}", ends=True)
    return Step(kind, place, "found", where or str(spec.origin))


def find_stale_folder(module: str, found: str, roots: list[str]) -> str:
    """Return the folder that has a module, or a part of it, which Python's cached listing of it lacks; empty if none.

    Python lists a folder again when its modification time changes. A listing that was made while a mount was away, or
    within the same tick of the clock as a change, stays.
    """
    top, *parts = module.split(".")
    known = [] if found else [(top, folder) for folder in roots if folder in sys.path]
    name, folders = top, list_package_folders(top, found)
    for part in parts:
        name = f"{name}.{part}"
        known += [(name, folder) for folder in folders]
        folders = list_package_folders(name, "") or [f"{folder}/{part}" for folder in folders]
    return next((folder for name, folder in known if is_stale(name, folder)), "")


def list_package_folders(name: str, found: str) -> list[str]:
    """Return the folders of a package: those of the imported one, or the one in which it was found."""
    path: Any = getattr(sys.modules.get(name), "__path__", None)
    if path is not None:
        return [folder for folder in path if isinstance(folder, str)]
    return [str(find_package_folder(found))] if found else []


def is_stale(name: str, folder: str) -> bool:
    """Return whether a folder has a module that Python's own finder, or the shim's, does not find.

    They remember a listing of the folder, or that it was absent. Other finders may have other reasons.
    """
    kind = type(sys.path_importer_cache.get(folder, False))
    if kind not in {FileFinder, type(None)} and not kind.__module__.startswith(template.LIVE_NAME):
        return False
    return finds(name.rpartition(".")[2], folder) and PathFinder.find_spec(name, [folder]) is None


def find_package_folder(found: str) -> Path:
    """Return a package's folder: that of its `__init__` file, or the one of a namespace package."""
    return Path(found).parent if Path(found).name.startswith("__init__.") else Path(found)


def find_missing_part(module: str, found: str) -> str:
    """Return the first part of a dotted name that its package does not have; empty if it has all of it."""
    folder = find_package_folder(found)
    parts = module.split(".")
    for number, part in enumerate(parts[1:], 2):
        if not finds(part, str(folder)):
            return ".".join(parts[:number])
        folder = folder / part
    return ""
