"""Choose where the shim can go, and find where it is."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._interpreter import Interpreter
from dbx_patch.installer._trust import find_exposed, find_exposed_byte_code
from dbx_patch.installer.files import read
from dbx_patch.installer.shim_files import add_block, is_own, list_shims, list_shims_of_pth
from dbx_patch.sitecustomize_template import LOADER, SHIM

PTH_FILE = "zzz_dbx_patch.pth"
"""The start-up file for where no `sitecustomize` can be extended. `site` reads it last, in the order of names."""
KERNEL_FOLDERS = ("spark/python", "python_shell")
"""The folders below `/databricks` on a kernel's PYTHONPATH, in its order."""


class Slot(enum.IntEnum):
    """The kind of file that loads the shim."""

    OWN = 1
    """A `sitecustomize` of our own."""
    FOREIGN = 2
    """A foreign `sitecustomize`, extended by a block."""
    PTH = 3
    """A `.pth` file of our own, which works in one environment only."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shim can go in one environment."""

    slot: Slot
    shim: Path
    loader: Path
    """The file that loads the shim, under the name that Python finds. Byte code is beside it, even if it is a link."""


def choose_places(interpreter: Interpreter) -> tuple[list[Place], list[str]]:
    """List the places that can be used, the preferred one first, and the reasons why others can't."""
    shim = interpreter.purelib / SHIM
    foreign = [file for file in interpreter.sitecustomizes if not is_own(read(file) or b"")]
    first = Place(Slot.FOREIGN, shim, foreign[0]) if foreign else Place(Slot.OWN, shim, interpreter.purelib / LOADER)
    last = Place(Slot.PTH, shim, interpreter.purelib / PTH_FILE)
    places, reasons = [], []
    for place, obstacle in (
        (first, find_foreign_obstacle(first) if foreign else find_own_obstacle(first)),
        (last, find_pth_obstacle(interpreter, last)),
    ):
        if obstacle:
            reasons.append(obstacle)
        else:
            places.append(place)
    return places, reasons


# Obstacles: each is a text of one sentence a line, and ends with a line `Fix: …` if the user can remove it.


def find_own_obstacle(place: Place) -> str | None:
    """Return what keeps a `sitecustomize` of our own from being created."""
    loader = place.loader
    if loader.is_symlink() and not loader.exists():  # written through, the link's target would be created
        return (
            f"{loader} is a link to {loader.readlink()}, which does not exist.\n"
            "Fix: remove the link, or create its target."
        )
    if loader.exists() and not is_own(read(loader) or b""):
        return f"{loader} exists, but Python does not import it.\nFix: rename it."
    return find_byte_code_obstacle(place, place.shim.parent.stat().st_uid) or find_write_obstacle(loader)


def find_foreign_obstacle(place: Place) -> str | None:
    """Return what keeps a foreign `sitecustomize` from being extended."""
    loader, target = place.loader, place.loader.resolve()
    if loader.suffix != ".py":
        return f"{loader} is byte code without a source file."
    content = read(loader)
    if content is None:
        return f"{loader} can't be read by this user."
    status = target.stat()
    if os.geteuid() not in {0, status.st_uid}:
        return f"{loader} belongs to another user."
    if status.st_nlink > 1:  # it is replaced by a rename, and the other name would keep the old file
        return f"{loader} has more than one hard link.\nReplacing it would detach it from the others."
    # Each user who starts this Python runs the loader. Its owner must be the only one who decides what it runs.
    exposed = find_exposed(place.shim.parent, {0, status.st_uid})
    if exposed:
        return f"{loader} must not load a file that other users can modify.\nThey can modify {exposed}."
    return (
        find_byte_code_obstacle(place, status.st_uid)
        or find_write_obstacle(target)
        or find_syntax_error(loader, add_block(content, str(place.shim)))
    )


def find_byte_code_obstacle(place: Place, owner: int) -> str | None:
    """Return what lets users beside root and `owner` choose the byte code that every start would run."""
    for file in (place.shim, place.loader):
        exposed = find_exposed_byte_code(file, {0, owner})
        if exposed:
            return (
                f"Python must not run byte code of {file} that other users can modify.\n"
                f"They can modify {exposed}.\n"
                f"Fix: delete {file.parent / '__pycache__'}; Python creates it again."
            )
    return None


def find_syntax_error(loader: Path, content: bytes) -> str | None:
    """Return what keeps Python from compiling a file."""
    try:
        compile(content, str(loader), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{loader} can't be compiled.\n{error}."
    return None


def find_pth_obstacle(interpreter: Interpreter, place: Place) -> str | None:
    """Return what keeps a `.pth` file from being created that loads the shim."""
    opened = [Path(layer["path"]).resolve() for layer in interpreter.layers if layer["opened_by_site"]]
    if interpreter.purelib not in opened:
        return f"Python does not read `.pth` files in {interpreter.purelib}."
    return find_byte_code_obstacle(place, place.shim.parent.stat().st_uid) or find_write_obstacle(place.loader)


def find_write_obstacle(file: Path) -> str | None:
    """Return what keeps a file from being replaced, which takes write access to its folder, not to the file."""
    if os.access(file.parent, os.W_OK | os.X_OK):
        return None
    if os.statvfs(file.parent).f_flag & os.ST_RDONLY:
        return f"{file.parent} is on a read-only file system."
    return f"{file.parent} is not writable by this user."


# Loaders: the files that load a shim


def find_loaders(interpreter: Interpreter) -> list[tuple[Path, Path]]:
    """List the files that load a shim at start, each with its shim. A rendered shim is its own loader."""
    kernels = [file for folder in find_kernel_folders(interpreter) for file in list_sitecustomizes(folder)]
    files = {file.resolve(): file for file in reversed([*interpreter.sitecustomizes, *kernels])}
    found = [
        (loader, Path(shim or loader))
        for loader in reversed(files.values())
        for shim in list_shims(read(loader) or b"")
    ]
    pth = interpreter.purelib / PTH_FILE
    return [*found, *((pth, Path(shim)) for shim in list_shims_of_pth(read(pth) or b""))]


def find_kernel_folders(interpreter: Interpreter) -> list[Path]:
    """List the folders on a kernel's PYTHONPATH that have a `sitecustomize`, which comes before every other one."""
    roots = dict.fromkeys(
        [*(above for above in interpreter.prefix.parents if above.name == "databricks"), Path("/databricks")]
    )
    folders = [root / folder for root in roots for folder in KERNEL_FOLDERS]
    return [folder for folder in folders if list_sitecustomizes(folder)]


def list_sitecustomizes(folder: Path) -> list[Path]:
    """List the source files in a folder that can answer `import sitecustomize`, in the order in which Python looks."""
    return [file for file in (folder / "sitecustomize/__init__.py", folder / LOADER) if file.is_file()]


def find_slot(loader: Path | None) -> Slot | None:
    """Return the slot that a loader belongs to."""
    if loader is None:
        return None
    if loader.name == PTH_FILE:
        return Slot.PTH
    return Slot.OWN if is_own(read(loader) or b"") else Slot.FOREIGN
