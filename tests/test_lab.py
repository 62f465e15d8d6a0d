"""The lab is what it claims to be: else no other test proves anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.lab.interpreters import find_next_interpreters
from tests.lab.next_pythons import MINORS
from tests.lab.node import Node
from tests.lab.wheels import REPOSITORY

VARIED = re.compile(r"3\.\d+(-debian)?(-\d+\.\d)?|(foreign|no)-sitecustomize")
"""What a test's name has of the Python, the release of Databricks, and the kind of node."""


def test_notebook_path_is_the_one_of_real_clusters(node: Node) -> None:
    notebook = node.make_notebook()

    done = notebook.run("import json, site, sys; print(json.dumps([sys.path[1:], site.ENABLE_USER_SITE]))", check=True)

    path, user_site = json.loads(done.stdout)
    library = node.root / "usr/lib"
    version = f"3{node.interpreter.minor}"
    standard = [f"{library}/python{version}.zip", f"{library}/{node.version}", f"{library}/{node.version}/lib-dynload"]
    assert path == [*notebook.python_path, *standard, *notebook.layers]
    assert user_site is False


def test_runtime_loads_the_sitecustomize_of_the_standard_library(node: Node) -> None:
    code = "import sys; print(getattr(sys.modules.get('sitecustomize'), 'a_distribution_was_here', None))"

    assert node.run([node.python, "-c", code]).stdout.strip() == ("True" if node.has_sitecustomize else "None")


@pytest.mark.matrix
@pytest.mark.parametrize("minor", MINORS)
def test_next_pythons_are_there(minor: int) -> None:
    if minor not in {found.minor for found in find_next_interpreters()}:
        # In CI as well: whether Debian's unstable release has both today says nothing about dbx-patch.
        pytest.skip(f"`python -m tests.lab.next_pythons` has not fetched Python 3.{minor}: the core was not run on it")


def collect(*options: str) -> set[str]:
    """Return the tests that a run has, without what they are run on."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=300, check=True)
    return {VARIED.sub("", line) for line in done.stdout.splitlines() if "::" in line}


@pytest.mark.matrix
def test_a_plain_run_and_the_gate_have_every_test_of_the_matrix() -> None:
    plain, gate, matrix = collect(), collect("--gate"), collect("--matrix")

    assert matrix == plain | gate
