"""What the shim costs a start that has nothing to do, in each slot, of every interpreter: instructions counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dbx_patch.installer import write_startup_wheel
from tests.bench.budgets import BUDGETS, is_over
from tests.bench.count import count_instructions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.node import Node


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


@pytest.mark.matrix
@pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
def test_bare_start_with_byte_code_in_a_folder_of_its_own(node: Node) -> None:
    """As Databricks' SSH kernels have it. The installer's byte code is not used then: Python looks in that folder."""
    node.install_dbx_patch()
    elsewhere = {"PYTHONPYCACHEPREFIX": str(node.root / "byte-code")}
    environment = node.root / "bare"
    node.run([node.base, "-m", "venv", "--without-pip", environment])
    command = [environment / "bin/python", "-c", "pass"]
    without_us = count_instructions(node, command, elsewhere)

    done = node.dbx_patch("dbx_patch.install", "--python", str(environment / "bin/python"))

    assert done.returncode == 0, done.stderr
    ratio = count_instructions(node, command, elsewhere) / without_us
    print(f"a bare start costs {ratio:.4f} times the instructions, with PYTHONPYCACHEPREFIX")
    assert ratio > 1
    assert not is_over(BUDGETS["bare"], ratio)


@pytest.mark.matrix
def test_bare_start_by_the_startup_wheel(node: Node) -> None:
    environment, without_us = make_bare(node)
    wheel = write_startup_wheel(node.root).path
    node.pip("install", "--quiet", "--no-deps", wheel, python=environment / "bin/python")

    ratio = count_instructions(node, [environment / "bin/python", "-c", "pass"]) / without_us
    print(f"a bare start by the start-up wheel costs {ratio:.4f} times the instructions")
    assert ratio > 1
    assert not is_over(BUDGETS["bare_wheel"], ratio)


@pytest.mark.matrix
@pytest.mark.one_python
@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
def test_valgrind_counts_the_same_twice(installed: Node) -> None:
    first, second = (count_instructions(installed, [installed.python, "-c", "pass"]) for _ in range(2))

    assert abs(first - second) / first < 0.002
