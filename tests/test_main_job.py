"""The main job: after one install, the next interpreter imports the editable package."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.node import OFF
from tests.lab.wheels import LOWEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = pytest.mark.core

IMPORT = "from testx import function1; print(function1())"


def import_testx(notebook: Notebook, environ: Mapping[str, str] | None = None) -> str:
    """Return what the import prints in a fresh interpreter of a notebook, or the last line of its error."""
    done = notebook.run(IMPORT, environ)
    if done.returncode:
        return done.stderr.splitlines()[-1]
    assert done.stderr == ""
    return done.stdout.strip()


MISSING = "ModuleNotFoundError: No module named 'testx'"


def test_editable_install_works_from_the_install_of_the_shim_until_its_uninstall(node: Node, project: Path) -> None:
    node.install_editable(project)
    node.install_dbx_patch()
    notebook = node.make_notebook()
    before = node.snapshot()
    assert import_testx(notebook) == MISSING

    done = node.dbx_patch("dbx_patch.install")

    assert (done.returncode, done.stderr) == (0, "")
    functions = project / "src/testx/functions.py"
    assert import_testx(notebook) == f"function1 of {functions}"
    assert import_testx(node.make_notebook()) == f"function1 of {functions}"
    assert node.run([node.python, "-c", IMPORT]).stderr == ""

    original, times = functions.read_text(), functions.stat()
    functions.write_text("def function1():\n    return 'edited'\n")
    assert import_testx(notebook) == "edited"  # no reinstall: the next interpreter runs the edit
    functions.write_text(original)
    os.utime(functions, ns=(times.st_atime_ns, times.st_mtime_ns))

    done = node.dbx_patch("dbx_patch.uninstall")

    assert (done.returncode, done.stderr) == (0, "")
    assert import_testx(notebook) == MISSING
    after = node.snapshot()
    assert {name: after.get(name) for name in before} == before
    made_later = "local_disk0/.ephemeral_nfs/envs/pythonEnv-"
    assert [name for name in after if name not in before and not name.startswith(made_later)] == []


@pytest.mark.matrix
@pytest.mark.oldest_and_newest
@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_works_with_the_oldest_dependencies_and_does_not_upgrade_them(node: Node) -> None:
    node.pip("install", "--quiet", *LOWEST)
    node.install_dbx_patch()

    versions = {f"{entry['name']}=={entry['version']}" for entry in json.loads(node.pip("list", "--format=json"))}

    assert versions.issuperset(LOWEST)
    node.install_shim()
    assert node.dbx_patch("dbx_patch", "status").returncode == 0


def test_environment_variable_turns_it_off(notebook: Notebook) -> None:
    node = notebook.node
    code = """
import json, sys
print(json.dumps({
    "root": any(entry.endswith("/testx/src") for entry in sys.path),
    "finder": any("find_watched" in repr(finder) for finder in sys.meta_path),
}))
"""
    assert notebook.ask(code) == {"root": True, "finder": True}
    assert notebook.ask(code, OFF) == {"root": False, "finder": False}
    assert import_testx(notebook, OFF) == MISSING
    for on in ("", "0"):
        imported = import_testx(notebook, {"DBX_PATCH_DISABLE": on})
        assert imported == f"function1 of {node.project('testx')}/src/testx/functions.py"
