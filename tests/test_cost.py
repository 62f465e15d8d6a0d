"""What the shim costs an interpreter that has nothing to do: instructions counted, not seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer import render_bundle

from tests.lab.trace import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node

BUDGET = 1.032
"""Times the instructions of a bare start: the design's 3 %, and what the count varies by from machine to machine."""


IN_ONE_FILE = 1.06
"""The same where the shim is one file, which is loaded whole."""


def make_bare(node: Node) -> tuple[Path, int]:
    """Make an environment that has nothing to do, and count the instructions of its start."""
    environment = node.root / "bare"
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    return environment, count_instructions(node, environment / "bin/python")


def test_bare_start(node: Node) -> None:
    node.install_dbx_patch()
    environment, without_us = make_bare(node)

    done = node.dbx_patch("dbx_patch.install", "--python", str(environment / "bin/python"))

    assert done.returncode == 0, done.stderr
    ratio = count_instructions(node, environment / "bin/python") / without_us
    print(f"a bare start costs {ratio:.4f} times the instructions")
    assert 1 < ratio <= BUDGET


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_bare_start_with_all_in_one_file(node: Node) -> None:
    environment, without_us = make_bare(node)
    file = node.layer(environment) / "sitecustomize.py"
    file.write_bytes(render_bundle())
    node.run([node.base, "-m", "compileall", "-q", file])

    ratio = count_instructions(node, environment / "bin/python") / without_us
    print(f"a bare start costs {ratio:.4f} times the instructions, all in one file")
    assert 1 < ratio <= IN_ONE_FILE


def count_instructions(node: Node, python: Path) -> int:
    """Count the instructions of a start with its byte code cached, as valgrind sees them: the same every time."""
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONHASHSEED": "0"}
    command = [python, "-c", "pass"]
    node.run(command, environ)
    counter = [require("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = node.run([*counter, *command], environ)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found
    return int(found[1])


def test_valgrind_counts_the_same_twice(installed: Node) -> None:
    first, second = (count_instructions(installed, installed.python) for _ in range(2))

    assert abs(first - second) / first < 0.002
