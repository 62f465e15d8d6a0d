"""Makes the content of the shim's file for one interpreter, and reads what an earlier version has made."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._interpreter import TEMPLATE, Answer
from dbx_patch.sitecustomize_template import sitecustomize

OWNER = (b"# This is the start-up shim of dbx-patch:", b"# This file is a part of dbx-patch's start-up shim:")
"""How every version's files begin, and by which they are known as ours."""
PARTS = ("editables", "hooks")
"""What the shim's other files are called, behind its own name."""
STAMP = re.compile(r"^(VERSION|INSTALLED_AS|GENERATED_FOR) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The constants at the top of an installed shim."""

    version: str
    installed_as: str
    """The file that the installer wrote."""
    generated_for: str
    """The interpreter it was written for."""


def render(answer: Answer, shim: Path) -> dict[Path, bytes]:
    """Render the shim's files for one interpreter, the one that loads the others last. The same in, the same out."""
    version = ".".join(map(str, answer.version[:2]))
    values = {
        "VERSION": sitecustomize.VERSION,
        "INSTALLED_AS": str(shim),
        "GENERATED_FOR": f"CPython {version} in {answer.prefix}",
    }

    def fill(template: Path) -> bytes:
        # `ascii`: a path may hold any character that a file name can.
        return STAMP.sub(lambda line: f"{line[1]} = {values[line[1]]!a}", template.read_text("utf-8")).encode()

    parts = zip(list_parts(shim), list_parts(TEMPLATE), strict=True)
    return {part: fill(template) for part, template in (*parts, (shim, TEMPLATE))}


def list_parts(shim: Path) -> list[Path]:
    """List the files that belong to a shim or its template, and lie beside it."""
    return [shim.with_name(f"{shim.stem}_{part}.py") for part in PARTS]


def read_stamp(content: bytes | None) -> Stamp | None:
    """Read the stamp of a file's content; None if the file is not there or not ours."""
    if content is None or not content.startswith(OWNER):
        return None
    values = {"VERSION": "", "INSTALLED_AS": "", "GENERATED_FOR": ""}
    for name, value in STAMP.findall(content.decode("utf-8", "replace")):
        try:
            values[name] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):  # edited by hand; the file is still ours
            continue
    return Stamp(values["VERSION"], values["INSTALLED_AS"], values["GENERATED_FOR"])
