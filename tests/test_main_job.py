"""The case to win: installed once, and the next interpreter imports the editable package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.node import OFF
from tests.lab.wheels import LOWEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

IMPORT = "from testx import function1; print(function1())"


def says_function1(notebook: Notebook, project: Path, environ: Mapping[str, str] | None = None) -> bool:
    """Run the import in a fresh interpreter of a notebook: it works from the project's folder, or fails as it does."""
    done = notebook.run(IMPORT, environ)
    if done.returncode:
        assert "ModuleNotFoundError: No module named 'testx'" in done.stderr
        return False
    assert done.stdout == f"function1 of {project}/src/testx/functions.py\n"
    assert done.stderr == ""
    return True


def test_installed_once_the_dead_editable_install_is_alive_until_uninstalled(node: Node, project: Path) -> None:
    node.install_editable(project)
    node.install_dbx_patch()
    notebook = node.make_notebook()
    before = node.snapshot()
    assert not says_function1(notebook, project)

    done = node.dbx_patch("dbx_patch.install")

    assert (done.returncode, done.stderr) == (0, "")
    assert says_function1(notebook, project)
    assert says_function1(node.make_notebook(), project)
    assert node.run([node.python, "-c", IMPORT]).stderr == ""

    done = node.dbx_patch("dbx_patch.uninstall")

    assert (done.returncode, done.stderr) == (0, "")
    assert not says_function1(notebook, project)
    after = node.snapshot()
    assert {name: after.get(name) for name in before} == before
    made_later = "local_disk0/.ephemeral_nfs/envs/pythonEnv-"
    assert [name for name in after if name not in before and not name.startswith(made_later)] == []


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_works_with_the_oldest_dependencies_and_does_not_upgrade_them(node: Node) -> None:
    node.pip("install", "--quiet", *LOWEST)
    node.install_dbx_patch()

    versions = {f"{entry['name']}=={entry['version']}" for entry in json.loads(node.pip("list", "--format=json"))}

    assert versions.issuperset(LOWEST)
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    assert node.dbx_patch("dbx_patch", "status").returncode == 0


def test_an_edit_in_the_project_is_what_runs(node: Node, project: Path) -> None:
    node.install_editable(project)
    node.install_dbx_patch()
    node.dbx_patch("dbx_patch.install")
    notebook = node.make_notebook()

    (project / "src/testx/functions.py").write_text("def function1():\n    return 'edited'\n")

    assert notebook.run(IMPORT, check=True).stdout == "edited\n"


def test_the_environment_turns_it_off(installed: Node) -> None:
    notebook = installed.make_notebook()
    path = "import sys; print(sys.path[1:], sys.meta_path)"

    dead = notebook.run(IMPORT, OFF)

    assert "No module named 'testx'" in dead.stderr
    assert "/testx/src" in notebook.run(path).stdout
    assert "/testx/src" not in notebook.run(path, OFF).stdout
    assert "namespace" not in notebook.run(path, OFF).stdout
    for off in ("", "0"):
        assert says_function1(notebook, installed.project("testx"), {"DBX_PATCH_DISABLE": off})
