"""Proves that the shim runs: by starting real interpreters."""

from __future__ import annotations

import os
from pathlib import Path

from dbx_patch.installer._errors import InstallerError, NotLiveError
from dbx_patch.installer._interpreter import Answer, ask, last_line, plain_environ, run
from dbx_patch.installer._places import Place, Slot, find_kernel_folders
from dbx_patch.installer._trust import scratch_folder
from dbx_patch.sitecustomize_template import template


def prove(answer: Answer, place: Place) -> None:
    """Start the interpreter, and each kind of notebook environment made from it, and see the shim alive in all.

    Raises NotLiveError if it is not, InstallerError if one can't be made, and OSError.
    """
    check_alive(ask(answer.python, plain_environ()), answer, place)
    if place.slot is Slot.PTH:  # it is good for that environment alone
        return
    folders = find_kernel_folders(answer)
    if folders:
        path = os.pathsep.join(map(str, folders))
        check_alive(ask(answer.python, plain_environ() | {"PYTHONPATH": path}), answer, place)
    with scratch_folder() as scratch:
        makers = [["venv", "--without-pip"]]
        if answer.has_virtualenv:
            makers.append(["virtualenv", "--quiet", "--no-seed", "--app-data", f"{scratch}/cache"])
        for maker in makers:
            for with_system in ([], ["--system-site-packages"]):
                environment = Path(scratch, "-".join([maker[0], *with_system]))
                check_alive(make_notebook(answer, [*maker, *with_system], environment), answer, place)


def make_notebook(answer: Answer, maker: list[str], environment: Path) -> Answer:
    """Make a notebook environment, and have it describe itself."""
    done = run([answer.python, "-IB", "-m", *maker, str(environment)], plain_environ())
    if done.returncode:
        cause = last_line(done.stderr or done.stdout)
        msg = f"{answer.python} can't make a notebook environment as a proof: {cause}. Everything was put back."
        raise InstallerError(msg)
    major, minor = answer.version[:2]
    layer = environment / "lib" / f"python{major}.{minor}" / "site-packages"
    # As on Databricks: `site` opens the environment's own layer, and the layers below are plain entries.
    layer.joinpath("layers.pth").write_text("".join(f"{below['path']}\n" for below in answer.layers), "utf-8")
    return ask(str(environment / "bin/python"), plain_environ())


def check_alive(found: Answer, answer: Answer, place: Place) -> None:
    """Raise InstallerError if an interpreter does not run the shim, or says more at start than it did before."""
    if found.live is None:
        first = next(iter(found.sitecustomizes), None)
        cause = (
            f"{first} runs instead"
            if first and first.resolve() != place.host.resolve()
            else f"{place.host} did not load it"
        )
        said = f", and Python said: {last_line(found.stderr)}" if found.stderr else ""
        msg = f"The shim is not alive in {found.python}: {cause}{said}"
        raise NotLiveError(msg)
    if found.live["version"] != template.VERSION:
        msg = (
            f"{found.python} runs version {found.live['version']} from {found.live['file']} instead:"
            " upgrade that one first"
        )
        raise NotLiveError(msg)
    if found.stderr and not answer.stderr:
        msg = f"{found.python} wrote to stderr as it started with the shim: {last_line(found.stderr)}"
        raise NotLiveError(msg)
