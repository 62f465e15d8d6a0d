"""What the shim's type comments name: for mypy alone, for the shim never runs the line that imports it."""

from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import FileFinder, ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, TypedDict

from dbx_patch.sitecustomize_template import sitecustomize_editables as editables

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol

__all__ = [
    "Any",
    "Callable",
    "CodeType",
    "Editable",
    "FileFinder",
    "Find",
    "Iterable",
    "MetaPathFinderProtocol",
    "ModuleSpec",
    "ModuleType",
    "Sequence",
    "editables",
]

Find = Callable[[str, "Sequence[str] | None", "ModuleType | None"], "ModuleSpec | None"]


class Editable(TypedDict):
    """A line of a `.pth` file that an editable install has written: it has a root, or imports a finder's module."""

    layer: str
    pth: str
    line: str
    root: str
    finder: str
    written: int
    """The modification time of the finder's file, in nanoseconds; 0 if there is none."""
