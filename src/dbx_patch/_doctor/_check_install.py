"""Checks an editable install: its layer, its `.pth` file, its folder, and its place on `sys.path`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from dbx_patch._doctor._case import Case, EditableCase, describe_editable
from dbx_patch._doctor._check_mount import check_mount, diagnose_mount
from dbx_patch._doctor._commands import in_notebook, install_from, pip_install, restart_python, shell
from dbx_patch._doctor._pth_lines import read_lines
from dbx_patch._doctor._report import Diagnosis
from dbx_patch._inventory import find_refused
from dbx_patch._mounts import Trouble, find_mount, follow, is_folder, list_folder

WORLD_WRITABLE = 0o002


def check_layer_refused(case: EditableCase) -> Diagnosis | None:
    """Check whether the shim ignores the layer because it is world-writable."""
    layer = case.install.layer
    if not any(kind == "layer refused" and subject == layer for kind, subject, _ in case.events):
        return None
    summary = "the layer is world-writable, so its .pth files are ignored"
    command = shell("chmod", "o-w", layer, restart=True)
    return Diagnosis(case.module, "refused", summary, (f"world-writable: {layer}", *case.lines), command)


def check_import_line(case: EditableCase) -> Diagnosis | None:
    """Check whether the line that imports the install's finder raised an exception."""
    files = {editable["pth"] for editable in case.editables}
    traces = [text for kind, subject, text in case.events if kind == "import line failed" and subject in files]
    if not traces:
        return None
    *_, last = ["", *traces[0].strip().splitlines()]
    _, lacks, name = last.partition("No module named ")  # Python's own words, at the end of its traceback
    if lacks:
        command = pip_install(name.strip("'\"").partition(".")[0], restart=True)
    else:
        command = pip_install("-e", case.install.project or case.editables[0]["root"], restart=True)
    summary = "the line in its .pth file raised an exception"
    return Diagnosis(case.module, "start-up line failed", summary, (*case.lines, last), command)


def check_folders(case: EditableCase) -> Diagnosis | None:
    """Check whether each folder of the install can be listed, which is what an import does."""
    for folder in case.roots or list(filter(None, [case.install.project])):
        try:
            os.listdir(folder)  # noqa: PTH208  # pathlib's `iterdir` makes other calls
        except FileNotFoundError:
            return describe_missing_folder(case, folder)
        except PermissionError as error:
            return describe_refusal(case, folder, str(error.strerror))
        except OSError as error:
            return describe_error(case, folder, str(error.strerror))
    return None


def describe_refusal(case: EditableCase, folder: str, reason: str) -> Diagnosis:
    """Return the diagnosis for a folder that this user can't read. No command gives a permission on a mount."""
    refusing, mount = find_refusing(Path(folder)), find_mount(folder)
    evidence = (f"{folder}: {reason}", f"no permission for: {refusing}")
    if mount and Path(mount).is_relative_to(follow(str(refusing))):
        return diagnose_mount(case, Trouble(folder, mount, "no credential"), evidence)
    summary = "this user has no permission to read the project's folder"
    command = "" if mount else shell("chmod", "a+rx", str(refusing))
    return Diagnosis(case.module, "folder unreadable", summary, (*evidence, *case.lines), command)


def describe_error(case: EditableCase, folder: str, reason: str) -> Diagnosis:
    """Return the diagnosis for a folder for which the file system returns an error."""
    evidence, mount = (f"{folder}: {reason}",), find_mount(folder)
    if mount:
        return diagnose_mount(case, Trouble(folder, mount, "away"), evidence)
    summary = "the file system returns an error for the project's folder; the next import tries again"
    return Diagnosis(case.module, "folder unreadable", summary, (*evidence, *case.lines))


def describe_missing_folder(case: EditableCase, folder: str) -> Diagnosis:
    """Return the diagnosis for a folder that does not exist. A mount that shows nothing is not there yet."""
    missing, mount = f"missing: {folder}", find_mount(folder)
    if mount and not list_folder(mount):
        return diagnose_mount(case, Trouble(folder, mount, "no credential"), (missing,))
    if case.install.style == "link tree":
        command = pip_install("-e", case.install.project or folder)
        return Diagnosis(case.module, "links missing", "its tree of links is missing", (missing, *case.lines), command)
    there = next(parent for parent in Path(folder).parents if is_folder(str(parent)))
    similar = difflib.get_close_matches(Path(folder).relative_to(there).parts[0], list_folder(str(there)), 1)
    hint = (f"similar name: {there / similar[0]}",) if similar else ()
    evidence = (missing, f"exists: {there}", *hint, *case.lines)
    command = install_from(f"the folder of {case.install.name}")
    return Diagnosis(case.module, "folder absent", "the project's folder does not exist", evidence, command)


def check_root_removed(case: EditableCase) -> Diagnosis | None:
    """Check whether other code has removed a root from `sys.path`."""
    root = next((root for root in case.roots if root not in case.path), None)
    if root is None:
        return None
    command = f"import sys; sys.path.append({root!r})" if in_notebook() else ""
    return Diagnosis(case.module, "off the path", f"{root} was removed from sys.path", case.lines, command)


def check_finder_removed(case: EditableCase) -> Diagnosis | None:
    """Check whether the install's finder was run, and is not on `sys.meta_path`."""
    if not case.lost_finder:
        return None
    summary = "its finder was removed from sys.meta_path"
    return Diagnosis(case.module, "off the path", summary, case.lines, restart_python())


def check_nameless_installs(case: Case) -> Diagnosis | None:
    """Check the folders of the installs whose names are not known: one of them may offer the module."""
    for install in case.installs:
        if not install.names:
            offering = describe_editable(install, read_lines(install), {"module": case.module})
            found = check_mount(offering) or check_folders(offering)
            if found:
                return found
    return None


def check_refused_files(case: Case) -> Diagnosis | None:
    """Check for a `.pth` file that is not trusted or can't be read: it may be the one that offers the module."""
    for pth, error in find_refused(case.top):
        which = "a .pth file that may offer it" if case.module else "a .pth file"
        if isinstance(error, PermissionError):
            summary = f"this user has no permission to read {which}"
            command = shell("chmod", "a+r", pth, restart=True)
            return Diagnosis(case.module, "unreadable", summary, (f"{pth}: {error.strerror}",), command)
        writable = find_world_writable(Path(pth))
        if writable:
            summary = f"{which} is ignored, because any user can change it"
            command = shell("chmod", "o-w", str(writable), restart=True)
        else:
            summary = f"{which} is not a regular text file; install its project again"
            command = install_from("the folder of its project")
        return Diagnosis(case.module, "refused", summary, (f"{pth}: {error}",), command)
    return None


def find_world_writable(pth: Path) -> Path | None:
    """Return what about a `.pth` file any user can change: the folder that it links into, or the file; None if nothing.

    The shim refuses both. The mode is read again here, so that the check does not depend on the words of the refusal.
    """
    try:
        folder = pth.resolve().parent
        if pth.is_symlink() and folder.stat().st_mode & WORLD_WRITABLE:
            return folder
        return pth if pth.stat().st_mode & WORLD_WRITABLE else None
    except OSError:
        return None


def find_refusing(folder: Path) -> Path:
    """Return the first folder on the way to another one, or that one itself, that this user can't enter or list."""
    way = [*reversed(folder.parents), folder]
    return next((step for step in way if not os.access(step, os.X_OK if step != folder else os.R_OK | os.X_OK)), folder)
