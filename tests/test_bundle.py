"""The whole shim as one file, for images that are built elsewhere: printed, appended, and run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from dbx_patch.installer import render_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node, Notebook

IMPORT = """
import json, sys
import testx
print(json.dumps({
    "function1": testx.function1().split()[0],
    "foreign_sitecustomize_ran": hasattr(sys.modules["sitecustomize"], "a_distribution_was_here"),
}))
"""
DESCRIBE_SHIM = """
import json, sys
shim = sys.modules["dbx_patch_sitecustomize"]
print(json.dumps({
    "hooks_part_loads": callable(shim.load("hooks").patch),
    "failed": [list(event) for event in shim.journal if event[0] in ("step failed", "part unusable", "import failed")],
    "started": shim.started,
}))
"""


def find_sitecustomize(node: Node) -> Path:
    """Return the file that a Dockerfile copies the bundle to or, if there is one, appends it to."""
    if node.has_sitecustomize:
        return node.root / "etc" / node.version / "sitecustomize.py"
    return node.layer(node.runtime) / "sitecustomize.py"


def ask(notebook: Notebook, code: str, **environ: str) -> dict[str, Any]:
    """Run code that prints JSON in a notebook, and nothing on stderr; return what it printed."""
    done = notebook.run(code, environ, check=True)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.matrix
def test_makes_editable_installs_work_without_the_package(node: Node) -> None:
    node.install_editable(node.copy_project("testx"))
    notebook = node.make_notebook()
    assert "ModuleNotFoundError" in notebook.run(IMPORT).stderr

    with find_sitecustomize(node).open("ab") as file:
        file.write(render_bundle())

    assert ask(notebook, IMPORT) == {"function1": "function1", "foreign_sitecustomize_ran": node.has_sitecustomize}
    assert ask(notebook, DESCRIBE_SHIM) == {"hooks_part_loads": True, "failed": [], "started": True}
    off = ask(notebook, DESCRIBE_SHIM, DBX_PATCH_DISABLE="1")
    assert off == {"hooks_part_loads": True, "failed": [], "started": False}


@pytest.mark.matrix
@pytest.mark.pythons("3.10", "3.13")
def test_installer_knows_it_and_uninstalls_it(node: Node) -> None:
    node.install_dbx_patch()
    before = node.snapshot()
    file = find_sitecustomize(node)
    kept = file.read_bytes() if file.exists() else None
    file.write_bytes((kept or b"") + render_bundle())

    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (status["live"], status["slot"]) == (True, 2 if kept else 1)
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0

    assert not json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)["live"]
    assert (file.read_bytes() if file.exists() else None) == kept
    # The foreign file was changed by hand, which outdated its byte code.
    assert {name for name in before if f"{node.version}/__pycache__/sitecustomize." not in name} == set(node.snapshot())


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_every_python_prints_the_same(installed: Node) -> None:
    printed = installed.dbx_patch("dbx_patch", "render").stdout.encode()

    assert printed == render_bundle()
