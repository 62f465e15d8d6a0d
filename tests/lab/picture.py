"""Draws docs/doctor.svg and docs/selftest.svg.

The first is what `dbx_patch.doctor("testx")` shows in a notebook where the shim is not installed, the second what
`dbx_patch.selftest()` finds where it is. `python -m tests.lab.picture` makes the pictures from what a node answers that
it builds. Nothing in them is written by hand but the paths that differ from node to node.
"""

from __future__ import annotations

import json
import re
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dbx_patch._doctor import Check, Diagnosis, Step
from dbx_patch._doctor._html import STOPS_HERE, name_way
from dbx_patch._html import CLASSES, FAILED, PASSED
from dbx_patch._selftest import MARKS, Row, SelfTest
from tests.lab.interpreters import find_running_interpreter
from tests.lab.node import Node
from tests.lab.wheels import REPOSITORY, fill_wheelhouse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.node import Notebook

DOCTOR = REPOSITORY / "docs/doctor.svg"
SELFTEST = REPOSITORY / "docs/selftest.svg"
ASK = """
import json, sys
from types import SimpleNamespace
shell = SimpleNamespace(user_ns={})
sys.modules["IPython"] = SimpleNamespace(get_ipython=lambda: shell)  # so that the fix is a cell
import dbx_patch
print(json.dumps(dbx_patch.doctor("testx").to_json()["diagnoses"][0]))
"""
TRY = """
import dataclasses, json, dbx_patch
print(json.dumps([dataclasses.asdict(row) for row in dbx_patch.selftest({folder!r}).rows]))
"""
WIDTH, MARGIN, LINE = 400, 14, 19
"""As wide as a telephone, where it is not made smaller. A page with more room shows it at SHOWN_WIDTH."""
SHOWN_WIDTH = 480
COLUMNS, TEXT_COLUMNS = 49, 50
"""Characters of the monospace font and of the other one that fit on a line."""
STYLE = """\
    text { font: 14px system-ui, sans-serif; fill: #1f2933 }
    .title { font-size: 16px; font-weight: 600 }
    .code { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
    .faint { fill: #616e7c }
    .good { fill: #1e7b3a }
    .bad { fill: #c62828 }
    .here { font-weight: 600 }
    .page { fill: #ffffff; stroke: #cbd2d9 }
    .box { fill: #f5f7fa; stroke: #cbd2d9 }
    .stops { fill: #d64545 }
    .at { fill: #d64545; fill-opacity: .12 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb }
      .faint { fill: #9aa5b1 }
      .good { fill: #66bb6a }
      .bad { fill: #ff8a80 }
      .page { fill: #1b1f27; stroke: #3e4c59 }
      .box { fill: #2b303b; stroke: #52606d }
    }
"""


class Picture:
    """A picture that grows downwards."""

    def __init__(self, title: str, text: str) -> None:
        """`title` names the picture, and `text` is what a person is told who can't see it."""
        self.title, self.text = title, text
        self.body: list[str] = []
        self.y = MARGIN

    def add(self, marked: str, classes: str = "", x: int = MARGIN) -> None:
        """Add a line of SVG."""
        self.y += LINE
        self.body.append(f'<text x="{x}" y="{self.y}" class="{classes}" xml:space="preserve">{marked}</text>')

    def add_text(self, text: str, classes: str = "", x: int = MARGIN, columns: int = TEXT_COLUMNS) -> None:
        """Add a text that is broken into lines."""
        for line in wrap(text, columns):
            self.add(escape(line), classes, x)

    def add_box(self, kind: str, lines: Sequence[tuple[str, str]], width: int = WIDTH - 2 * MARGIN) -> None:
        """Add lines, each with its classes, on a rectangle."""
        height = LINE * len(lines) + 10
        where = f'x="{MARGIN}" y="{self.y + 8}" height="{height}"'
        self.body.append(f'<rect class="{kind}" {where} width="{width}"/>')
        if kind == "at":
            self.body.append(f'<rect class="stops" {where} width="4"/>')
        self.y += 10
        for marked, classes in lines:
            self.add(marked, classes, MARGIN + 12)
        self.y += 10

    def draw(self) -> str:
        """Return the picture as SVG."""
        height = self.y + MARGIN
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{SHOWN_WIDTH}" viewBox="0 0 {WIDTH} {height}"',
                '  role="img" aria-labelledby="t d">',
                f'  <title id="t">{escape(self.title, quote=False)}</title>',
                f'  <desc id="d">{escape(" ".join(self.text.split()))}</desc>',
                f"  <style>\n{STYLE}  </style>",
                f'  <rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8"/>',
                *(f"  {line}" for line in self.body),
                "</svg>",
                "",
            ]
        )


def mark(character: str, text: str) -> str:
    """Return a mark in its color, and a text."""
    return f'<tspan class="{CLASSES[character]}">{character}</tspan> {escape(text)}'


# The doctor


def ask_doctor(notebook: Notebook) -> Diagnosis:
    """Return what the doctor finds in a notebook, with the paths of an ordinary cluster."""
    found = json.loads(make_ordinary(notebook, notebook.run(ASK, check=True).stdout.splitlines()[-1]))
    del found["healthy"]
    steps = tuple(Step(**step) for step in found.pop("steps"))
    checks = tuple(Check(**check) for check in found.pop("checks"))
    return Diagnosis(**found | {"evidence": tuple(found["evidence"])}, steps=steps, checks=checks)


def draw_diagnosis(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as SVG. Of the places that the import passes through, only the one where it stops is shown."""
    title = 'What dbx_patch.doctor("testx") shows in a notebook where the shim is not installed'
    picture = Picture(title, str(diagnosis))
    picture.add(mark(PASSED if diagnosis.healthy else FAILED, diagnosis.module), "title")
    picture.y += 4
    for several in place_checks(diagnosis.checks):
        picture.add("   ".join(f'<tspan class="{CLASSES[check.mark]}">{check}</tspan>' for check in several))
    picture.y += 6
    picture.add_text(diagnosis.summary, "here")
    for evidence in diagnosis.evidence:
        first, *more = wrap(evidence, COLUMNS - 2)
        picture.add(f"• {escape(first)}", "code")
        for line in more:
            picture.add(f"  {escape(line)}", "code")
    if diagnosis.command:
        picture.y += 6
        picture.add("To fix it:")
        lines = [part for line in diagnosis.command.splitlines() for part in wrap(line, COLUMNS - 2)]
        picture.add_box("box", [(escape(line), "code") for line in lines])
    if step := diagnosis.culprit:
        picture.add_box(
            "at",
            [
                (f'{mark(FAILED, step.kind)} <tspan class="bad here">{STOPS_HERE}</tspan>', ""),
                *((escape(line), "code") for line in wrap(step.place or "(the working folder)", COLUMNS - 2)),
                *((escape(line), "code faint") for line in wrap(step.detail, COLUMNS - 2)),
            ],
        )
    picture.y += 6
    picture.add(f"▸ {name_way(diagnosis)}", "faint")
    return picture.draw()


def place_checks(checks: tuple[Check, ...]) -> list[list[Check]]:
    """Return the checks line by line."""
    lines: list[list[Check]] = [[]]
    for check in checks:
        if sum(len(f"{each}   ") for each in [*lines[-1], check]) > TEXT_COLUMNS:
            lines.append([])
        lines[-1].append(check)
    return lines


# The self-test


def ask_selftest(notebook: Notebook) -> SelfTest:
    """Return what the self-test finds in a notebook's process, with the paths of an ordinary cluster."""
    folder = notebook.node.workspace / "Users/someone@example.com"
    environ = {"TMPDIR": str(notebook.node.root / "tmp")}
    written = notebook.run(TRY.format(folder=str(folder)), environ, check=True).stdout.splitlines()[-1]
    return SelfTest("", (), tuple(Row(**row) for row in json.loads(make_ordinary(notebook, written))))


def draw_selftest(result: SelfTest) -> str:
    """Return a self-test as SVG, without times and layers: what was tried in each kind of process."""
    picture = Picture("What dbx_patch.selftest() finds in a notebook where the shim is installed", result.summary)
    character, _, summary = result.summary.partition(" ")
    for number, line in enumerate(wrap(summary, TEXT_COLUMNS - 8)):
        picture.add(mark(character, line) if not number else f"    {escape(line)}", "title")
    for process in dict.fromkeys(row.process for row in result.rows):
        picture.y += 10
        picture.add(f"In {'a ' * (process[0] == 'f')}{escape(process)}", "here")
        rows = [row for row in result.rows if row.process == process]
        for promise in dict.fromkeys(row.promise for row in rows):
            row, *more = (row for row in rows if row.promise == promise)
            layers = f", in each of {len(more) + 1} layers" if {row.state} == {each.state for each in more} else ""
            picture.add(mark(MARKS[row.state], promise + layers))
            if row.state == "not applicable":
                picture.add_text(row.detail, "faint", MARGIN + 18, TEXT_COLUMNS - 3)
    return picture.draw()


# Both


def make_ordinary(notebook: Notebook, written: str) -> str:
    """Return what a notebook printed with the paths of an ordinary cluster."""
    written = written.replace(str(notebook.node.root), "")
    for path, ordinary in (
        (r"someone@example\.com", "you@example.com"),
        (r"pythonEnv-[0-9a-f-]{36}", "pythonEnv-4f1c2a"),
        (r"python3\.\d+", "python3.12"),
        (r"python3\d+\.zip", "python312.zip"),
        (r"dbx_patch_selftest_[0-9a-f]{12}", "dbx_patch_selftest_4f1c2a"),
    ):
        written = re.sub(path, ordinary, written)
    return written


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into lines that fit, at blanks and after slashes."""
    lines = [""]
    for piece in re.findall(r"/?[^/\s]+/?|/|\s+", text):
        if len(lines[-1] + piece) > columns:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def main() -> None:
    """Build a node, ask there, and write the pictures."""
    with tempfile.TemporaryDirectory(prefix="dbx-patch-picture-") as folder:
        root = Path(folder).resolve()
        (root / "wheelhouse").mkdir()
        wheelhouse = fill_wheelhouse(root / "wheelhouse")
        node = Node(root / "node", find_running_interpreter(), wheelhouse, sitecustomize=True).build()
        node.install_editable(node.copy_project("testx"))
        node.install_dbx_patch()
        DOCTOR.write_text(draw_diagnosis(ask_doctor(node.make_notebook())), "utf-8")
        node.install_shim()
        SELFTEST.write_text(draw_selftest(ask_selftest(node.make_notebook())), "utf-8")
    for picture in (DOCTOR, SELFTEST):
        print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
