"""Looks for a module in one folder, as Python's own path hook does, whatever hooks this process has."""

from __future__ import annotations

from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import Any

LOADERS: tuple[Any, ...] = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)
"""The loaders that Python's own path hook passes to a `FileFinder`, in its order."""


def finds(name: str, folder: str) -> bool:
    """Return whether Python's own finder finds a module in a folder; False if the folder can't be read."""
    try:
        return FileFinder(folder, *LOADERS).find_spec(name) is not None
    except OSError:  # the workspace mount's
        return False
