"""What the shim costs a start that has nothing to do, in each slot, of every interpreter: instructions counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer import render_bundle

from tests.bench.budgets import BUDGETS, is_over
from tests.bench.count import count_instructions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node

IN_ONE_FILE = 1.08
"""Times the instructions of a bare start, where the shim is one file, which is loaded whole."""


def make_bare(node: Node) -> tuple[Path, int]:
    """Make an environment that has nothing to do, and count the instructions of its start."""
    environment = node.root / "bare"
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    return environment, count_instructions(node, [environment / "bin/python", "-c", "pass"])


def test_bare_start(node: Node) -> None:
    node.install_dbx_patch()
    environment, without_us = make_bare(node)

    done = node.dbx_patch("dbx_patch.install", "--python", str(environment / "bin/python"))

    assert done.returncode == 0, done.stderr
    ratio = count_instructions(node, [environment / "bin/python", "-c", "pass"]) / without_us
    print(f"a bare start costs {ratio:.4f} times the instructions")
    assert ratio > 1
    assert not is_over(BUDGETS["bare"], ratio)


@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_bare_start_with_all_in_one_file(node: Node) -> None:
    environment, without_us = make_bare(node)
    file = node.layer(environment) / "sitecustomize.py"
    file.write_bytes(render_bundle())
    node.run([node.base, "-m", "compileall", "-q", file])

    ratio = count_instructions(node, [environment / "bin/python", "-c", "pass"]) / without_us
    print(f"a bare start costs {ratio:.4f} times the instructions, all in one file")
    assert 1 < ratio <= IN_ONE_FILE


def test_valgrind_counts_the_same_twice(installed: Node) -> None:
    first, second = (count_instructions(installed, [installed.python, "-c", "pass"]) for _ in range(2))

    assert abs(first - second) / first < 0.002
