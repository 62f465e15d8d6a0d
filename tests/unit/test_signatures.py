"""How a fingerprint describes the names of a module, and what it leaves out."""

from __future__ import annotations

from types import ModuleType

from dbx_patch._fingerprint._signatures import MOST_NAMES, list_names

SOURCE = """
import ast
from os import path as renamed
def every(a, b=1, /, c=2, *args, d, e=3, **named): pass
by_lambda = lambda x, y=1: x
conditional = {}
class Kinds(dict):
    VALUE = None
    def __init__(self, *, first, second=1):
        self.attribute, self.__private = first, second
    def __hidden(self, __own, *, last): pass
    @staticmethod
    def of_none(): pass
    @classmethod
    def of_class(cls): pass
    @property
    def value(self): return 1
    async def later(self): yield
    class Inner(Exception):
        VALUE = 1
"""


def make_module(source: str) -> ModuleType:
    module = ModuleType("a_hook")
    exec(source, vars(module))
    return module


def test_names_are_listed_with_their_signatures_or_types() -> None:
    assert list_names(make_module(SOURCE), SOURCE.encode(), {}) == {
        "ast": "import ast",
        "renamed": "import posixpath",
        "every": "def (a, b=..., /, c=..., *args, d, e=..., **named)",
        "by_lambda": "def (x, y=...)",
        "conditional": "dict",
        "Kinds": "class (dict)",
        "Kinds.VALUE": "NoneType",
        "Kinds.__init__": "def (self, *, first, second=...)",
        "Kinds._Kinds__hidden": "def (self, _Kinds__own, *, last)",
        "Kinds.of_none": "staticmethod def ()",
        "Kinds.of_class": "classmethod def (cls)",
        "Kinds.value": "property",
        "Kinds.later": "async def (self)",
        "Kinds.Inner": "class (Exception)",
        "Kinds.Inner.VALUE": "int",
        "Kinds._Kinds__private": "attribute",
        "Kinds.attribute": "attribute",
    }


def test_import_of_an_unknown_package_is_not_named() -> None:
    module = make_module("import json")
    vars(module)["project"] = ModuleType("secretproject.client")
    vars(module)["Client"] = type("Client", (), {"__module__": "secretproject.client"})

    assert list_names(module, None, {}) == {
        "json": "import json",
        "project": "import <other>",
        "Client": "import <other>",
    }


def test_no_value_is_listed() -> None:
    source = """
PASSWORD = "dapi-secret"
def connect(token="dapi-secret", *, other="dapi-secret") -> "dapi-secret":
    "dapi-secret"
class Client:
    "dapi-secret"
    def __init__(self, token="dapi-secret"):
        self.token = token
"""
    names = list_names(make_module(source), source.encode(), {})

    assert names["PASSWORD"] == "str"
    assert names["connect"] == "def (token=..., *, other=...)"
    assert "dapi-secret" not in str(names)


def test_names_that_other_code_has_added_are_left_out() -> None:
    module = make_module(SOURCE)
    vars(module)["of_a_user"] = vars(module)["Kinds"].of_a_user = 1

    assert not [name for name in list_names(module, SOURCE.encode(), {}) if "of_a_user" in name]
    assert "of_a_user" in list_names(module, None, {})


def test_names_that_could_be_tokens_are_left_out_or_replaced() -> None:
    source = "def f(dapi0123456789, fine): pass\ndapi0123456789 = 1\nclass Fine:\n    dapi0123456789 = 1\n"

    assert list_names(make_module(source), source.encode(), {}) == {
        "f": "def (redacted0, fine)",
        "Fine": "class ()",
    }


def test_patched_function_has_its_original_signature() -> None:
    module = make_module("def find_spec(self, name, target=None): pass")
    function = vars(module)["find_spec"]
    original = function.__code__
    function.__code__ = vars(make_module("def patched(*args, **named): pass"))["patched"].__code__

    assert list_names(module, None, {})["find_spec"] == "def (*args, **named)"
    assert list_names(module, None, {function: (function.__code__, original)})["find_spec"] == (
        "def (self, name, target=...)"
    )


def test_number_of_names_is_limited() -> None:
    module = make_module("\n".join(f"name_{'x' * number} = 1" for number in range(70)))
    assert len(list_names(module, None, {})) == 70

    vars(module).update(
        {f"{first}_{second}": 1 for first in "abcdefghijklmnopqrstuvwxyz" for second in map(chr, range(97, 122))}
    )

    assert len(list_names(module, None, {})) == MOST_NAMES
