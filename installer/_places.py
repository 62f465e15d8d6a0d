"""Choose where the shim can go, and find where it is."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbx_patch.installer._access import describe_owner, find_write_obstacle, name_protection, name_removal, quote
from dbx_patch.installer._interpreter import Interpreter
from dbx_patch.installer._node import find_node
from dbx_patch.installer._trust import find_exposed, find_exposed_byte_code
from dbx_patch.installer.files import read
from dbx_patch.installer.shim_files import add_block, is_own, list_shims, list_shims_of_pth
from dbx_patch.sitecustomize_template import LOADER, SHIM, STARTUP, find_mount

PTH_FILE = "zzz_dbx_patch.pth"
"""The start-up file for where no `sitecustomize` can be extended. `site` reads it last, in the order of names."""
KERNEL_FOLDERS = ("spark/python", "python_shell")
"""The folders below `/databricks` on a kernel's PYTHONPATH, in its order."""


STARTUP_PTH = f"zzz_{STARTUP}.pth"
"""The start-up wheel's file. `site` reads it late: the layers that other files list are on the path by then."""


class Slot(enum.IntEnum):
    """The kind of file that loads the shim."""

    OWN = 1
    """A `sitecustomize` of our own."""
    FOREIGN = 2
    """A foreign `sitecustomize`, extended by a block."""
    PTH = 3
    """A `.pth` file of our own, which works in one environment only."""
    WHEEL = 4
    """The start-up wheel's `.pth` file, which pip installs and uninstalls with the package. It works likewise."""

    @property
    def reaches_notebooks(self) -> bool:
        """Whether the shim runs in the notebook environments that are created from the interpreter."""
        return self is not Slot.PTH


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shim can go in one environment."""

    slot: Slot
    shim: Path
    loader: Path
    """The file that loads the shim, under the name that Python finds. Byte code is beside it, even if it is a link."""


def choose_places(interpreter: Interpreter, *, strict: bool = False) -> tuple[list[Place], list[str]]:
    """List the places that can be used, the preferred one first, and the reasons why others can't.

    With `strict`, only those that reach notebooks.
    """
    places, reasons = [], []
    for place, obstacle in list_places(interpreter):
        if strict and not place.slot.reaches_notebooks:
            continue
        if obstacle:
            reasons.append(obstacle)
        else:
            places.append(place)
    return places, reasons


def list_places(interpreter: Interpreter) -> Iterator[tuple[Place, str | None]]:
    """List the places, the preferred one first, each with what keeps it from being used."""
    shim = interpreter.purelib / SHIM
    foreign = [file for file in list_foreign(interpreter) if not is_own(read(file) or b"")]
    if foreign:
        place = Place(Slot.FOREIGN, shim, foreign[0])
        yield place, find_foreign_obstacle(place)
    else:
        place = Place(Slot.OWN, shim, interpreter.purelib / LOADER)
        yield place, find_own_obstacle(place)
    place = Place(Slot.PTH, shim, interpreter.purelib / PTH_FILE)
    yield place, find_pth_obstacle(interpreter, place)


def list_foreign(interpreter: Interpreter) -> list[Path]:
    """List the files that can answer `import sitecustomize`, but those of projects that are installed editable.

    A project's file must not load the shim: it is under version control, and goes when its install does.
    """
    roots = set(list_roots(interpreter.layers))
    return [file for file in interpreter.sitecustomizes if roots.isdisjoint(map(str, file.parents[:2]))]


def list_roots(layers: Iterable[dict[str, Any]]) -> Iterator[str]:
    """List the folders that the editable installs of some layers put on the path."""
    for layer in layers:
        yield from (editable["root"] for editable in layer["editables"] if editable["root"])


def find_silenced(layers: Iterable[dict[str, Any]], is_file: Callable[[str], bool] | None = None) -> str | None:
    """Return the project's `sitecustomize` that Python would import if ours were not there; None if there is none.

    It is in a root that `site` itself puts on the path. By default only the local disk is searched: a mount may hang.
    """
    for root in list_roots(layer for layer in layers if layer["opened_by_site"]):
        for file in (f"{root}/{name}" for name in ("sitecustomize/__init__.py", LOADER)):
            if is_file(file) if is_file else not find_mount(file) and Path(file).is_file():
                return file
    return None


# Obstacles: each is a text of one sentence a line, and ends with a line `Fix: …` if the user can remove it.


def find_own_obstacle(place: Place) -> str | None:
    """Return what keeps a `sitecustomize` of our own from being created."""
    loader = place.loader
    if loader.is_symlink() and not loader.exists():  # written through, the link's target would be created
        return (
            f"{loader} is a link to {loader.readlink()}, which does not exist.\n"
            f"Fix: create that file, or run `{name_removal('rm', loader)}`."
        )
    if loader.exists() and not is_own(read(loader) or b""):
        command = name_removal("mv", loader)
        return f"{loader} exists, but Python does not import it.\nFix: run `{command} {quote(loader)}.old`."
    return find_byte_code_obstacle(place, place.shim.parent.stat().st_uid) or find_write_obstacle(loader)


def find_foreign_obstacle(place: Place) -> str | None:
    """Return what keeps a foreign `sitecustomize` from being extended."""
    loader, target = place.loader, place.loader.resolve()
    if loader.suffix != ".py":
        return (
            f"{loader} is byte code without a source file.\nFix: add its source, or run `{name_removal('rm', loader)}`."
        )
    content = read(loader)
    if content is None:
        return f"{loader} can't be read by this user.\n{describe_owner(target)}"
    status = target.stat()
    if os.geteuid() not in {0, status.st_uid}:
        return f"{loader} belongs to another user.\n{describe_owner(target)}"
    if status.st_nlink > 1:  # it is replaced by a rename, and the other name would keep the old file
        return (
            f"{loader} has more than one hard link.\n"
            "Replacing it would detach it from the others.\n"
            f"Fix: if that does no harm, run `cp -p {quote(target)} copy && mv copy {quote(target)}`."
        )
    # Each user who starts this Python runs the loader. Its owner must be the only one who decides what it runs.
    exposed = find_exposed(place.shim.parent, {0, status.st_uid})
    if exposed:
        return (
            f"{loader} must not load a file that other users can modify.\n"
            f"They can modify {exposed}.\n"
            f"{describe_owner(exposed)}\n"
            f"{name_protection(exposed, {0, status.st_uid})}"
        )
    after = add_block(content, str(place.shim))
    cache = loader.parent / "__pycache__"
    return (
        find_byte_code_obstacle(place, status.st_uid)
        # A disk can be read-only by now: that is no obstacle to what was installed before.
        or (None if after == content else find_write_obstacle(target))
        # Beside a link, not beside its target: /etc can be writable where /usr is not.
        or (None if after == content else find_write_obstacle(cache / loader.name if cache.is_dir() else cache))
        or find_syntax_error(loader, after)
    )


def find_byte_code_obstacle(place: Place, owner: int) -> str | None:
    """Return what lets users beside root and `owner` choose the byte code that every start would run."""
    for file in (place.shim, place.loader):
        cache = file.parent / "__pycache__"
        exposed = find_exposed_byte_code(file, {0, owner})
        if exposed:
            return (
                f"Python must not run byte code of {file} that other users can modify.\n"
                f"They can modify {exposed}.\n"
                f"{describe_owner(exposed)}\n"
                f"Fix: run `{name_removal('rm -r', cache)}`; Python creates it again."
            )
    return None


def find_syntax_error(loader: Path, content: bytes) -> str | None:
    """Return what keeps Python from compiling a file."""
    try:
        compile(content, str(loader), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{loader} can't be compiled.\n{error}.\nFix: correct or remove that file."
    return None


def find_pth_obstacle(interpreter: Interpreter, place: Place) -> str | None:
    """Return what keeps a `.pth` file from being created that loads the shim."""
    opened = [Path(layer["path"]).resolve() for layer in interpreter.layers if layer["opened_by_site"]]
    if interpreter.purelib not in opened:
        return f"Python does not read `.pth` files in {interpreter.purelib}."
    return find_byte_code_obstacle(place, place.shim.parent.stat().st_uid) or find_write_obstacle(place.loader)


# Loaders: the files that load a shim


def find_loaders(interpreter: Interpreter) -> list[tuple[Path, Path]]:
    """List the files that load a shim at start, each with its shim."""
    kernels = [file for folder in find_kernel_folders(interpreter) for file in list_sitecustomizes(folder)]
    files = {file.resolve(): file for file in reversed([*interpreter.sitecustomizes, *kernels])}
    found = [(loader, Path(shim)) for loader in reversed(files.values()) for shim in list_shims(read(loader) or b"")]
    pth = interpreter.purelib / PTH_FILE
    return [*found, *((pth, Path(shim)) for shim in list_shims_of_pth(read(pth) or b""))]


def find_startup_wheel(interpreter: Interpreter) -> list[tuple[Path, Path]]:
    """List the file by which a start-up wheel loads its shim, with that shim, if one is installed."""
    loader, shim = interpreter.purelib / STARTUP_PTH, interpreter.purelib / STARTUP / SHIM
    return [(loader, shim)] if loader.is_file() else []


def find_kernel_folders(interpreter: Interpreter) -> list[Path]:
    """List the folders on a kernel's PYTHONPATH that have a `sitecustomize`, which comes before every other one."""
    node = find_node(interpreter.prefix)
    folders = [node / "databricks" / folder for folder in KERNEL_FOLDERS] if node else []
    return [folder for folder in folders if list_sitecustomizes(folder)]


def list_sitecustomizes(folder: Path) -> list[Path]:
    """List the source files in a folder that can answer `import sitecustomize`, in the order in which Python looks."""
    return [file for file in (folder / "sitecustomize/__init__.py", folder / LOADER) if file.is_file()]


def find_kernel_obstacle(interpreter: Interpreter) -> str | None:
    """Return which `sitecustomize` keeps an installed shim from running in kernels, if one does."""
    folders = find_kernel_folders(interpreter)
    loader = list_sitecustomizes(folders[0])[0] if folders else None
    if loader is None or list_shims(read(loader) or b""):
        return None
    return f"Notebook kernels import {loader} before all others.\nIt does not load the shim."


def find_slot(loader: Path | None) -> Slot | None:
    """Return the slot that a loader belongs to."""
    if loader is None:
        return None
    if loader.name in (PTH_FILE, STARTUP_PTH):
        return Slot.PTH if loader.name == PTH_FILE else Slot.WHEEL
    return Slot.OWN if is_own(read(loader) or b"") else Slot.FOREIGN


def changes_another_environment(interpreter: Interpreter, place: Place) -> bool:
    """Return whether an install at a place would change a file outside the environment and outside a Databricks node.

    That is a foreign `sitecustomize` that other environments of the machine import as well. If it has our block
    already, it would not be changed.
    """
    if place.slot is not Slot.FOREIGN:
        return False
    file, node = place.loader.resolve(), find_node(interpreter.prefix)
    if file.is_relative_to(interpreter.purelib) or (node and file.is_relative_to(node)):
        return False
    content = read(place.loader)
    return add_block(content, str(place.shim)) != content
