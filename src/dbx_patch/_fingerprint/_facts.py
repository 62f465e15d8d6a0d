"""Tells what this runtime looks like, and nothing of who uses it.

Only what is on a list is told. Nothing is imported or changed for it, no interpreter is started, no mount is touched.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from importlib import machinery
from pathlib import Path
from types import ModuleType
from typing import Any

from dbx_patch._fingerprint._redact import HOOK_MODULES, OTHER, match, may_touch, plain, redact, tell_type
from dbx_patch._fingerprint._signatures import read_module, read_source
from dbx_patch._process import HARMLESS, find_module
from dbx_patch.sitecustomize_template import template

RUNTIME = r"(client\.)?\d{1,2}(\.(\d{1,2}|x)){0,3}(-(aarch64|cpu|esr|gpu|lts|ml|photon|scala2\.1\d))*"
VERSION = r"\d{1,4}(\.\d{1,4}){0,3}((a|b|rc|\.post|\.dev)\d{1,3})?"
SYSTEM = r"[A-Za-z0-9_.-]{1,20}"
PTH_OF_OURS = "zzz_dbx_patch.pth"
PTH = (
    *("__editable__.*.pth", "_editable_impl_*.pth", "_editable_skbc_*.pth", "*-editable.pth", "easy-install.pth"),
    *("distutils-precedence.pth", "*-nspkg.pth", "_virtualenv.pth", PTH_OF_OURS, "*.pth"),
)
"""The kinds of `.pth` files, by their names; the last is any other."""
LOADERS: tuple[Any, ...] = (
    (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
    (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
    (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
)
"""What Python's own path hook gives a file finder."""
SOURCE_LIMIT = 1 << 17
"""Bytes; more is not read. The parser of Python 3.10 overflows the stack with an expression of twice that length."""
STATES = frozenset({"armed", "patched", "incompatible"})


def fingerprint() -> dict[str, Any]:
    """Tell what this runtime really looks like, as JSON has it: its layers, start-up files, finders and hooks.

    None is what is not known. Where a fact can't be told, the name of the error is in its place; nothing is raised.
    """
    shim = sys.modules.get(template.LIVE_NAME)
    return {
        "schema": 1,
        "dbx_patch": template.VERSION,
        "runtime": match(RUNTIME, os.environ.get("DATABRICKS_RUNTIME_VERSION")),
        "kernel": "ipykernel" in sys.modules,
        "python": attempt(tell_python),
        "platform": attempt(tell_platform),
        "path": [attempt(tell_entry, entry) for entry in list(sys.path)],
        "sitecustomize": attempt(tell_sitecustomize),
        "shim": attempt(tell_shim, shim),
        "meta_path": [attempt(tell_type, finder) for finder in list(sys.meta_path)],
        "path_hooks": [attempt(tell_type, hook) for hook in list(sys.path_hooks)],
        "import": attempt(tell_type, builtins.__import__),
        "hooks": {name: attempt(tell_hook, name, shim) for name in HOOK_MODULES},
    }


def attempt(tell: Callable[..., Any], *args: object) -> Any:
    """Tell a fact; of what goes wrong, only its kind."""
    try:
        return tell(*args)
    except Exception as error:  # noqa: BLE001  # foreign objects raise what they like
        known = any(type(error) is kind for kind in vars(builtins).values())
        return {"error": type(error).__name__ if known else OTHER}


# The interpreter and its layers


def tell_python() -> dict[str, Any]:
    """Tell which interpreter this is, and how it was started."""
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if not name.startswith(("_", "n_"))}
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "executable": redact(sys.executable),
        "prefix": redact(sys.prefix),
        "base_prefix": redact(sys.base_prefix),
        "user_site": getattr(sys.modules.get("site"), "ENABLE_USER_SITE", None) is True,
        "flags": {name: int(value) for name, value in flags.items() if type(value) in {bool, int}},
    }


def tell_platform() -> dict[str, Any]:
    """Tell the operating system."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    facts: dict[str, str | None] = {"system": os.uname().sysname, "machine": os.uname().machine}
    facts |= {"id": release.get("ID"), "version_id": release.get("VERSION_ID")}
    return {name: match(SYSTEM, value) for name, value in facts.items()}


def tell_entry(entry: object) -> dict[str, Any]:
    """Tell one entry of `sys.path`."""
    path = plain(entry)
    told: dict[str, Any] = {"path": redact(entry), "kind": "untouched"}
    if told["path"] is None:
        told["kind"] = "no string"
    elif may_touch(path):
        told["kind"] = "folder" if Path(path).is_dir() else "file" if Path(path).exists() else "absent"
    if template.is_layer(path):
        told["layer"] = {"opened_by_site": path in template.load("editables").find_opened_layers()}
        if told["kind"] == "folder":
            told["layer"] |= tell_layer([file.name for file in Path(path).iterdir()])
    return told


def tell_layer(names: list[str]) -> dict[str, Any]:
    """Tell of a layer's files how many start-up files it has of each kind, and whether it has what this one needs."""
    kinds = [next(kind for kind in PTH if fnmatchcase(name, kind)) for name in names if name.endswith(".pth")]
    infos = (name.removesuffix(".dist-info").partition("-") for name in names if name.endswith(".dist-info"))
    return {
        "pth": {kind: kinds.count(kind) for kind in PTH if kind in kinds},
        "needed": {
            name: match(VERSION, version) for name, _, version in infos if name in {"packaging", "platformdirs"}
        },
    }


# Start-up files


def tell_sitecustomize() -> dict[str, Any]:
    """Tell which `sitecustomize` has run, why that one, and which others are on the path as it is now, in its order."""
    loaded = plain(vars_of(sys.modules.get("sitecustomize")).get("__file__"))
    files = [file for entry in find_folders() if (file := find_in(entry, "sitecustomize")[0])]
    first = next(iter(files), "")
    why = "it is the first on the path"
    if not loaded:
        why = "none is loaded" if not first else "none is loaded, though there is one"
    elif loaded != first:
        why = (
            "it stands in no folder that could be looked into" if loaded not in files else "others came before it later"
        )
    return {"loaded": tell_start_file(loaded) if loaded else None, "why": why, "found": [*map(tell_start_file, files)]}


def tell_start_file(file: str) -> dict[str, Any]:
    """Tell one `sitecustomize`: whether it has lines of ours, and the digest of what else it has."""
    content = read(file)
    told = {"file": redact(file), "link": may_touch(str(Path(file).parent)) and Path(file).is_symlink()}
    try:
        from dbx_patch.installer import is_own, list_shims, remove_every_block  # noqa: PLC0415  # it needs what may lack
    except ImportError:
        return told | {"lines_of_ours": None}
    if content is None:
        return told | {"lines_of_ours": None}
    rest = remove_every_block(content)
    ours = "all" if is_own(content) else "some" if list_shims(content) else "none"
    return told | {"lines_of_ours": ours, "sha256_of_the_rest": hashlib.sha256(rest).hexdigest()}


def tell_shim(shim: object) -> dict[str, Any]:
    """Tell whether the shim runs in this process, which, and what has loaded it."""
    space = vars_of(shim)
    live = space.get("started") is True
    loader = plain(vars_of(sys.modules.get("sitecustomize")).get("__file__"))
    slot = {"all": 1, "some": 2}.get(tell_start_file(loader)["lines_of_ours"])
    if slot is None and any(
        Path(folder, PTH_OF_OURS).exists() for folder in find_folders() if template.is_layer(folder)
    ):
        slot = 3
    return {
        "live": live,
        "version": match(VERSION, space.get("VERSION")),
        "file": redact(space.get("__file__")),
        "slot": slot if live else None,
    }


# Hooks


def tell_hook(name: str, shim: object) -> dict[str, Any]:
    """Tell the module of one hook: where it is, and its names with their signatures; it is not imported."""
    module = find_module(name) if name in HARMLESS else sys.modules.get(name)
    imported = issubclass(type(module), ModuleType)
    origin = plain(vars_of(module).get("__file__")) if imported else find_module_file(name)[0]
    source = read(origin) if origin.endswith(".py") else None
    shape = read_source(source) if source is not None and not imported else None
    seen = "imported" if imported else "source" if shape is not None else "unreadable" if origin else "absent"
    if imported and (may_touch(origin) or not origin):
        hooks = dict_in(shim, "loaded").get("hooks")
        shape = read_module(module, source, dict_in(hooks, "diverted"))
    state = plain(dict_in(shim, "hook_states").get(name)).partition(":")[0]
    return {
        "seen": seen,
        "origin": redact(origin) if origin else None,
        "state": state if state in STATES else None,
        "names": shape,
    }


# What is on the path, found without the finders on `sys.meta_path` and their caches


def find_folders() -> Iterator[str]:
    """List the folders on the path that may be touched."""
    yield from (path for path in map(plain, list(sys.path)) if may_touch(path))


def find_module_file(name: str) -> tuple[str, list[str]]:
    """Find a module's file, and for a package the folders of its modules; none of its packages is imported."""
    parent = name.rpartition(".")[0]
    known = vars_of(sys.modules.get(parent)).get("__path__")
    if not parent:
        within = list(find_folders())
    else:
        within = [*map(plain, known)] if type(known) is list else find_module_file(parent)[1]
    portions: list[str] = []
    for folder in within:
        if may_touch(folder):
            file, folders = find_in(folder, name)
            if file:
                return file, folders
            portions += folders
    return "", portions


def find_in(folder: str, name: str) -> tuple[str, list[str]]:
    """Find a module in a folder: its file, and for a package, which may have no file, the folders of its modules."""
    try:
        spec = machinery.FileFinder(folder, *LOADERS).find_spec(name)
    except (OSError, ValueError):  # it is no folder's name
        spec = None
    if spec is None:
        return "", []
    return (spec.origin or "") if spec.loader else "", list(spec.submodule_search_locations or [])


def read(file: str) -> bytes | None:
    """Read a file of the node's own; None if it can't be read, or is too long."""
    try:
        if may_touch(file) and Path(file).is_file() and Path(file).stat().st_size <= SOURCE_LIMIT:
            return Path(file).read_bytes()
    except (OSError, ValueError):
        pass
    return None


def vars_of(module: object) -> dict[str, Any]:
    """Give a module's names, past what a subclass makes of them; none if it is no module."""
    space: dict[str, Any] = vars(ModuleType)["__dict__"].__get__(module) if issubclass(type(module), ModuleType) else {}
    return space


def dict_in(module: object, name: str) -> dict[Any, Any]:
    """Give a dict that a module has under a name; an empty one if it has none."""
    found = vars_of(module).get(name)
    return found if type(found) is dict else {}
