"""Chooses where the shim goes, and finds where it is."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._interpreter import Answer
from dbx_patch.installer._trust import find_exposed
from dbx_patch.installer.shim_files import add_block, is_own, list_shims, list_shims_of_pth

SHIM_FILE = "dbx_patch_sitecustomize.py"
"""The shim, in the layer of the interpreter. What loads it does so by its path, and swallows what may be wrong."""
HOST_FILE = "sitecustomize.py"
"""The `sitecustomize` that is made where there is none."""
PTH_FILE = "zzz_dbx_patch.pth"
"""The start-up file that is made where a `sitecustomize` can't be extended; the last that `site` reads."""
KERNEL_FOLDERS = ("spark/python", "python_shell")
"""The folders below `/databricks` that a kernel has on its PYTHONPATH, in its order."""


class Slot(enum.IntEnum):
    """What loads the shim."""

    OWN = 1
    """A `sitecustomize` of our own."""
    FOREIGN = 2
    """Somebody else's `sitecustomize`, extended."""
    PTH = 3
    """A `.pth` file of our own, for one environment alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shim goes in one environment, or where it is."""

    slot: Slot
    shim: Path
    host: Path
    """The file that loads the shim, as Python finds it: its byte code lies there, even if it is a link."""


def choose_places(answer: Answer) -> tuple[list[Place], list[str]]:
    """List the places that apply, in the order in which they are to be tried, and why others do not."""
    shim = answer.purelib / SHIM_FILE
    others = [file for file in answer.sitecustomizes if not is_own(read(file) or b"")]
    first = Place(Slot.FOREIGN, shim, others[0]) if others else Place(Slot.OWN, shim, answer.purelib / HOST_FILE)
    places, reasons = [], []
    for place, obstacle in (
        (first, find_obstacle(first) if others else find_own_obstacle(first)),
        (Place(Slot.PTH, shim, answer.purelib / PTH_FILE), find_pth_obstacle(answer)),
    ):
        if obstacle:
            reasons.append(obstacle)
        else:
            places.append(place)
    return places, reasons


def find_own_obstacle(place: Place) -> str | None:
    """Tell what keeps a `sitecustomize` of our own from being made."""
    if place.host.is_symlink() and not place.host.exists():
        return f"{place.host} is a link to {place.host.readlink()}, which is not there: remove it, or mend it"
    if place.host.exists() and not is_own(read(place.host) or b""):
        return f"{place.host} is in the way: rename it"
    return find_write_obstacle(place.host)


def find_obstacle(place: Place) -> str | None:
    """Tell what keeps somebody else's `sitecustomize` from being extended."""
    host, target = place.host, place.host.resolve()
    content = read(host)
    if host.suffix != ".py" or content is None:
        return f"{host} has no source that could be {'extended' if host.suffix != '.py' else 'read'}"
    status = target.stat()
    if os.geteuid() not in {0, status.st_uid}:
        return f"{host} is not yours to write"
    if status.st_nlink > 1:
        return f"{host} has more than one hard link, and would be cut off from the others"
    exposed = find_exposed(place.shim.parent, {0, status.st_uid})
    if exposed:
        return f"{host} would load a file that others than its owner may change, at {exposed}"
    return find_write_obstacle(target) or find_syntax_error(host, add_block(content, str(place.shim)))


def find_syntax_error(host: Path, content: bytes) -> str | None:
    """Tell what keeps Python from running a file."""
    try:
        compile(content, str(host), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{host} can't be compiled: {error}"
    return None


def find_pth_obstacle(answer: Answer) -> str | None:
    """Tell what keeps a `.pth` file from being made that loads the shim."""
    opened = [Path(layer["path"]).resolve() for layer in answer.layers if layer["opened_by_site"]]
    if answer.purelib not in opened:
        return f"{answer.purelib} is no folder whose .pth files {answer.python} reads"
    return find_write_obstacle(answer.purelib / PTH_FILE)


def find_write_obstacle(file: Path) -> str | None:
    """Tell what keeps a file from being replaced, which takes a right to its folder."""
    if os.access(file.parent, os.W_OK | os.X_OK):
        return None
    read_only = os.statvfs(file.parent).f_flag & os.ST_RDONLY
    return f"{file.parent} can't be written to{' (Read-only file system)' if read_only else ''}"


def find_hosts(answer: Answer) -> list[tuple[Path, Path]]:
    """List the files that load a shim at start, each with that shim; one that was rendered is its own."""
    kernels = [file for folder in find_kernel_folders(answer) for file in list_sitecustomizes(folder)]
    files = {file.resolve(): file for file in reversed([*answer.sitecustomizes, *kernels])}
    found = [(host, Path(shim or host)) for host in reversed(files.values()) for shim in list_shims(read(host) or b"")]
    pth = answer.purelib / PTH_FILE
    return [*found, *((pth, Path(shim)) for shim in list_shims_of_pth(read(pth) or b""))]


def find_kernel_folders(answer: Answer) -> list[Path]:
    """List the folders of a kernel's PYTHONPATH that have a `sitecustomize`: it stands before every other."""
    roots = dict.fromkeys(
        [*(above for above in answer.prefix.parents if above.name == "databricks"), Path("/databricks")]
    )
    folders = [root / folder for root in roots for folder in KERNEL_FOLDERS]
    return [folder for folder in folders if list_sitecustomizes(folder)]


def list_sitecustomizes(folder: Path) -> list[Path]:
    """List the files in a folder that can answer `import sitecustomize` and have source."""
    return [file for file in (folder / "sitecustomize/__init__.py", folder / HOST_FILE) if file.is_file()]


def slot_of(host: Path | None) -> Slot | None:
    """Tell the slot by the file that loads the shim."""
    if host is None:
        return None
    if host.name == PTH_FILE:
        return Slot.PTH
    return Slot.OWN if is_own(read(host) or b"") else Slot.FOREIGN


def read(file: Path) -> bytes | None:
    """Read a file; None if it is not there, or not to be read."""
    try:
        return file.read_bytes()
    except OSError:
        return None
