"""Redacts paths, names and types: keeps only the parts that are known to belong to a runtime."""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from dbx_patch._verify import HARMLESS
from dbx_patch.sitecustomize_template import template

REDACTED, OTHER = "<redacted>", "<other>"
ROOT = sys.base_prefix.removesuffix("/usr") if sys.base_prefix.endswith("/usr") else ""
"""The folder that contains the node's `/usr` and `/databricks`: empty on a cluster, a temporary folder in a test."""
LOCAL = frozenset({"databricks", "etc", "lib", "lib64", "local_disk0", "opt", "usr"})
"""The folders below the root that are on the node's own disk. Nothing is read, or kept of a path, in any other."""
TOP_LEVEL = LOCAL.union("Repos Shared Users Volumes WSFS_NOTEBOOK_DIR Workspace dbfs home mnt root tmp var".split())
"""The first parts of a path that are kept."""
HOOK_MODULES = tuple(dict.fromkeys((*template.HOOKS, *HARMLESS)))
PARTS = {part for name in HOOK_MODULES for part in name.split(".")}
WORDS = frozenset(
    ".ephemeral_nfs .python_edge_libs __init__.py bin cluster_libraries dbx_patch dbx_patch_sitecustomize.py"
    " dist-packages driver envs jars lib lib-dynload lib64 local python python3 python_shell scripts site-packages"
    " sitecustomize sitecustomize.py sitecustomize_template spark".split()
).union(PARTS, [f"{part}.py" for part in PARTS])
"""The other parts of a path that are kept, beside those with a version."""
WORD = re.compile(r"python3?\d?\.\d{1,2}|python3\d{1,2}\.zip|py4j-\d{1,2}(\.\d{1,2}){1,4}-src\.zip", re.ASCII)
NAME = re.compile(r"(?!(?:\D*\d){5})[A-Za-z_]\w{0,79}", re.ASCII)
"""A name in code. One with five digits or more is redacted: it could be a token or an account."""
PACKAGES = {name.partition(".")[0] for name in HOOK_MODULES}.union(
    "IPython _distutils_hack _virtualenv databricks dbx_patch dlt editables ipykernel mlflow pkg_resources setuptools"
    " six".split()
)
"""The packages whose modules and types are named, beside the standard library."""
FINDERS = ("__editable___*_finder", "_editable_impl_*", "_editable_skbc_*", "_*_editable", "_*_editable_loader")
FINDER_TYPES = frozenset(
    {"MesonpyMetaFinder", "ScikitBuildRedirectingFinder", "_EditableFinder", "_EditableNamespaceFinder"}
)
"""The modules of editable installs' finders, whose names contain a project's name, and the types in them."""
NAMESPACE_MARK = "__editable__.*.finder.__path_hook__"
"""The entry that setuptools puts on the path for a namespace package."""
MOST_STEPS = 200
"""Parts and links that are followed in one path. Links can form a circle."""


def match(pattern: str, text: object) -> str | None:
    """Return a string if it has the given form, a mark if it has not, and None if there is no value."""
    if text is None:
        return None
    return text if type(text) is str and re.fullmatch(pattern, text, re.ASCII) else REDACTED


def plain(text: object) -> str:
    """Return a string past what a subclass overrides, and an empty one for any other object."""
    return str.__str__(text) if issubclass(type(text), str) else ""


# Paths


def redact(path: object) -> str | None:
    """Return a path with all parts redacted but those of a runtime; None if it is not a string."""
    text = plain(path)
    if not text:
        return "" if issubclass(type(path), str) else None
    if not text.startswith("/"):
        return NAMESPACE_MARK if fnmatchcase(text, NAMESPACE_MARK) else "<relative>"
    first, *rest = below_root(text).strip("/").split("/")
    kept = [first if first in TOP_LEVEL or not first else REDACTED]
    for part in rest if first in LOCAL else [REDACTED] * bool(rest):
        known = redact_part(part)
        if part and kept[-1] != known:
            kept.append(known)
    return "/" + "/".join(kept)


def redact_part(part: str) -> str:
    """Return one part of a path, or a mark instead; some suffixes are kept."""
    if part.startswith("pythonEnv-"):
        return "pythonEnv-<uuid>"
    if part in WORDS or WORD.fullmatch(part):
        return part
    return REDACTED + next((suffix for suffix in (".jar", ".zip", ".egg", ".whl") if part.endswith(suffix)), "")


def below_root(path: str) -> str:
    """Return a node's path as it would be on a cluster."""
    return path.removeprefix(ROOT) if f"{path}/".startswith(f"{ROOT}/") else path


def may_touch(path: str) -> bool:
    """Return whether a path, and every link that it passes through, is on the node's own disk.

    Links are resolved one part at a time, and each part is checked by its name before the file system is asked for it.
    `realpath` would ask the workspace mount, and each such call is a remote one.
    """
    if not path.startswith("/"):
        return False
    waiting, here = path.split("/")[:0:-1], ""
    for _ in range(MOST_STEPS):
        if not waiting:
            return True
        name = waiting.pop()
        if name in {"", "."}:
            continue
        here = here.rpartition("/")[0] if name == ".." else f"{here}/{name}"
        if f"{here}/".startswith(template.MOUNTS) or not is_local(here):
            return False
        try:
            target = str(Path(here).readlink())
        except (OSError, ValueError):  # it is not a link
            continue
        here = "" if target.startswith("/") else here.rpartition("/")[0]
        waiting += reversed(target.split("/"))
    return False


def is_local(path: str) -> bool:
    """Return whether a path, by its name, is on the node's own disk, or is a parent of such a path."""
    return f"{ROOT}/".startswith(f"{path}/") or below_root(path).split("/")[1:2] in [[name] for name in LOCAL]


# Names and types


def redact_name(name: object) -> str:
    """Return a name in code, or a mark if it could be a token."""
    return match(NAME.pattern, name) or REDACTED


def redact_module(name: object) -> str:
    """Return a module's name if its package is known; for an editable install's finder, the pattern of its name."""
    text = plain(name)
    for pattern in FINDERS:
        if fnmatchcase(text, pattern):
            return pattern
    known = text.partition(".")[0] in PACKAGES.union(sys.stdlib_module_names)
    return text if known and all(map(NAME.fullmatch, text.split("."))) else OTHER


def redact_type(thing: Any) -> str:
    """Return the module and name of a class or function, or of the class of any other object.

    Objects can report a false type, and types a false module. So a name is kept only if the module really has that
    class or function under it.
    """
    kind = type(thing)
    if kind is MethodType:
        return redact_type(thing.__func__)
    if kind is FunctionType and thing.__code__.co_filename == "<dbx-patch>":
        return "dbx-patch"
    named = thing if kind in {FunctionType, BuiltinFunctionType} or issubclass(kind, type) else kind
    if issubclass(type(named), type):  # past what a metaclass overrides
        module, name = (vars(type)[what].__get__(named) for what in ("__module__", "__qualname__"))
    else:
        module, name = named.__module__, named.__qualname__
    known = redact_module(module)
    if known in FINDERS:
        return f"{known}.{name if name in FINDER_TYPES else OTHER}"
    return f"{known}.{name}" if known != OTHER and is_found(named, sys.modules.get(known), plain(name)) else OTHER


def is_found(named: Any, module: Any, name: str) -> bool:
    """Return whether a module has a class or function under a qualified name, also inside a class or a function."""
    found: Any = {} if type(module) is not ModuleType else vars(module)
    if not found or not is_public(found.get("__file__")):
        return False
    for part in name.split("."):
        if not NAME.fullmatch(part) and part not in {"<locals>", "<lambda>"}:
            return False
        if issubclass(type(found), type):
            found = vars(type)["__dict__"].__get__(found)
        if type(found) is FunctionType or type(found) in {classmethod, staticmethod}:
            found = {
                const.co_name: const
                for const in getattr(found, "__func__", found).__code__.co_consts
                if type(const) is CodeType
            }
        if part != "<locals>":
            found = found.get(part) if type(found) in {dict, type(vars(type))} else None
    return found is named or (type(named) is FunctionType and found is named.__code__)


def is_public(file: object) -> bool:
    """Return whether a module's file belongs to the runtime. A module without a file, such as a built-in, does too."""
    return file is None or plain(file).startswith(f"{Path(os.__file__).parent}/") or may_touch(plain(file))
