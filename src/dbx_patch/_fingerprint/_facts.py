"""Describes this runtime as JSON: its layers, start-up files, finders and hooks.

Only what is on a list is kept, and the rest is redacted. Nothing is imported or changed, no interpreter is started, and
no mount is touched.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from importlib.machinery import FileFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from dbx_patch._finders import LOADERS
from dbx_patch._fingerprint._redact import HOOK_MODULES, OTHER, match, may_touch, plain, redact, redact_type
from dbx_patch._fingerprint._signatures import list_names
from dbx_patch._verify import HARMLESS, find_module
from dbx_patch.sitecustomize_template import find_opened_layers, list_editable_files, list_settled_names, template

SCHEMA = 2
"""The version of the JSON's layout. It goes up when a key or the meaning of a value changes."""
RUNTIME = r"(client\.)?\d{1,2}(\.(\d{1,2}|x)){0,3}(-(aarch64|cpu|esr|gpu|lts|ml|photon|scala2\.1\d))*"
VERSION = r"\d{1,4}(\.\d{1,4}){0,3}((a|b|rc|\.post|\.dev)\d{1,3})?"
SYSTEM = r"[A-Za-z0-9_.-]{1,20}"
OWN_PTH = "zzz_dbx_patch.pth"
"""The `.pth` file that loads the shim in slot 3."""
ANY = "*.pth"
OTHER_PTH = ("distutils-precedence.pth", "*-nspkg.pth", "_virtualenv.pth", OWN_PTH, ANY)
"""The kinds of `.pth` files that no editable install writes, as patterns of their names. The last matches any other."""
BY_METADATA = "editable by its metadata"
"""The kind of a `.pth` file that only the metadata of an editable install shows to be one's."""
SIZE_LIMIT = 1 << 20
"""Bytes. Longer files are not read: the source of a hook is far shorter, and memory must not run out."""
STATES = frozenset({"armed", "patched", "incompatible"})
"""The states that the shim itself gives a hook."""


def fingerprint() -> dict[str, Any]:
    """Return what this runtime looks like, as JSON values: its layers, start-up files, finders and import hooks.

    It contains no values, secrets, user names or paths of yours. The keys are described in docs/hooks.md. A value is
    None if it is not known. If a fact can't be found out, its value is `{"error": TYPE}` with the exception's type;
    nothing is raised.
    """
    shim = sys.modules.get(template.LIVE_NAME)
    return {
        "schema": SCHEMA,
        "dbx_patch": template.VERSION,
        "runtime": match(RUNTIME, os.environ.get("DATABRICKS_RUNTIME_VERSION")),
        "kernel": "ipykernel" in sys.modules,
        "python": describe_or_error(describe_python),
        "platform": describe_or_error(describe_platform),
        "path": [describe_or_error(describe_entry, entry) for entry in list(sys.path)],
        "sitecustomize": describe_or_error(describe_sitecustomize),
        "shim": describe_or_error(describe_shim, shim),
        "meta_path": [describe_or_error(redact_type, finder) for finder in list(sys.meta_path)],
        "path_hooks": [describe_or_error(redact_type, hook) for hook in list(sys.path_hooks)],
        "import": describe_or_error(redact_type, builtins.__import__),
        "hooks": {name: describe_or_error(describe_hook, name, shim) for name in HOOK_MODULES},
    }


def describe_or_error(describe: Callable[..., Any], *args: object) -> Any:
    """Return what a function returns. If it raises, return the type of the error: its text could contain a path."""
    try:
        return describe(*args)
    except Exception as error:  # noqa: BLE001  # foreign objects can raise anything
        known = any(type(error) is kind for kind in vars(builtins).values())
        return {"error": type(error).__name__ if known else OTHER}


# The interpreter and its layers


def describe_python() -> dict[str, Any]:
    """Return which interpreter this is, and how it was started."""
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


def describe_platform() -> dict[str, Any]:
    """Return the operating system and its version."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    facts: dict[str, str | None] = {"system": os.uname().sysname, "machine": os.uname().machine}
    facts |= {"id": release.get("ID"), "version_id": release.get("VERSION_ID")}
    return {name: match(SYSTEM, value) for name, value in facts.items()}


def describe_entry(entry: object) -> dict[str, Any]:
    """Return what an entry of `sys.path` is; for a layer, also which start-up files it has."""
    path = plain(entry)
    facts: dict[str, Any] = {"path": redact(entry), "kind": "untouched"}
    if facts["path"] is None:
        facts["kind"] = "not a string"
    elif may_touch(path):
        facts["kind"] = "folder" if Path(path).is_dir() else "file" if Path(path).exists() else "absent"
    if template.is_layer(path):
        facts["layer"] = {"opened_by_site": path in find_opened_layers()}
        if facts["kind"] == "folder":
            files = [file.name for file in Path(path).iterdir()]
            facts["layer"] |= describe_layer(files, set(list_editable_files(path)))
    return facts


def describe_layer(names: list[str], editable: set[str]) -> dict[str, Any]:
    """Return how many `.pth` files of each kind a layer has, and which versions of the packages that dbx-patch needs.

    `names` are the names of the layer's files, and `editable` those that editable installs wrote, by their metadata.
    """
    known = list_kinds()
    files = [name for name in names if name.endswith(".pth")]
    kinds = [next(kind for kind in known if fnmatchcase(name, kind)) for name in files]
    kinds = [BY_METADATA if kind == ANY and name in editable else kind for name, kind in zip(files, kinds, strict=True)]
    infos = (name.removesuffix(".dist-info").partition("-") for name in names if name.endswith(".dist-info"))
    return {
        "pth": {kind: kinds.count(kind) for kind in (*known, BY_METADATA) if kind in kinds},
        "needed": {
            name: match(VERSION, version) for name, _, version in infos if name in {"packaging", "platformdirs"}
        },
    }


def list_kinds() -> tuple[str, ...]:
    """Return the kinds of `.pth` files, as patterns of their names."""
    settled = (name if name.endswith(".pth") else f"{name}*.pth" for name in list_settled_names())
    return (*settled, *OTHER_PTH)


# Start-up files


def describe_sitecustomize() -> dict[str, Any]:
    """Return which `sitecustomize` has run and why that one, with all that are on the path now, in its order."""
    loaded = plain(vars_of(sys.modules.get("sitecustomize")).get("__file__"))
    files = [file for entry in list_folders() if (file := find_in_folder(entry, "sitecustomize")[0])]
    first = next(iter(files), "")
    why = "first on the path"
    if not loaded:
        why = "none loaded, though one is on the path" if first else "none on the path"
    elif loaded != first:
        why = "others were put before it later" if loaded in files else "not in a folder that was searched"
    return {
        "loaded": describe_start_file(loaded) if loaded else None,
        "why": why,
        "found": [*map(describe_start_file, files)],
    }


def describe_start_file(file: str) -> dict[str, Any]:
    """Return whether a `sitecustomize` is ours, has our block, or neither, and the digest of all other lines."""
    content = read(file)
    facts: dict[str, Any] = {
        "file": redact(file),
        "link": may_touch(str(Path(file).parent)) and Path(file).is_symlink(),
        "ours": None,
    }
    try:
        # Imported here, because the installer imports packaging and platformdirs, which a runtime may lack.
        from dbx_patch.installer import is_own, list_shims, remove_every_block  # noqa: PLC0415
    except ImportError:
        return facts
    if content is None:
        return facts
    ours = "all" if is_own(content) else "block" if list_shims(content) else "none"
    return facts | {"ours": ours, "sha256_of_the_rest": hashlib.sha256(remove_every_block(content)).hexdigest()}


def describe_shim(shim: object) -> dict[str, Any]:
    """Return whether the shim runs in this process, which version, and the slot that has loaded it."""
    space = vars_of(shim)
    live = space.get("started") is True
    loader = plain(vars_of(sys.modules.get("sitecustomize")).get("__file__"))
    slot = {"all": 1, "block": 2}.get(describe_start_file(loader)["ours"])
    if slot is None and any(Path(folder, OWN_PTH).exists() for folder in list_folders() if template.is_layer(folder)):
        slot = 3
    return {
        "live": live,
        "version": match(VERSION, space.get("VERSION")),
        "file": redact(getattr(space.get("__spec__"), "origin", None)),
        "slot": slot if live else None,
    }


# Hooks


def describe_hook(name: str, shim: object) -> dict[str, Any]:
    """Return where a hook's module is, the digest of its source, and if it is imported, its names and signatures.

    The module is not imported, and its source is not parsed: the parser of Python 3.10 overflows the stack with some
    files, and the digest is enough to recognize a module.
    """
    module = find_module(name) if name in HARMLESS else sys.modules.get(name)
    imported = issubclass(type(module), ModuleType)
    origin = plain(vars_of(module).get("__file__")) if imported else find_module_file(name)[0]
    source = read(origin) if origin.endswith(".py") else None
    names = None
    if imported and (may_touch(origin) or not origin):
        patched = dict_in(dict_in(shim, "loaded").get("turns"), "diverted")
        names = list_names(module, source, patched)
    state = plain(dict_in(shim, "hook_states").get(name)).partition(":")[0]
    found = "source" if source is not None else "unreadable" if origin else "absent"
    return {
        "seen": "imported" if imported else found,
        "origin": redact(origin) if origin else None,
        "sha256": None if source is None else hashlib.sha256(source).hexdigest(),
        "state": state if state in STATES else None,
        "names": names,
    }


# Look-ups on the path that ask no finder on `sys.meta_path`, and fill no cache


def list_folders() -> Iterator[str]:
    """List the entries of `sys.path` that are on the node's own disk."""
    yield from (path for path in map(plain, list(sys.path)) if may_touch(path))


def find_module_file(name: str) -> tuple[str, list[str]]:
    """Return a module's file, and for a package the folders of its modules. Import none of its packages."""
    parent = name.rpartition(".")[0]
    known = vars_of(sys.modules.get(parent)).get("__path__")
    if not parent:
        within = list(list_folders())
    else:
        within = [*map(plain, known)] if type(known) is list else find_module_file(parent)[1]
    portions: list[str] = []
    for folder in within:
        if may_touch(folder):
            file, folders = find_in_folder(folder, name)
            if file:
                return file, folders
            portions += folders
    return "", portions


def find_in_folder(folder: str, name: str) -> tuple[str, list[str]]:
    """Return a module's file in a folder, and for a package the folders of its modules. A package may have no file."""
    try:
        spec = FileFinder(folder, *LOADERS).find_spec(name)
    except (OSError, ValueError):  # the folder can't be listed, or its name can't be a path
        spec = None
    if spec is None:
        return "", []
    return (spec.origin or "") if spec.loader else "", list(spec.submodule_search_locations or [])


def read(file: str) -> bytes | None:
    """Return the content of a regular file on the node's own disk; None if it can't be read or is too long."""
    try:
        if may_touch(file) and Path(file).is_file() and Path(file).stat().st_size <= SIZE_LIMIT:
            return Path(file).read_bytes()
    except (OSError, ValueError):
        pass
    return None


def vars_of(module: object) -> dict[str, Any]:
    """Return a module's namespace past what a subclass overrides; an empty one for any other object."""
    space: dict[str, Any] = vars(ModuleType)["__dict__"].__get__(module) if issubclass(type(module), ModuleType) else {}
    return space


def dict_in(module: object, name: str) -> dict[Any, Any]:
    """Return the dict that a module has under a name; an empty one if it has none."""
    found = vars_of(module).get(name)
    return found if type(found) is dict else {}
