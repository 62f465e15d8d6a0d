"""What is there for an old Python alone says `until 3.N is dropped`: to drop that Python, search for these words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

import pytest

from dbx_patch.installer._interpreter import OLDEST
from tests.lab.interpreters import MINORS
from tests.lab.wheels import REPOSITORY, list_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

UNTIL = re.compile(r"until 3\.(\d+) is dropped")
FILES = [REPOSITORY / name for name in list_sources() if name.endswith((".md", ".py", ".sh", ".toml", ".yml"))]
VERSIONS = ("hexversion", "version_info", "minor")
"""The attributes that have a Python's version: those of `sys`, and that of the lab's interpreters."""


def list_gates(source: str) -> Iterator[tuple[ast.Compare, int]]:
    """List the comparisons of a Python's version, each with the last minor version on the old side."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr in VERSIONS:
            if isinstance(node.ops[0], ast.GtE | ast.Lt):
                yield node, read_minor(node.comparators[0]) - 1
            elif isinstance(node.ops[0], ast.Gt | ast.LtE):
                yield node, read_minor(node.comparators[0])


def read_minor(node: ast.expr) -> int:
    """Return the minor version that a Python's version is compared with."""
    value = ast.literal_eval(node)
    return int(value[1] if isinstance(value, tuple) else value >> 16 & 0xFF if value > 0xFFFF else value)


def list_unmarked(source: str) -> list[str]:
    """List the lines that have to say until when, and don't.

    They compare a Python's version, silence a rule for one, or import what later Pythons have in `typing`.
    """
    lines = ["", *source.splitlines()]
    found = {
        gate.lineno
        for gate, last in list_gates(source)
        if str(last) not in UNTIL.findall("\n".join(lines[gate.lineno - 1 : (gate.end_lineno or 0) + 1]))
    }
    found |= {
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and node.module == "typing_extensions"
        and not UNTIL.search(lines[node.lineno])
    }
    found |= {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
        and re.search(r"noqa.* 3\.\d", token.string)
        and not UNTIL.search(token.string)
    }
    return [lines[number] for number in sorted(found)]


@pytest.mark.parametrize(
    "line",
    [
        "NEW = sys.version_info >= (3, 13)",
        "NEW = sys.version_info >= (3, 13)  # until 3.13 is dropped: off by one",
        "NEW = sys.hexversion >= 0x30F0000  # from 3.15 on",
        "if sys.version_info[:2] < (3, 11) or sys.hexversion > 0x30A0000: pass",
        "old = node.interpreter.minor <= 12",
        "x = zip(a, b)  # noqa: B905 - new in 3.10",
        "from typing_extensions import Self",
    ],
)
def test_gate_without_an_end_is_found(line: str) -> None:
    assert list_unmarked(f"\n{line}\n") == [line]


def test_each_gate_says_until_when() -> None:
    sources = {str(file): file.read_text("utf-8") for file in FILES if file.suffix == ".py"}

    assert sum(len([*list_gates(source)]) for source in sources.values()) > 10
    assert {file: found for file, source in sources.items() if (found := list_unmarked(source))} == {}


def test_nothing_is_there_for_a_python_that_was_dropped() -> None:
    """The person who raises `requires-python` gets a list of what can go."""
    oldest = {file: OLDEST[1] if "sitecustomize_template" in file.parts else MINORS.start for file in FILES}
    oldest[REPOSITORY / "pyproject.toml"] = OLDEST[1]

    found = {(file, minor) for file in FILES for minor in map(int, UNTIL.findall(file.read_text("utf-8")))}

    assert len(found) > 20
    assert sorted(str(file) for file, minor in found if minor < oldest[file]) == []


def test_oldest_python_is_the_same_everywhere() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    oldest = f"3.{MINORS.start}"

    assert f'\nrequires-python = ">={oldest}"\n' in project
    assert f'\npython_version = "{oldest}"\n' in project  # mypy's
    assert re.findall('Python :: (3.*)"', project)[0] == oldest
    assert f'\n"sitecustomize_template/*sitecustomize*.py" = "py{OLDEST[0]}{OLDEST[1]}"' in project  # ruff's
