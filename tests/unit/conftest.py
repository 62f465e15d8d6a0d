"""Fixtures of the unit tests."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from coverage import Coverage

from dbx_patch import sitecustomize_template
from dbx_patch.installer.shim_files import _stamp, list_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def hidden_shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A copy of the shim for one test. It is not started, and what it changes in `sys` is restored afterwards."""
    for name in ("path", "meta_path", "path_hooks"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setattr(sys, "path_importer_cache", dict(sys.path_importer_cache))
    name = "a_shim_of_the_tests"
    file = Path(sitecustomize_template.__path__[0], sitecustomize_template.SHIM)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    shim = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, shim)
    spec.loader.exec_module(shim)
    yield shim
    if "hooks" in shim.loaded:  # functions that other code has
        shim.loaded["hooks"].stop()


@pytest.fixture
def change_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes the shim that the installer writes one of another build: one part differs from now on."""
    folder = tmp_path / "another build"

    def change() -> None:
        shutil.copytree(_stamp.TEMPLATE.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(_stamp, "TEMPLATE", folder / _stamp.TEMPLATE.name)
        with list_parts(_stamp.TEMPLATE)[0].open("a") as part:
            part.write("# another build\n")

    return change


@pytest.fixture
def shim(hidden_shim: Any) -> Any:
    """The same copy, whose parts name their files, by which coverage knows their lines.

    Where the package is installed into a layer, its parts hide their files as they do on a node: their own frames would
    count as a library's.
    """
    if "-packages/" not in hidden_shim.__file__:
        hidden_shim.hide_file = lambda _code: None
    return hidden_shim


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """For a test in which measuring coverage would fail, because it reads `sys.path` as well."""
    measuring = Coverage.current()
    if measuring:
        measuring.stop()
    yield
    if measuring:
        measuring.start()
