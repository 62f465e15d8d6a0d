"""Tells the shape of a module: the names and signatures that it has, and never a value.

Two readers, of a module that has been imported and of source that is not to be run, say the same in the same words.
"""

from __future__ import annotations

import ast
import dis
import re
import warnings
from collections.abc import Iterator, Mapping
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_VARARGS, CO_VARKEYWORDS, Parameter, Signature
from types import CodeType, FunctionType, ModuleType
from typing import Any

from dbx_patch._fingerprint._redact import NAME, OTHER, plain, tell_module, tell_name

MOST_NAMES = 500
VALUES = (bool, bytes, dict, float, frozenset, int, list, set, str, tuple, type(None))
"""The types of values that are told; any other is an object."""
UNTOLD = frozenset({"_abc_impl"})
"""What Python adds to a class by itself, beside names in double underscores."""
POSITIONAL, EITHER, KEYWORD = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
STAR, STARS = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD

Shape = dict[str, str]
"""Names with dots, and for each what it is, such as `def (self, name, target=...)` or `list`."""
Found = Iterator[tuple[str, str]]
Originals = Mapping[Any, tuple[CodeType, CodeType]]
"""For each function that is patched, its code and the code that it had."""


def keep(found: Found) -> Shape:
    """Keep the names that are told."""
    told = {name: what for name, what in found if all(map(NAME.fullmatch, name.split(".")))}
    return dict(list(told.items())[:MOST_NAMES])


# A module that has been imported


def read_module(module: Any, source: bytes | None, originals: Originals) -> Shape:
    """Tell the shape of a module; where its source is known, without what others have put into it."""
    space: dict[Any, Any] = vars(ModuleType)["__dict__"].__get__(module)
    words = None if source is None else set(re.findall(r"\w+", source.decode("utf-8", "replace")))
    found = keep(read_namespace(space, plain(space.get("__name__")), originals))
    return {name: what for name, what in found.items() if words is None or is_written(name, words)}


def is_written(name: str, words: set[str]) -> bool:
    """Tell whether a name is in the source, mangled or not."""
    above, _, last = name.rpartition(".")
    return last in words or last.removeprefix("_" + above.rpartition(".")[2].lstrip("_")) in words


def read_namespace(space: Mapping[Any, Any], module: str, originals: Originals, prefix: str = "") -> Found:
    """Tell the names of a module or class, and of the classes in it."""
    for name, thing in list(space.items()):
        if type(name) is not str or name in UNTOLD:
            continue
        what = describe(thing, module, originals)
        if is_special(name) and "def (" not in what:
            continue
        yield prefix + name, what
        if what.startswith("class ("):
            inner: Mapping[Any, Any] = vars(type)["__dict__"].__get__(thing)
            yield from read_namespace(inner, module, originals, f"{prefix}{name}.")
            init = inner.get("__init__")
            parts = dis.get_instructions(code_of(init, originals)) if type(init) is FunctionType else ()
            stored = {part.argval for part in parts if part.opname == "STORE_ATTR"}
            yield from ((f"{prefix}{name}.{attribute}", "attribute") for attribute in sorted(stored.difference(inner)))


def code_of(function: Any, originals: Originals) -> CodeType:
    """Give a function's code as it was before it was patched."""
    code: CodeType = function.__code__
    now, before = originals.get(function, (None, code))
    return before if now is code else code


def describe(thing: Any, module: str, originals: Originals) -> str:
    """Say what a name stands for."""
    kind = type(thing)
    if kind in {staticmethod, classmethod}:
        return f"{kind.__name__} {describe(thing.__func__, module, originals)}"
    home: object = module
    if issubclass(kind, ModuleType):
        home = vars(ModuleType)["__dict__"].__get__(thing).get("__name__")
    elif kind is FunctionType or issubclass(kind, type):
        home = thing.__module__ if kind is FunctionType else vars(type)["__module__"].__get__(thing)
    if home != module:
        return f"import {tell_module(home)}"
    if kind is FunctionType:
        return describe_code(code_of(thing, originals), len(thing.__defaults__ or ()), [*(thing.__kwdefaults__ or ())])
    if issubclass(kind, type):
        return write_class([vars(type)["__name__"].__get__(base) for base in vars(type)["__bases__"].__get__(thing)])
    return kind.__name__ if kind in (*VALUES, property) else "object"


def describe_code(code: CodeType, defaults: int, optional: list[str]) -> str:
    """Say what a function is by its code: its last positional parameters and some keywords are optional."""
    count, only = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    found = [
        (name, POSITIONAL if at < code.co_posonlyargcount else EITHER, at >= count - defaults)
        for at, name in enumerate(code.co_varnames[:count])
    ]
    keywords = [(name, KEYWORD, name in optional) for name in code.co_varnames[count:only]]
    rest = iter(code.co_varnames[only:])
    star = [(next(rest), STAR, False)] if code.co_flags & CO_VARARGS else []
    stars = [(next(rest), STARS, False)] if code.co_flags & CO_VARKEYWORDS else []
    is_async = bool(code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR))
    return write_function([*found, *star, *keywords, *stars], is_async=is_async)


# Source that is not to be run


def read_source(source: bytes) -> Shape | None:
    """Tell the shape of a module by its source; None if that can't be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keep(read_body(ast.parse(source).body))
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return None


def read_body(body: list[ast.stmt], within: str = "") -> Found:
    """Tell the names that statements bind, in a module or a class."""
    owner = within.rpartition(".")[2]
    prefix = f"{within}." if within else ""
    for node in flatten(body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + mangle(node.name, owner), describe_function(node, owner)
        elif isinstance(node, ast.ClassDef):
            name = prefix + mangle(node.name, owner)
            bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
            yield name, write_class(bases)
            yield from read_class(node, name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                home = alias.name if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
                yield prefix + (alias.asname or alias.name.partition(".")[0]), f"import {tell_module(home)}"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and not is_special(target.id):
                    yield prefix + mangle(target.id, owner), describe_value(node.value)


def read_class(node: ast.ClassDef, name: str) -> Found:
    """Tell the names of a class, and the attributes that its `__init__` sets."""
    found = dict(read_body(node.body, name))
    yield from found.items()
    for init in (made for made in node.body if isinstance(made, ast.FunctionDef) and made.name == "__init__"):
        for part in ast.walk(init):
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                attribute = f"{name}.{mangle(part.attr, name.rpartition('.')[2])}"
                if attribute not in found:
                    yield attribute, "attribute"


def flatten(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """List statements with those that they may have run: of an `if`, a `try` and the like."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = [part for part in ast.iter_child_nodes(node) if isinstance(part, (ast.stmt, ast.ExceptHandler))]
            waiting += reversed(inner)


def is_special(name: str) -> bool:
    """Tell whether a name is one of Python's own."""
    return name.startswith("__") and name.endswith("__")


def mangle(name: str, owner: str) -> str:
    """Spell a private name as Python does within a class."""
    return f"_{owner.lstrip('_')}{name}" if owner and name.startswith("__") and not name.endswith("__") else name


def describe_function(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, owner: str) -> str:
    """Say what a function is: its signature, and how it is decorated."""
    made = node.args
    either = [*((arg, POSITIONAL) for arg in made.posonlyargs), *((arg, EITHER) for arg in made.args)]
    found: list[tuple[ast.arg, Any, bool]]
    found = [(arg, kind, at >= len(either) - len(made.defaults)) for at, (arg, kind) in enumerate(either)]
    found += [(made.vararg, STAR, False)] if made.vararg else []
    found += [(arg, KEYWORD, bool(default)) for arg, default in zip(made.kwonlyargs, made.kw_defaults, strict=True)]
    found += [(made.kwarg, STARS, False)] if made.kwarg else []
    parameters = [(mangle(arg.arg, owner), kind, optional) for arg, kind, optional in found]
    signature = write_function(parameters, is_async=isinstance(node, ast.AsyncFunctionDef))
    for decorator in [] if isinstance(node, ast.Lambda) else reversed(node.decorator_list):
        name = getattr(decorator, "id", "")
        if name == "property" or getattr(decorator, "attr", "") in {"setter", "deleter", "getter"}:
            return "property"
        signature = f"{name if name in {'staticmethod', 'classmethod'} else 'decorated'} {signature}"
    return signature


def describe_value(node: ast.expr) -> str:
    """Say what a value is, as far as it is written."""
    if isinstance(node, ast.Lambda):
        return describe_function(node, "")
    if isinstance(node, ast.Constant) and node.value is not ...:
        return type(node.value).__name__
    kind = type(node).__name__.lower().removesuffix("comp")
    return kind if kind in {"dict", "list", "set", "tuple"} else "object"


# The words that both use


def write_class(bases: list[str]) -> str:
    """Write what a class is, with its bases."""
    named = [tell_name(base) if base else OTHER for base in bases if base != "object"]
    return f"class ({', '.join(named)})"


def write_function(parameters: list[tuple[str, Any, bool]], *, is_async: bool) -> str:
    """Write what a function is: its parameters' names, kinds, and which are optional, whatever the default is."""
    told = [
        Parameter(
            name if NAME.fullmatch(name) else f"redacted{at}", kind, default=Default() if optional else Parameter.empty
        )
        for at, (name, kind, optional) in enumerate(parameters)
    ]
    return f"{'async ' * is_async}def {Signature(told)}"


class Default:
    """Stands for any default in a signature that is written."""

    def __repr__(self) -> str:
        return "..."
