"""The shim's parts, after dbx-patch was uninstalled or updated while a process runs."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch.sitecustomize_template import PARTS

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = {
    "uninstalled": ("part unusable", None),
    "updated": ("part replaced", "VERSION = '99.0'\nraise SystemExit('it runs')\n"),
    "damaged": ("part unusable", "def (\n"),
}
"""What can happen to the parts: the event that it leads to, and what each file has then."""


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A change of the parts, which are in `tmp_path`."""
    text = CHANGES[request.param][1]
    for part in PARTS if text else ():
        tmp_path.joinpath(f"shim_{part}.py").write_text(text or "")
    return str(request.param)


def test_every_part_has_the_version_of_the_shim(shim: Any) -> None:
    """So it is checked too where `patch_dbx` runs the package's own files."""
    assert {part: shim.load(part).VERSION for part in PARTS} == dict.fromkeys(PARTS, shim.VERSION)


def test_part_of_another_version_never_runs(shim: Any, change: str, tmp_path: Path) -> None:
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    with pytest.raises((ImportError, OSError, SyntaxError)):
        shim.load("finders")

    assert [event[:2] for event in shim.journal] == [(CHANGES[change][0], f"{tmp_path}/shim_finders.py")]


def test_import_behaves_as_without_us(shim: Any, change: str, tmp_path: Path) -> None:
    shim.watch()
    shim.load("editables").guard_roots([])  # adds the last finder
    sys.path[:] = []
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
            importlib.import_module("no_such_module")

    assert sys.meta_path[0] is shim.watcher
    assert (CHANGES[change][0], f"{tmp_path}/shim_finders.py") in [event[:2] for event in shim.journal]


def test_hook_is_left_as_it_is(shim: Any, change: str, tmp_path: Path) -> None:
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    assert shim.watcher.find_spec("sys_path_init") is None

    assert shim.hook_states["sys_path_init"].startswith("incompatible: ")
    assert (CHANGES[change][0], f"{tmp_path}/shim_hooks.py") in [event[:2] for event in shim.journal]
