"""Fixtures of the unit tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch import sitecustomize_template

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
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
