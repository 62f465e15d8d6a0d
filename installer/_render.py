"""Makes the content of the shim's file for one interpreter, and reads what an earlier version has made."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from dbx_patch.installer._interpreter import TEMPLATE, Answer
from dbx_patch.sitecustomize_template import sitecustomize

OWNER = b"# This is the start-up shim of dbx-patch:"
"""How every version's file begins, and by which it is known as ours."""
STAMP = re.compile(r"^(VERSION|INSTALLED_AS|GENERATED_FOR) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The constants at the top of an installed shim."""

    version: str
    installed_as: str
    """The file that the installer wrote."""
    generated_for: str
    """The interpreter it was written for."""


def render(answer: Answer, file: str) -> bytes:
    """Render the shim for one interpreter, to be written as `file`. The same in, the same out."""
    version = ".".join(map(str, answer.version[:2]))
    stamp = Stamp(sitecustomize.VERSION, file, f"CPython {version} in {answer.prefix}")
    values = {"VERSION": stamp.version, "INSTALLED_AS": stamp.installed_as, "GENERATED_FOR": stamp.generated_for}
    # `ascii`: a path may hold any character that a file name can.
    text = STAMP.sub(lambda line: f"{line[1]} = {values[line[1]]!a}", TEMPLATE.read_text("utf-8"))
    return text.encode()


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
