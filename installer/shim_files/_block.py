"""The lines that make a `sitecustomize` load the shim. Bytes in, bytes out; touches no file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from dbx_patch.sitecustomize_template import LOADER, template

BEGIN, END = "# >>> dbx-patch >>>", "# <<< dbx-patch <<<"
OWN = f"{BEGIN} (the whole file is dbx-patch's)"
RENDERED = f"{BEGIN} (rendered by dbx-patch)"
NEWLINE_ADDED = f"{BEGIN} (behind a newline that was not there)"

LOADER_FILE = Path(template.__file__).with_name(LOADER)
"""The block, as the whole `sitecustomize.py` that slot 1 writes."""

PATH = r"path(?:: str = |=)(.*)\)(?: -> None)?:\r?\n"
"""Where a block names the shim: in this version's, and in those of 0.1.0."""
ANY_BLOCK = re.compile(
    rb"(?:\r?\n" + re.escape(NEWLINE_ADDED.encode()) + rb"|^" + re.escape(BEGIN.encode()) + rb"(?! \(behind)[^\r\n]*)"
    rb"\r?\n.*?^" + re.escape(END.encode()) + rb"(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)


def write_block(begin: str, shim: str) -> bytes:
    """Return the block that loads the shim at a path, with `begin` as its first line."""
    block = LOADER_FILE.read_text("ascii").replace(OWN, begin, 1)
    # `!a`: a path may have any character, and the file that the block is added to any encoding.
    return block.replace('path: str = ""', f"path: str = {shim!a}", 1).encode("ascii")


def add_block(content: bytes | None, shim: str) -> bytes:
    """Append the block that loads the shim at a path, to a file or, if None, to none; once, however often asked."""
    if content is None:
        return write_block(OWN, shim)
    if shim in list_shims(content):
        return content
    if content and not content.endswith(b"\n"):
        return content + b"\n" + write_block(NEWLINE_ADDED, shim)
    return content + write_block(BEGIN, shim)


def remove_block(content: bytes, shim: str) -> bytes | None:
    """Take the block that loads the shim at a path away, or for the empty string is the shim; leave every other byte.

    None if that leaves nothing of a file that was dbx-patch's own.
    """
    rest = ANY_BLOCK.sub(lambda block: b"" if find_shim(block[0]) == shim else block[0], content)
    return rest or (None if is_own(content) else rest)


def remove_every_block(content: bytes) -> bytes:
    """Remove the blocks of every version and shim."""
    return ANY_BLOCK.sub(b"", content)


def write_pth(shim: str) -> bytes:
    """Write a `.pth` file that loads the shim at a path: `site` runs a line that begins with `import`, and no other."""
    lines = write_block(BEGIN, shim).decode("ascii").splitlines()[1:-1]
    comments = [line for line in lines if line.startswith("# ")]
    code = "\n".join(line for line in lines if not line.startswith("# "))
    return "\n".join([OWN, *comments, f"import sys; exec({code!a})", END, ""]).encode("ascii")


def list_shims_of_pth(content: bytes) -> list[str]:
    """List the path that a `.pth` file of ours loads."""
    if not is_own(content):
        return []
    codes = [line.partition(b"exec(")[2][:-1] for line in content.splitlines() if line.startswith(b"import sys; exec(")]
    loaded = (re.search(PATH, ast.literal_eval(code.decode("ascii"))) for code in codes)
    return [ast.literal_eval(path[1]) for path in loaded if path]


def is_own(content: bytes) -> bool:
    """Tell whether a file was made by dbx-patch, and not only extended."""
    return content.startswith((OWN.encode(), RENDERED.encode()))


def list_shims(content: bytes) -> list[str]:
    """List the paths that the blocks in a file load; of one that holds the shim itself, the empty string."""
    return [shim for block in ANY_BLOCK.finditer(content) if (shim := find_shim(block[0])) is not None]


def find_shim(block: bytes) -> str | None:
    """Find the path that a block loads."""
    if block.startswith(RENDERED.encode()):
        return ""
    path = re.search(PATH, block.decode("ascii", "replace"))
    return str(ast.literal_eval(path[1])) if path else None
