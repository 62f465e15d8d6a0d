"""What `editable_installs()` and `verify_editable_installs()` return in a notebook.

How files are read and results are printed is tested in `unit/test_inventory.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.node import OFF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.node import Node, Notebook

pytestmark = [
    pytest.mark.oldest_and_newest,
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
]

DRIVER_ONLY = "{} is on the driver only, so executors can't import it; move it below /Workspace or /Volumes"
LIST = """
import dataclasses, json, sys
from dbx_patch import editable_installs, verify_editable_installs
print(json.dumps({
    "installs": {install.name: dataclasses.asdict(install) for install in editable_installs()},
    "ok": verify_editable_installs().ok,
    "imported": "testx" in sys.modules,
}))
"""


def list_installs(notebook: Notebook, before: str = "", environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a notebook's interpreter returns, after it has run some code."""
    return dict(json.loads(notebook.run(before + LIST, environ, check=True).stdout))


@pytest.fixture
def notebook(installed: Node) -> Notebook:
    return installed.make_notebook()


def test_install_is_described_without_being_imported(notebook: Notebook) -> None:
    project = notebook.node.project("testx")

    listed = list_installs(notebook)

    assert listed == {
        "installs": {
            "testx": {
                "name": "testx",
                "version": "0.1.0",
                "project": str(project),
                "layer": notebook.layers[2],
                "pth": f"{notebook.layers[2]}/__editable__.testx-0.1.0.pth",
                "style": "path",
                "names": ["testx"],
                "importable": True,
                "shadowed_by": None,
                "hides": [],
                "unreadable": [],
                "warnings": [DRIVER_ONLY.format(project)],
            }
        },
        "ok": True,
        "imported": False,
    }


def test_install_that_is_not_imported_says_what_is_instead(notebook: Notebook, tmp_path: Path) -> None:
    in_a_layer = Path(notebook.layers[1], "testx/__init__.py")
    beside_the_notebook = notebook.node.root / "databricks/driver/testx.py"
    elsewhere = tmp_path / "testx.py"
    import_elsewhere = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import testx; del sys.path[0]\n"

    def ask(copy: Path | None, before: str = "", environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        if copy is not None:
            copy.parent.mkdir(exist_ok=True)
            copy.touch()
        try:
            listed = list_installs(notebook, before, environ)
        finally:
            if copy is not None:
                copy.unlink()
        return {name: listed["installs"]["testx"][name] for name in ("importable", "shadowed_by")} | {
            "ok": listed["ok"]
        }

    no = {"importable": False, "ok": False}
    assert ask(None, environ=OFF) == no | {"shadowed_by": None}
    assert ask(in_a_layer) == no | {"shadowed_by": {"path": str(in_a_layer), "layer": notebook.layers[1]}}
    in_a_layer.parent.rmdir()
    assert ask(beside_the_notebook) == no | {"shadowed_by": {"path": str(beside_the_notebook), "layer": None}}
    assert ask(elsewhere, import_elsewhere) == no | {"shadowed_by": {"path": str(elsewhere), "layer": None}}


def test_install_hides_the_copy_in_a_lower_layer(notebook: Notebook) -> None:
    below = notebook.layers[3]
    copy = Path(below, "testx.py")
    copy.touch()
    try:
        testx = list_installs(notebook)["installs"]["testx"]
    finally:
        copy.unlink()

    assert (testx["importable"], testx["hides"]) == (True, [{"path": str(copy), "layer": below}])
