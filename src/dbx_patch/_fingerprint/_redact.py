"""Redacts by construction: of a path, a name or a type only those parts are told that are known to be a runtime's."""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from dbx_patch._process import HARMLESS
from dbx_patch.sitecustomize_template import template

REDACTED, OTHER = "<redacted>", "<other>"
ROOT = sys.base_prefix.removesuffix("/usr") if sys.base_prefix.endswith("/usr") else ""
"""The folder that has the node's `/usr` and `/databricks`: none on a cluster, a temporary one in a test."""
MOUNTS = ("/Workspace", "/Volumes", "/dbfs", "/.fuse-mounts")
LOCAL = frozenset({"databricks", "etc", "lib", "lib64", "local_disk0", "opt", "usr"})
"""The folders below the root that may be touched. Of what lies in any other nothing is told."""
TOLD = LOCAL.union("Repos Shared Users Volumes WSFS_NOTEBOOK_DIR Workspace dbfs home mnt root tmp var".split())
HOOK_MODULES = tuple(dict.fromkeys((*template.HOOKS, *HARMLESS)))
PARTS = {part for name in HOOK_MODULES for part in name.split(".")}
WORDS = frozenset(
    ".ephemeral_nfs .python_edge_libs __init__.py bin cluster_libraries dbx_patch dbx_patch_sitecustomize.py"
    " dist-packages driver envs jars lib lib-dynload lib64 local python python3 python_shell scripts site-packages"
    " sitecustomize sitecustomize.py sitecustomize_template spark".split()
).union(PARTS, [f"{part}.py" for part in PARTS])
"""The parts of a path below them that are told, with those that have a version."""
WORD = re.compile(r"python3?\d?\.\d{1,2}|python3\d{1,2}\.zip|py4j-\d{1,2}(\.\d{1,2}){1,4}-src\.zip", re.ASCII)
NAME = re.compile(r"(?!(?:\D*\d){5})[A-Za-z_]\w{0,79}", re.ASCII)
"""A name of code. One with many digits could be a token, or an account."""
PACKAGES = {name.partition(".")[0] for name in HOOK_MODULES}.union(
    "IPython _distutils_hack _virtualenv databricks dbx_patch dlt editables ipykernel mlflow pkg_resources setuptools"
    " six".split()
)
"""The packages whose modules and types are told, beside the standard library."""
FINDERS = ("__editable___*_finder", "_editable_impl_*", "_editable_skbc_*", "_*_editable_loader")
FINDER_TYPES = frozenset(
    {"MesonpyMetaFinder", "ScikitBuildRedirectingFinder", "_EditableFinder", "_EditableNamespaceFinder"}
)
"""The modules of editable installs' finders, which have their project's name, and the types in them."""
NAMESPACE_MARK = "__editable__.*.finder.__path_hook__"
"""What setuptools puts on the path for a namespace package."""
MOST_STEPS = 200
"""Parts and links of a path."""


def match(pattern: str, text: object) -> str | None:
    """Tell a string that is of a known form; None if there is none."""
    if text is None:
        return None
    return text if type(text) is str and re.fullmatch(pattern, text, re.ASCII) else REDACTED


def plain(text: object) -> str:
    """Give a string without what a subclass makes of it; empty if it is none."""
    return str.__str__(text) if issubclass(type(text), str) else ""


# Paths


def redact(path: object) -> str | None:
    """Tell of a path what a runtime gives; None if it is no string."""
    text = plain(path)
    if not text:
        return "" if issubclass(type(path), str) else None
    if not text.startswith("/"):
        return NAMESPACE_MARK if fnmatchcase(text, NAMESPACE_MARK) else "<relative>"
    first, *rest = below_root(text).strip("/").split("/")
    told = [first if first in TOLD or not first else REDACTED]
    for part in rest if first in LOCAL else [REDACTED] * bool(rest):
        known = redact_part(part)
        if part and told[-1] != known:
            told.append(known)
    return "/" + "/".join(told)


def redact_part(part: str) -> str:
    """Tell one part of a path."""
    if part.startswith("pythonEnv-"):
        return "pythonEnv-<uuid>"
    if part in WORDS or WORD.fullmatch(part):
        return part
    return REDACTED + next((suffix for suffix in (".jar", ".zip", ".egg", ".whl") if part.endswith(suffix)), "")


def below_root(path: str) -> str:
    """Spell a node's path as it is on a cluster."""
    return path.removeprefix(ROOT) if f"{path}/".startswith(f"{ROOT}/") else path


def may_touch(path: str) -> bool:
    """Tell whether a path lies on the node itself, and so does every link on the way; no mount is asked for that."""
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
        if here.startswith(MOUNTS) or not is_local(here):
            return False
        try:
            target = str(Path(here).readlink())
        except (OSError, ValueError):  # it is no link
            continue
        here = "" if target.startswith("/") else here.rpartition("/")[0]
        waiting += reversed(target.split("/"))
    return False


def is_local(path: str) -> bool:
    """Tell whether a path, by its name, is the node's own, or a folder on the way there."""
    return f"{ROOT}/".startswith(f"{path}/") or below_root(path).split("/")[1:2] in [[name] for name in LOCAL]


# Names and types


def tell_name(name: object) -> str:
    """Tell a name of code."""
    return match(NAME.pattern, name) or REDACTED


def tell_module(name: object) -> str:
    """Tell a module's name, if it is of a known package."""
    text = plain(name)
    for shape in FINDERS:
        if fnmatchcase(text, shape):
            return shape
    known = text.partition(".")[0] in PACKAGES.union(sys.stdlib_module_names)
    return text if known and all(map(NAME.fullmatch, text.split("."))) else OTHER


def tell_type(thing: Any) -> str:
    """Tell a class or function, or what an object is an instance of, by module and name.

    An object may lie about its type, and a type about its module: told is what is found there under its name.
    """
    kind = type(thing)
    if kind is MethodType:
        return tell_type(thing.__func__)
    find = vars(thing).get("find_spec") if kind is SimpleNamespace else thing
    if type(find) is FunctionType and find.__code__.co_filename == "<dbx-patch>":
        return "dbx-patch"
    named = thing if kind in {FunctionType, BuiltinFunctionType} or issubclass(kind, type) else kind
    if issubclass(type(named), type):  # past what a metaclass makes of them
        module, name = (vars(type)[what].__get__(named) for what in ("__module__", "__qualname__"))
    else:
        module, name = named.__module__, named.__qualname__
    told = tell_module(module)
    if told in FINDERS:
        return f"{told}.{name if name in FINDER_TYPES else OTHER}"
    return f"{told}.{name}" if told != OTHER and is_found(named, sys.modules.get(told), plain(name)) else OTHER


def is_found(named: Any, module: Any, name: str) -> bool:
    """Tell whether a module has a class or function under a name, in a class or as what a function makes."""
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
    """Tell whether a module's file is a runtime's, or the module has none."""
    return file is None or plain(file).startswith(f"{Path(os.__file__).parent}/") or may_touch(plain(file))
