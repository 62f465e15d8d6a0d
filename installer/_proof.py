"""Verify that the shim runs, by starting real interpreters."""

from __future__ import annotations

import os
from pathlib import Path

from dbx_patch.installer._environment import make_environment
from dbx_patch.installer._errors import InstallerError, NotLiveError
from dbx_patch.installer._interpreter import Interpreter, last_line, plain_environ, probe
from dbx_patch.installer._places import Place, Slot, find_kernel_folders
from dbx_patch.installer._trust import make_scratch_folder
from dbx_patch.sitecustomize_template import template


def verify(interpreter: Interpreter, place: Place) -> None:
    """Start the interpreter, and each kind of notebook environment created from it, and check that the shim is live.

    `interpreter` is its description before the install. Raises NotLiveError if the shim is not live in one of them,
    InstallerError if an environment can't be created, and OSError.
    """
    check_live(probe(interpreter.python, plain_environ()), interpreter, place)
    if place.slot is Slot.PTH:  # it is for this environment only
        return
    folders = find_kernel_folders(interpreter)
    if folders:
        path = os.pathsep.join(map(str, folders))
        check_live(probe(interpreter.python, plain_environ() | {"PYTHONPATH": path}), interpreter, place)
    with make_scratch_folder() as scratch:
        makers = [["venv", "--without-pip"]]
        if interpreter.has_virtualenv:
            makers.append(["virtualenv", "--quiet", "--no-seed", "--app-data", f"{scratch}/cache"])
        for maker in makers:
            for with_system in ([], ["--system-site-packages"]):
                environment = Path(scratch, "-".join([maker[0], *with_system]))
                notebook = make_notebook(interpreter, [*maker, *with_system], environment)
                check_live(notebook, interpreter, place)


def make_notebook(interpreter: Interpreter, maker: list[str], environment: Path) -> Interpreter:
    """Create a notebook environment with `python -m maker`, and return its description of itself."""
    try:
        python = make_environment(interpreter, maker, environment, [layer["path"] for layer in interpreter.layers])
    except InstallerError as error:
        msg = f"Could not verify the install for {interpreter.python}, and everything was restored.\n{error.problem}"
        raise InstallerError(msg, fix=error.fix) from error
    return probe(python, plain_environ())


def check_live(found: Interpreter, before: Interpreter, place: Place) -> None:
    """Raise NotLiveError if an interpreter doesn't run this version's shim, or only now writes to stderr at start."""
    if found.live is None:
        first = next(iter(found.sitecustomizes), None)
        cause = f"{place.loader} did not load it."
        if first and first.resolve() != place.loader.resolve():
            cause = f"{first} runs instead."
        wrote = f"\nIt wrote to stderr: {last_line(found.stderr)}" if found.stderr else ""
        msg = f"The shim is not live in {found.python}.\n{cause}{wrote}"
        raise NotLiveError(msg)
    if found.live["version"] != template.VERSION:
        msg = f"{found.python} runs dbx-patch {found.live['version']} instead.\nIts shim is {found.live['file']}."
        raise NotLiveError(msg, fix="upgrade or uninstall that one first, with its own environment's Python.")
    if found.stderr and not before.stderr:
        msg = f"{found.python} wrote to stderr when it started with the shim.\n{last_line(found.stderr)}"
        raise NotLiveError(msg)
