"""The shim as one file, for images that are built elsewhere: printed, copied, and run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node

IMPORT = "import testx; print(testx.function1())"
HOOKED = "import sys; s = sys.modules['dbx_patch_sitecustomize']; print(s.load('hooks').patch.__name__, s.journal)"


@pytest.fixture(scope="module")
def rendered() -> bytes:
    """What `dbx-patch render` prints."""
    command = [sys.executable, "-m", "dbx_patch", "render"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def host(node: Node) -> Path:
    """The file that a Dockerfile would copy it to, or append it to."""
    if node.has_sitecustomize:
        return node.root / "etc" / node.version / "sitecustomize.py"
    return node.layer(node.runtime) / "sitecustomize.py"


def test_makes_editable_installs_work_without_the_package(node: Node, rendered: bytes) -> None:
    node.install_editable(node.copy_project("testx"))
    notebook = node.make_notebook()
    assert "ModuleNotFoundError" in notebook.run(IMPORT).stderr

    with host(node).open("ab") as file:
        file.write(rendered)

    done = notebook.run(IMPORT)
    assert (done.stdout.split()[0], done.stderr) == ("function1", "")
    assert notebook.run(HOOKED, check=True).stdout.startswith("patch [")
    if node.has_sitecustomize:
        assert notebook.run("import sitecustomize as s; print(s.a_distribution_was_here)").stdout == "True\n"
    assert notebook.run(HOOKED, {"DBX_PATCH_DISABLE": "1"}).stdout == "patch []\n"


@pytest.mark.pythons("3.10", "3.13")
def test_installer_knows_it_and_takes_it_away(node: Node, rendered: bytes) -> None:
    node.install_dbx_patch()
    before = node.snapshot()
    file = host(node)
    kept = file.read_bytes() if file.exists() else None
    file.write_bytes((kept or b"") + rendered)

    status = json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)
    assert (status["live"], status["slot"]) == (True, 2 if kept else 1)
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    assert node.dbx_patch("dbx_patch.uninstall").returncode == 0

    assert not json.loads(node.dbx_patch("dbx_patch", "status", "--json").stdout)["live"]
    assert (file.read_bytes() if file.exists() else None) == kept
    # The byte code of somebody else's file was outdated by what was appended to it.
    assert {name for name in before if f"{node.version}/__pycache__/sitecustomize." not in name} == set(node.snapshot())


def test_any_python_and_any_file_can_hold_it(rendered: bytes) -> None:
    tree = ast.parse(rendered, feature_version=(3, 9))
    assert len(tree.body) == 1  # one statement that catches everything
    assert rendered.isascii()  # whatever the encoding of a file that it is appended to


def test_is_the_same_wherever_it_is_printed(node: Node, rendered: bytes) -> None:
    node.install_dbx_patch()
    printed = node.dbx_patch("dbx_patch", "render").stdout.encode()
    assert printed == rendered
