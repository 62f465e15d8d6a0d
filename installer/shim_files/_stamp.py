"""The stamp of the shim's files: fill it in, and read one that any version wrote.

A written file is the template with these constants filled in, without annotations, and with comments instead of
docstrings. Nothing else differs.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.sitecustomize_template import PARTS, template

OWNER = (b"# This is the start-up shim of dbx-patch:", b"# This file is a part of dbx-patch's start-up shim:")
"""The first line of the shim's files in every version. It marks them as ours."""
TEMPLATE = Path(template.__file__)
BUILD_LENGTH = 8
"""Digits of a digest: enough to tell the few builds apart that one environment has in its life."""
STAMP = re.compile(r"^(VERSION|BUILD|DIGEST) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The constants at the top of a written file."""

    version: str
    edited: bool
    """Whether the file was changed since."""


def render(shim: Path) -> dict[Path, bytes]:
    """Return the shim's files, by path; the one that loads the others is last.

    The parts' names have a digest of their content. So the files of two builds are side by side during an upgrade, and
    a Python that starts meanwhile finds the parts of the shim that it has read, and no others.

    The bytes are always the same: a second install finds nothing to change.
    """
    parts = [fill_in(source, {}) for source in list_parts(TEMPLATE)]
    build = "_" + hashlib.sha256(b"".join(parts)).hexdigest()[:BUILD_LENGTH]
    first = fill_in(TEMPLATE, {"VERSION": template.VERSION, "BUILD": build})
    return dict(zip([*list_parts(shim, build), shim], [*parts, first], strict=True))


def fill_in(file: Path, values: dict[str, str]) -> bytes:
    """Return a file of the template as it is written."""
    return fill(strip(file.read_text("utf-8")), values)


def strip(source: str) -> str:
    """Return source without what is for types, with comments instead of docstrings, else the same, line by line.

    Annotations are removed until 3.13 is dropped: defining them costs 0.15 % of a bare start on Python 3.11 and 3.12,
    measured in instructions. Python 3.14 defines them when they are asked for (:pep:`649`). Docstrings cost 0.06 % of a
    notebook's, and what is imported for types as much again, though it is never run.
    """
    lines = source.encode().splitlines(keepends=True)  # the parser counts bytes
    cuts: list[tuple[int, int, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            cuts.append((node.lineno, node.col_offset + len(node.arg), node.annotation.end_col_offset or 0))
        elif isinstance(node, ast.AnnAssign):
            cuts.append((node.lineno, node.target.end_col_offset or 0, node.annotation.end_col_offset or 0))
        elif isinstance(node, ast.FunctionDef) and node.returns:
            returns = node.returns
            cuts.append((returns.lineno, returns.col_offset - len(" -> "), returns.end_col_offset or 0))
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for number in range(node.lineno - 1, node.end_lineno or 0):
                lines[number] = b"\n"
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and len(node.body) > 1
            and ast.get_docstring(node) is not None
        ):
            for number in range(node.body[0].lineno - 1, node.body[0].end_lineno or 0):
                text = lines[number].strip().strip(b'"').rstrip()
                lines[number] = b" " * node.body[0].col_offset + b"# " + text + b"\n" if text else b"\n"
    for number, start, end in sorted(cuts, reverse=True):  # from the end of a line, so that other cuts stay right
        line = lines[number - 1]
        lines[number - 1] = line[:start] + line[end:]
    return b"".join(lines).decode()


def fill(source: str, values: dict[str, str]) -> bytes:
    """Return source with these constants of its stamp filled in.

    The digest is that of the file with an empty digest.
    """
    values = values | {"DIGEST": ""}
    filled = STAMP.sub(lambda line: f"{line[1]} = {values[line[1]]!r}" if line[1] in values else line[0], source)
    digest = hashlib.sha256(filled.encode()).hexdigest()
    return STAMP.sub(lambda line: f"{line[1]} = {digest!r}" if line[1] == "DIGEST" else line[0], filled).encode()


def list_parts(shim: Path, build: str = "") -> list[Path]:
    """List the files beside a shim, or beside its template, that it loads when they are needed."""
    return [shim.with_name(f"{shim.stem}_{part}{build}.py") for part in PARTS]


def find_parts(shim: Path) -> list[Path]:
    """List the parts beside a shim, of every build."""
    return sorted(shim.parent.glob(f"{shim.stem}_*.py"))


def read_stamp(content: bytes | None) -> Stamp | None:
    """Return the stamp of a file's content; None if there is no file, or it is not ours."""
    if content is None or not content.startswith(OWNER):
        return None
    text = content.decode("utf-8", "replace")
    values = {"VERSION": "", "BUILD": "", "DIGEST": ""}
    for name, value in STAMP.findall(text):
        try:
            values[name] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):  # edited by hand, and still ours
            continue
    blank = STAMP.sub(lambda line: "DIGEST = ''" if line[1] == "DIGEST" else line[0], text)
    edited = values["DIGEST"] != hashlib.sha256(blank.encode()).hexdigest()
    return Stamp(values["VERSION"], edited)


def is_shim_file(content: bytes | None) -> bool:
    """Return whether a file is one of the shim's, by its first line."""
    return read_stamp(content) is not None
