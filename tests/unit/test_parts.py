"""The shim's parts, after dbx-patch was uninstalled or updated while a process runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from dbx_patch.installer.shim_files import render
from dbx_patch.sitecustomize_template import PARTS, SHIM, template

CHANGES = {
    "uninstalled": ("part unusable", None),
    "updated": ("part replaced", "raise SystemExit('it runs')\n"),
    "damaged": ("part unusable", "def (\n"),
}
"""What can happen to the parts: the event that it leads to, and what each file has then."""


def test_version_stands_in_one_file() -> None:
    files = [file for file in Path(template.__file__).parent.glob("*.py") if "\nVERSION = " in file.read_text()]

    assert [file.name for file in files] == [SHIM]


def test_installed_parts_are_those_of_the_build(shim: Any, tmp_path: Path) -> None:
    """Whatever the other files are by now. Those of another build have other names."""
    first, *others = render(tmp_path / "shim.py").items()
    for file, content in (first, *others[:-1]):  # the shim itself is gone
        file.write_bytes(content)
    for part in PARTS:
        tmp_path.joinpath(f"shim_{part}_00000000.py").write_text("raise SystemExit('it runs')\n")
    shim.__spec__.origin, shim.BUILD = f"{tmp_path}/shim.py", first[0].stem.removeprefix("shim_editables")

    for part in PARTS:
        assert shim.load(part).__file__ == f"{tmp_path}/shim_{part}{shim.BUILD}.py"
    shim.loaded.clear()
    shim.BUILD = "_11111111"
    with pytest.raises(ImportError, match="a part of dbx-patch can't be loaded"):
        shim.load("editables")


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A change of the package's own files, which are in `tmp_path`; `patch_dbx` runs them where they are."""
    text = CHANGES[request.param][1]
    if text:
        tmp_path.joinpath("shim.py").write_text("VERSION = '99.0'\n")
        for part in PARTS:
            tmp_path.joinpath(f"shim_{part}.py").write_text(text)
    return str(request.param)


def test_code_of_a_part_names_no_file(hidden_shim: Any) -> None:
    """Databricks' hooks refuse an import for a frame whose file is in site-packages."""
    for part in map(hidden_shim.load, PARTS):
        functions = [thing for thing in vars(part).values() if isinstance(thing, FunctionType)]
        ours = [function for function in functions if function.__module__ == part.__name__]
        assert {function.__code__.co_filename for function in ours} == {"<dbx-patch>"}


def test_part_of_another_version_never_runs(shim: Any, change: str, tmp_path: Path) -> None:
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    with pytest.raises((ImportError, OSError, SyntaxError)):
        shim.load("folders")

    assert [event[:2] for event in shim.journal] == [(CHANGES[change][0], f"{tmp_path}/shim_folders.py")]


def test_import_behaves_as_without_us(shim: Any, change: str, tmp_path: Path) -> None:
    shim.watch()
    shim.load("editables")  # so that the last finder loads another part
    sys.path[:] = []
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
            importlib.import_module("no_such_module")

    assert sys.meta_path[0] is shim.watcher
    assert (CHANGES[change][0], f"{tmp_path}/shim_folders.py") in [event[:2] for event in shim.journal]


def test_hook_is_left_as_it_is(shim: Any, change: str, tmp_path: Path) -> None:
    shim.__spec__.origin = f"{tmp_path}/shim.py"

    assert shim.watcher.find_spec("sys_path_init") is None

    assert shim.hook_states["sys_path_init"].startswith("incompatible: ")
    assert (CHANGES[change][0], f"{tmp_path}/shim_hooks.py") in [event[:2] for event in shim.journal]
