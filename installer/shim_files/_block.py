"""The block that makes a `sitecustomize` load the shim: write it, find it, remove it.

The block is `sitecustomize_template/sitecustomize.py` with the path of the shim filled in. In slot 1 it is the whole
file; in slot 2 it is appended to a foreign file; in slot 3 it is one line of a `.pth` file.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from dbx_patch.sitecustomize_template import LOADER, SHIM, STARTUP, template

BEGIN, END = "# >>> dbx-patch >>>", "# <<< dbx-patch <<<"
OWN = f"{BEGIN} (the whole file is dbx-patch's)"
"""The first line of a file that the installer created. The rest of these lines can follow `BEGIN` in any version."""
NEWLINE_ADDED = f"{BEGIN} (behind a newline that was not there)"
"""The first line of a block before which a newline was added, to be removed with it. Every version reads this text."""
TEMPLATE = Path(template.__file__).with_name(LOADER)
NO_PATH = 'path: str = ""'
"""What the template has where a written block has the path of its shim."""

SHIM_PATH = re.compile(r"path(?:: str = |=)(.*)\)(?: -> None)?:\r?\n")
"""Where a block names its shim: `path: str = '…') -> None:`, and in blocks of earlier builds `path='…'):`."""
ANY_BLOCK = re.compile(
    rb"(?:\r?\n" + re.escape(NEWLINE_ADDED.encode()) + rb"|^" + re.escape(BEGIN.encode()) + rb"(?! \(behind)[^\r\n]*)"
    rb"\r?\n.*?^" + re.escape(END.encode()) + rb"(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""A block of any version, with the newline that was added before it. Editors can have changed its line endings."""
PLAIN_BEGIN = re.compile(re.escape(BEGIN.encode()) + rb"\r?\n")
"""The first line of a block that was appended to a file that ended with a newline."""


def write_block(begin: str, shim: str) -> bytes:
    """Return the block that loads the shim at a path, with `begin` as its first line."""
    block = TEMPLATE.read_text("ascii").replace(OWN, begin, 1)
    # `!a`: a path can have any character, and the file that the block is appended to can have any encoding.
    return block.replace(NO_PATH, f"path: str = {shim!a}", 1).encode("ascii")


def add_block(content: bytes | None, shim: str) -> bytes:
    """Return a file's content with the block that loads `shim` appended, unless it has one; None stands for no file."""
    if content is None:
        return write_block(OWN, shim)
    if shim in list_shims(content):
        return content
    if content and not content.endswith(b"\n"):
        return content + b"\n" + write_block(NEWLINE_ADDED, shim)
    return content + write_block(BEGIN, shim)


def remove_block(content: bytes, shim: str) -> bytes | None:
    """Return a file's content without the block that loads `shim`. Every other byte stays.

    Return None if nothing is left of a file that the installer created.
    """
    rest = cut(content, [block for block in ANY_BLOCK.finditer(content) if find_shim(block[0]) == shim])
    return rest or (None if is_own(content) else rest)


def remove_every_block(content: bytes) -> bytes:
    """Return a file's content without the blocks of every version and shim."""
    return cut(content, [*ANY_BLOCK.finditer(content)])


def cut(content: bytes, blocks: list[re.Match[bytes]]) -> bytes:
    """Return a file's content without these blocks, and without the newline added before one if nothing follows it."""
    for block in reversed(blocks):  # the positions of those before it stay right
        before, after = content[: block.start()], content[block.end() :]
        newline = block[0][: block[0].index(b"#")]
        if PLAIN_BEGIN.match(after):
            # Another environment's block, which now comes after the newline and has to take that along in the end.
            after = after.replace(BEGIN.encode(), NEWLINE_ADDED.encode(), 1) if newline else after
        elif not after:
            newline = b""
        content = before + newline + after
    return content


def list_shims(content: bytes) -> list[str]:
    """List the shims that the blocks of a file load."""
    return [shim for block in ANY_BLOCK.finditer(content) if (shim := find_shim(block[0])) is not None]


def find_shim(block: bytes) -> str | None:
    """Return the path of the shim that a block loads; None if it names none, as after an edit by hand."""
    path = SHIM_PATH.search(block.decode("ascii", "replace"))
    return str(ast.literal_eval(path[1])) if path else None


def is_own(content: bytes) -> bool:
    """Return whether the installer created this file; a foreign file with a block is not its own."""
    return content.startswith(OWN.encode())


# The `.pth` file


def write_pth(shim: str) -> bytes:
    """Return a `.pth` file that loads a shim. `site` runs lines that begin with `import `, and only those."""
    lines = write_block(BEGIN, shim).decode("ascii").splitlines()[1:-1]
    comments = [line for line in lines if line.startswith("# ")]
    code = "\n".join(line for line in lines if not line.startswith("# "))
    return "\n".join([OWN, *comments, f"import sys; exec({code!a})", END, ""]).encode("ascii")


def list_shims_of_pth(content: bytes) -> list[str]:
    """List the shim that a `.pth` file of ours loads; nothing for any other file."""
    if not is_own(content):
        return []
    codes = [line.partition(b"exec(")[2][:-1] for line in content.splitlines() if line.startswith(b"import sys; exec(")]
    loaded = (SHIM_PATH.search(ast.literal_eval(code.decode("ascii"))) for code in codes)
    return [ast.literal_eval(path[1]) for path in loaded if path]


# The start-up wheel


def write_startup_pth() -> bytes:
    """Return the `.pth` file of the start-up wheel: one line, which loads the shim, and prints and raises nothing.

    It is short because every start compiles it: the loader's block would cost a start 1.5 %. The shim is found by the
    folder that `site` reads, `sitedir`. Before Python 3.15, `site` reads the file twice in a virtual environment
    (https://github.com/python/cpython/issues/75723).
    """
    shim = f"sitedir + '/{STARTUP}/{SHIM}'"
    code = f"try: {write_load(shim)}\nexcept BaseException: pass"
    return f"import sys; {template.LIVE_NAME!r} in sys.modules or exec({code!a})\n".encode("ascii")


def write_startup_start() -> bytes:
    """Return the `.start` file of the start-up wheel. Python 3.15 reads it, and knows no `sitedir` (:pep:`829`)."""
    return f"{STARTUP}:start\n".encode("ascii")


def write_startup_module() -> bytes:
    """Return the start-up wheel's module, for Pythons that read the `.start` file."""
    shim = f"path + '/{SHIM}'"
    return (
        "# Loads the start-up shim of dbx-patch, which makes editable installs importable on Databricks.\n"
        "# It is from the start-up wheel. `pip uninstall dbx-patch` removes it.\n"
        "def start(path=__path__[0]):\n"
        "    try:\n"
        "        import sys\n"
        f"        if {template.LIVE_NAME!r} not in sys.modules:\n"
        f"            {write_load(shim)}\n"
        "    except BaseException:  # a SystemExit that leaves a start-up file would end the interpreter\n"
        "        pass\n"
    ).encode("ascii")


def write_load(path: str) -> str:
    """Return a line of code that loads the start-up wheel's shim; `path` is an expression."""
    return (
        "import _frozen_importlib as b, _frozen_importlib_external as e; "
        f"b._load(e.spec_from_file_location({template.LIVE_NAME!r}, {path}))"
    )
