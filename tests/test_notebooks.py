"""The documentation's notebooks, run cell by cell in a real kernel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.kernel import Kernel, Output
from tests.lab.wheels import REPOSITORY
from tests.test_kernel import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter
    from tests.lab.node import Node

pytestmark = [pytest.mark.pythons("3.12"), pytest.mark.releases("16.4"), pytest.mark.real("notebook kernels")]

PROJECT = "/Workspace/Users/you@example.com/testx"
NAMES = sorted(file.stem for file in REPOSITORY.glob("docs/notebooks/*.ipynb"))


@pytest.fixture(scope="module")
def node(
    interpreter: Interpreter, wheelhouse: Path, real_hook: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node where the shim is installed."""
    node = build(tmp_path_factory.mktemp("notebooks"), interpreter, wheelhouse, real_hook)
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    yield node
    shutil.rmtree(node.root)


def read_cells(name: str) -> list[str]:
    """List the code cells of a notebook."""
    notebook = json.loads((REPOSITORY / f"docs/notebooks/{name}.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(node: Node, name: str) -> list[Output]:
    """Run a notebook; no cell of it may fail."""
    project = node.project("testx")
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(node.wheelhouse),
        "PIP_NO_BUILD_ISOLATION": "0",  # which has pip use what is there
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    with Kernel(node.make_notebook(), offline) as kernel:
        outputs = [kernel.run(cell.replace(PROJECT, str(project))) for cell in read_cells(name)]
    assert [output.error for output in outputs] == [""] * len(outputs)
    return outputs


@pytest.fixture
def project(node: Node) -> Iterator[Path]:
    folder = node.copy_project("testx")
    yield folder
    shutil.rmtree(folder)


def test_quick_start(node: Node, project: Path) -> None:
    live, _, first, restarted, second = run(node, "quick_start")

    assert "is live, from " in live.text
    assert first.text == f"function1 of {project}/src/testx/functions.py\n"
    assert restarted.died
    assert second.text == first.text


@pytest.mark.usefixtures("project")
def test_diagnosis_of_what_is_not_installed(node: Node) -> None:
    found, installs, hooks, file = run(node, "diagnose_editable_imports")

    assert "nothing on sys.path" in found.html[0]
    assert installs.html == ["<pre>There are no editable installs in the layers on sys.path.</pre>"]
    assert " is live, from " in hooks.html[0]
    assert " is live in " in file.html[0]


def test_diagnosis_of_what_is(node: Node, project: Path) -> None:
    node.install_editable(project)
    try:
        found, installs, _, _ = run(node, "diagnose_editable_imports")
    finally:
        node.pip("uninstall", "--quiet", "--yes", "testx")

    assert f"importable, from {project}/src/testx/__init__.py" in found.html[0]
    assert installs.html[0].startswith("<pre>testx 0.1.0 (path): importable")


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_in_databricks_form_and_holds_no_output(name: str) -> None:
    notebook = json.loads((REPOSITORY / f"docs/notebooks/{name}.ipynb").read_text())

    assert (notebook["nbformat"], notebook["metadata"]["language_info"]) == (4, {"name": "python"})
    assert notebook["metadata"]["application/vnd.databricks.v1+notebook"]["notebookName"] == name
    assert notebook["cells"][0]["source"][0].startswith("# ")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
