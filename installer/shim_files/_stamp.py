"""Makes the content of the shim's file for one interpreter, and reads what an earlier version has made."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._interpreter import Answer
from dbx_patch.sitecustomize_template import PARTS, template

OWNER = (b"# This is the start-up shim of dbx-patch:", b"# This file is a part of dbx-patch's start-up shim:")
"""How every version's files begin, and by which they are known as ours."""
TEMPLATE = Path(template.__file__)
"""The shim as it is installed, but for the stamp."""
STAMP = re.compile(r"^(VERSION|INSTALLED_AS|GENERATED_FOR|DIGEST) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The constants at the top of an installed shim."""

    version: str
    installed_as: str
    """The file that the installer wrote."""
    generated_for: str
    """The interpreter it was written for."""
    edited: bool
    """Whether somebody has changed the file since."""


def render(answer: Answer, shim: Path) -> dict[Path, bytes]:
    """Render the shim's files for one interpreter, the one that loads the others last. The same in, the same out."""
    version = ".".join(map(str, answer.version[:2]))
    values = {
        "VERSION": template.VERSION,
        "INSTALLED_AS": str(shim),
        "GENERATED_FOR": f"CPython {version} in {answer.prefix}",
    }
    parts = zip(list_parts(shim), list_parts(TEMPLATE), strict=True)
    return {part: fill(template.read_text("utf-8"), values) for part, template in (*parts, (shim, TEMPLATE))}


def fill(template: str, values: dict[str, str]) -> bytes:
    """Fill in the stamp of a template, and at last the digest of all that."""
    # `ascii`: a path may hold any character that a file name can.
    filled = STAMP.sub(lambda line: f"{line[1]} = {values.get(line[1], '')!a}", template)
    digest = hashlib.sha256(filled.encode()).hexdigest()
    return STAMP.sub(lambda line: f"{line[1]} = {digest!a}" if line[1] == "DIGEST" else line[0], filled).encode()


def list_parts(shim: Path) -> list[Path]:
    """List the files that belong to a shim or its template, and lie beside it."""
    return [shim.with_name(f"{shim.stem}_{part}.py") for part in PARTS]


def read_stamp(content: bytes | None) -> Stamp | None:
    """Read the stamp of a file's content; None if the file is not there or not ours."""
    if content is None or not content.startswith(OWNER):
        return None
    text = content.decode("utf-8", "replace")
    values = {"VERSION": "", "INSTALLED_AS": "", "GENERATED_FOR": "", "DIGEST": ""}
    for name, value in STAMP.findall(text):
        try:
            values[name] = str(ast.literal_eval(value))
        except (SyntaxError, ValueError):  # edited by hand; the file is still ours
            continue
    blank = STAMP.sub(lambda line: "DIGEST = ''" if line[1] == "DIGEST" else line[0], text)
    edited = values["DIGEST"] != hashlib.sha256(blank.encode()).hexdigest()
    return Stamp(values["VERSION"], values["INSTALLED_AS"], values["GENERATED_FOR"], edited)


def is_ours(content: bytes | None) -> bool:
    """Tell a file of the shim by its first line."""
    return read_stamp(content) is not None
