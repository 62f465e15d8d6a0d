"""Draws docs/doctor.svg: what `dbx_patch.doctor("testx")` shows in a notebook where the shim is not installed.

`python -m tests.lab.picture` makes the picture from the report of a node that it builds. Nothing in it is written by
hand but the paths that differ from node to node.
"""

from __future__ import annotations

import json
import re
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dbx_patch._doctor import Diagnosis, Step
from dbx_patch._doctor._html import BAD, GOOD, STOPS_HERE
from tests.lab.interpreters import find_running_interpreter
from tests.lab.node import Node
from tests.lab.wheels import REPOSITORY, fill_wheelhouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.node import Notebook

PICTURE = REPOSITORY / "docs/doctor.svg"
ASK = """
import json, sys
from types import SimpleNamespace
shell = SimpleNamespace(user_ns={})
sys.modules["IPython"] = SimpleNamespace(get_ipython=lambda: shell)  # so that the fix is a cell
import dbx_patch
print(json.dumps(dbx_patch.doctor("testx").to_json()["diagnoses"][0]))
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
    .more { fill: #616e7c }
    .good { fill: #1e7b3a }
    .bad { fill: #c62828 }
    .here { font-weight: 600 }
    .page { fill: #ffffff; stroke: #cbd2d9 }
    .box { fill: #f5f7fa; stroke: #cbd2d9 }
    .stops { fill: #d64545 }
    .at { fill: #d64545; fill-opacity: .12 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb }
      .more { fill: #9aa5b1 }
      .good { fill: #66bb6a }
      .bad { fill: #ff8a80 }
      .page { fill: #1b1f27; stroke: #3e4c59 }
      .box { fill: #2b303b; stroke: #52606d }
    }
"""


def ask_doctor(notebook: Notebook) -> Diagnosis:
    """Return what the doctor finds in a notebook, with the paths of an ordinary cluster."""
    written = notebook.run(ASK, check=True).stdout.splitlines()[-1].replace(str(notebook.node.root), "")
    for path, ordinary in (
        (r"someone@example\.com", "you@example.com"),
        (r"pythonEnv-[0-9a-f-]{36}", "pythonEnv-4f1c2a"),
        (r"python3\.\d+", "python3.12"),
        (r"python3\d+\.zip", "python312.zip"),
    ):
        written = re.sub(path, ordinary, written)
    found = json.loads(written)
    steps = tuple(Step(**step) for step in found["steps"])
    evidence = tuple(found["evidence"])
    return Diagnosis(found["module"], found["cause"], found["summary"], evidence, found["command"], steps)


def draw(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as SVG. Of the places that the import passes through, only the one where it stops is shown."""
    y = MARGIN + 16
    mark, colour = (GOOD, "good") if diagnosis.healthy else (BAD, "bad")
    body = [
        f'<text x="{MARGIN}" y="{y}" class="title"><tspan class="{colour}">{mark}</tspan> {diagnosis.module}</text>'
    ]
    for line in wrap(diagnosis.summary, TEXT_COLUMNS):
        y += LINE + 2
        body.append(write(MARGIN, y, line, "here"))
    for evidence in diagnosis.evidence:
        for number, line in enumerate(wrap(evidence, COLUMNS - 2)):
            y += LINE + 4 * (not number)
            bullet = "• " if not number else "  "
            body.append(write(MARGIN, y, bullet + line))
    if diagnosis.command:
        lines = [part for line in diagnosis.command.splitlines() for part in wrap(line, COLUMNS - 2)]
        y += LINE + 12
        body.append(write(MARGIN, y, "To fix it:", ""))
        y += 8
        height = LINE * len(lines) + 12
        body.append(f'<rect class="box" x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6"/>')
        body += [write(MARGIN + 8, y + 20 + LINE * number, line) for number, line in enumerate(lines)]
        y += height
    if diagnosis.culprit:
        drawn, height = draw_culprit(diagnosis.culprit, y + 14)
        body += drawn
        y += 14 + height
    y += LINE + 6
    body.append(write(MARGIN, y, f"▸ All {len(diagnosis.steps)} places that the import passes through", "more"))
    return "\n".join([*head(diagnosis, y + MARGIN), *(f"  {line}" for line in body), "</svg>", ""])


def head(diagnosis: Diagnosis, height: int) -> Iterator[str]:
    """Return the start of the picture, with its title and its page."""
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{SHOWN_WIDTH}" viewBox="0 0 {WIDTH} {height}" role="img"'
    yield '  aria-labelledby="t d">'
    yield '  <title id="t">What dbx_patch.doctor("testx") shows in a notebook where the shim is not installed</title>'
    yield f'  <desc id="d">{escape(" ".join(str(diagnosis).split()))}</desc>'
    yield f"  <style>\n{STYLE}  </style>"
    yield f'  <rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8"/>'


def draw_culprit(step: Step, y: int) -> tuple[list[str], int]:
    """Return the step that stops the import, and its height."""
    lines = wrap(step.place or "(the working folder)", COLUMNS - 2)
    detail = wrap(step.detail, COLUMNS - 2) if step.detail else []
    height = LINE * (1 + len(lines) + len(detail)) + 10
    body = [
        f'<rect class="at" x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}"/>',
        f'<rect class="stops" x="{MARGIN}" y="{y}" width="4" height="{height}"/>',
        f'<text x="{MARGIN + 12}" y="{y + 18}">{step.kind} <tspan class="bad here">{STOPS_HERE}</tspan></text>',
    ]
    for number, line in enumerate([*lines, *detail], start=1):
        body.append(write(MARGIN + 12, y + 18 + LINE * number, line, "code" if number <= len(lines) else "code more"))
    return body, height


def write(x: int, y: int, line: str, classes: str = "code") -> str:
    """Return a line of text."""
    return f'<text x="{x}" y="{y}" class="{classes}" xml:space="preserve">{escape(line)}</text>'


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into lines that fit, at blanks and after slashes."""
    lines = [""]
    for piece in re.findall(r"/?[^/\s]+/?|/|\s+", text):
        if len(lines[-1] + piece) > columns:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def main() -> None:
    """Build a node, ask the doctor there, and write the picture."""
    with tempfile.TemporaryDirectory(prefix="dbx-patch-picture-") as folder:
        root = Path(folder).resolve()
        (root / "wheelhouse").mkdir()
        wheelhouse = fill_wheelhouse(root / "wheelhouse")
        node = Node(root / "node", find_running_interpreter(), wheelhouse, sitecustomize=True).build()
        node.install_editable(node.copy_project("testx"))
        node.install_dbx_patch()
        PICTURE.write_text(draw(ask_doctor(node.make_notebook())), "utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
