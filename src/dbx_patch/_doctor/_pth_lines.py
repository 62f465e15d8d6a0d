"""Reads what an editable install's `.pth` and `.start` files say, as the shim does."""

from __future__ import annotations

from pathlib import Path

from dbx_patch._inventory import EditableInstall, is_inside
from dbx_patch.sitecustomize_template import read_editables, read_pth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable


def read_lines(install: EditableInstall) -> tuple[Editable, ...]:
    """Return the lines of an install's `.pth` and `.start` files; of `easy-install.pth`, those of its project only."""
    try:
        found = read_editables(install.layer)
    except OSError:
        return ()
    own = [editable for editable in found if Path(editable["pth"]).stem == Path(install.pth).stem]
    if Path(install.pth).name == "easy-install.pth":
        own = [editable for editable in own if install.project and is_inside(editable["root"], [install.project])]
    return tuple(own)


def list_roots(install: EditableInstall) -> list[str]:
    """Return the roots that an install puts on the path."""
    return [editable["root"] for editable in read_lines(install) if editable["root"]]


def list_folders(install: EditableInstall) -> list[str]:
    """Return the folders that an install's modules may be in."""
    return [folder for folder in (install.project, *list_roots(install)) if folder]


def locate_lines(editables: tuple[Editable, ...]) -> tuple[str, ...]:
    """Return each line with its file and number, as evidence."""
    shown = []
    for editable in editables:
        try:
            lines = [line.rstrip() for line in read_pth(editable["pth"])]
            shown.append(f"{editable['pth']}, line {lines.index(editable['line']) + 1}: {editable['line']}")
        except (OSError, ValueError):  # the file has changed since
            shown.append(f"{editable['pth']}: {editable['line']}")
    return tuple(shown)
