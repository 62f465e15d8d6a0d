"""Lists the names and signatures of a module that has been imported, without any value."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator, Mapping
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_VARARGS, CO_VARKEYWORDS, Parameter, Signature
from types import CodeType, FunctionType, ModuleType
from typing import Any

from dbx_patch._fingerprint._redact import NAME, plain, redact_module, redact_name

MOST_NAMES = 500
VALUES = (bool, bytes, dict, float, frozenset, int, list, set, str, tuple, type(None))
"""The types that are named. A value of any other type is called an object."""
MADE_BY_PYTHON = frozenset({"_abc_impl"})
"""Names that Python itself adds to a class, beside those in double underscores. They are left out."""
POSITIONAL, EITHER, KEYWORD = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
STAR, STARS = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD

Names = dict[str, str]
"""Dotted names, and for each what it is, such as `def (self, name, target=...)` or `list`."""
Originals = Mapping[Any, tuple[CodeType, CodeType]]
"""For each function that the shim has patched, its current code object and its original one."""


def list_names(module: Any, source: bytes | None, originals: Originals) -> Names:
    """Return the names of a module, each with its signature or its type.

    If the module's source is given, only names that are written in it are returned: other code can have added names to
    the module since it was imported, and those could be a user's.
    """
    space: dict[Any, Any] = vars(ModuleType)["__dict__"].__get__(module)
    words = None if source is None else set(re.findall(r"\w+", source.decode("utf-8", "replace")))
    found = dict(describe_namespace(space, plain(space.get("__name__")), originals))
    safe = {name: what for name, what in found.items() if all(map(NAME.fullmatch, name.split(".")))}
    first = dict(list(safe.items())[:MOST_NAMES])
    return {name: what for name, what in first.items() if words is None or is_written(name, words)}


def is_written(name: str, words: set[str]) -> bool:
    """Return whether the last part of a dotted name is among the words of the source, mangled or not."""
    above, _, last = name.rpartition(".")
    return last in words or last.removeprefix("_" + above.rpartition(".")[2].lstrip("_")) in words


def describe_namespace(
    space: Mapping[Any, Any], module: str, originals: Originals, prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """List the names of a module or a class, with those of the classes inside it."""
    for name, thing in list(space.items()):
        if type(name) is not str or name in MADE_BY_PYTHON:
            continue
        what = describe_thing(thing, module, originals)
        if name.startswith("__") and name.endswith("__") and "def (" not in what:
            continue
        yield prefix + name, what
        if what.startswith("class ("):
            inner: Mapping[Any, Any] = vars(type)["__dict__"].__get__(thing)
            yield from describe_namespace(inner, module, originals, f"{prefix}{name}.")
            yield from ((f"{prefix}{name}.{attribute}", "attribute") for attribute in find_attributes(inner, originals))


def find_attributes(space: Mapping[Any, Any], originals: Originals) -> list[str]:
    """List the attributes that a class's `__init__` sets, from its byte code."""
    init = space.get("__init__")
    parts = dis.get_instructions(find_original(init, originals)) if type(init) is FunctionType else ()
    return sorted({part.argval for part in parts if part.opname == "STORE_ATTR"}.difference(space))


def find_original(function: Any, originals: Originals) -> CodeType:
    """Return the code object that a function had before the shim patched it."""
    code: CodeType = function.__code__
    now, before = originals.get(function, (None, code))
    return before if now is code else code


def describe_thing(thing: Any, module: str, originals: Originals) -> str:
    """Return what an object of a module is: its signature, its bases, its module if it is imported, or its type."""
    kind = type(thing)
    if kind in {staticmethod, classmethod}:
        return f"{kind.__name__} {describe_thing(thing.__func__, module, originals)}"
    home: object = module
    if issubclass(kind, ModuleType):
        home = vars(ModuleType)["__dict__"].__get__(thing).get("__name__")
    elif kind is FunctionType or issubclass(kind, type):
        home = thing.__module__ if kind is FunctionType else vars(type)["__module__"].__get__(thing)
    if home != module:
        return f"import {redact_module(home)}"
    if kind is FunctionType:
        code = find_original(thing, originals)
        return describe_code(code, len(thing.__defaults__ or ()), [*(thing.__kwdefaults__ or ())])
    if issubclass(kind, type):
        bases = [vars(type)["__name__"].__get__(base) for base in vars(type)["__bases__"].__get__(thing)]
        return f"class ({', '.join(redact_name(base) for base in bases if base != 'object')})"
    return kind.__name__ if kind in (*VALUES, property) else "object"


def describe_code(code: CodeType, defaults: int, optional: list[str]) -> str:
    """Return a function's signature, with `...` as every default.

    `defaults` is the number of positional parameters that have one. They are the last. `optional` lists the keyword
    parameters that have one.
    """
    count, only = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    found = [
        (name, POSITIONAL if at < code.co_posonlyargcount else EITHER, at >= count - defaults)
        for at, name in enumerate(code.co_varnames[:count])
    ]
    keywords = [(name, KEYWORD, name in optional) for name in code.co_varnames[count:only]]
    rest = iter(code.co_varnames[only:])
    star = [(next(rest), STAR, False)] if code.co_flags & CO_VARARGS else []
    stars = [(next(rest), STARS, False)] if code.co_flags & CO_VARKEYWORDS else []
    parameters = [
        Parameter(
            name if NAME.fullmatch(name) else f"redacted{at}", kind, default=DEFAULT if has_one else Parameter.empty
        )
        for at, (name, kind, has_one) in enumerate([*found, *star, *keywords, *stars])
    ]
    is_async = bool(code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR))
    return f"{'async ' * is_async}def {Signature(parameters)}"


class Default:
    """Replaces every default in a signature, so that no value is printed."""

    def __repr__(self) -> str:
        return "..."


DEFAULT = Default()
