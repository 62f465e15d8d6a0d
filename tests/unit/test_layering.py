"""Imports go one way through the rooms: `src/dbx_patch`, `installer`, `sitecustomize_template`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lab.wheels import REPOSITORY
from tests.layering import ROOMS, find_forbidden_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORBIDDEN = {
    "sitecustomize_template/dbx_patch_sitecustomize.py": (
        "import dbx_patch.installer",
        "from dbx_patch import installer",
        "import packaging.version",
        "from typing_extensions import Self",
    ),
    "installer/_core.py": (
        "import dbx_patch._doctor",
        "from dbx_patch._doctor import diagnose",
        "from dbx_patch import _doctor",
        "from .. import _doctor",
        "def late():\n    from dbx_patch import _doctor",
        "import importlib\nimportlib.import_module('dbx_patch._doctor')",
        "from importlib import import_module\nimport_module('dbx_patch._doctor')",
        "__import__('dbx_patch._doctor')",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from dbx_patch._doctor import Diagnosis",
        "from dbx_patch.sitecustomize_template import _names",
        "import requests",
    ),
    "installer/files/_lock.py": ("from ... import _doctor",),
    "src/dbx_patch/_cli.py": (
        "from dbx_patch.installer import _core",
        "import dbx_patch.installer._core",
        "from dbx_patch.installer.files._lock import Lock",
        "from .installer._core import install",
        "import platformdirs",
    ),
}
ALLOWED = {
    "installer/_core.py": (
        "import os.path",
        "import packaging.version",
        "from dbx_patch.sitecustomize_template import template",
        "from . import _errors",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing_extensions import Self",
    ),
    "src/dbx_patch/_cli.py": ("from dbx_patch.installer import install", "from dbx_patch._doctor import diagnose"),
}


def flatten(sources: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(file, source) for file, every in sources.items() for source in every]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms."""
    folder = tmp_path_factory.mktemp("rooms")
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room.folder, folder / room.folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def plant(copy: Path) -> Iterator[Callable[[str, str], list[str]]]:
    """Add source to a file of the copy for one test, and return the files in which imports are refused."""
    kept = {}

    def plant(name: str, source: str) -> list[str]:
        kept[copy / name] = (copy / name).read_text()
        (copy / name).write_text(f"{kept[copy / name]}\n{source}\n")
        return [line.partition(":")[0] for line in find_forbidden_imports(copy)]

    yield plant
    for file, source in kept.items():
        file.write_text(source)


def test_each_room_imports_only_what_it_may() -> None:
    assert find_forbidden_imports(REPOSITORY) == []


@pytest.mark.parametrize(("file", "source"), flatten(FORBIDDEN))
def test_planted_import_is_found(plant: Callable[[str, str], list[str]], file: str, source: str) -> None:
    assert plant(file, source) == [file]


@pytest.mark.parametrize(("file", "source"), flatten(ALLOWED))
def test_import_on_the_list_is_not_reported(plant: Callable[[str, str], list[str]], file: str, source: str) -> None:
    assert plant(file, source) == []
