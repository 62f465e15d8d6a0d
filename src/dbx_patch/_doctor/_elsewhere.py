"""Asks the doctor in the environment that a notebook would have: what a shell imports says nothing about notebooks."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import dbx_patch
from dbx_patch import installer
from dbx_patch._doctor._checks import doctor
from dbx_patch._doctor._report import Check, Diagnosis, Report, Step
from dbx_patch._mounts import any_hangs

ASKED = Path(__file__).with_name("_asked.py")
NO_ANSWER = "a mount does not answer, and Python may ask it at every start"
THIS_WAS_JUDGED = "this interpreter was judged, and notebooks were not"
IN_NOTEBOOK = "<notebook>"
"""What stands for the folder of the environment, which is removed before anybody reads the report."""


def doctor_for_notebooks(module: str = "") -> Report:
    """Report why a module can't be imported in a new notebook of this node, and where this interpreter differs.

    Where no notebook's environment can be made, the report is about this interpreter and says why. So it is in a
    notebook's own environment. Raises ValueError as `doctor` does.
    """
    wrong: ValueError | None = None
    try:
        here = doctor(module)
    except ValueError as error:  # a project can be installed where only notebooks see it
        here, wrong = Report(()), error
    if installer.is_notebook():
        return judge_here(here, wrong, "")
    if any_hangs():
        return judge_here(here, wrong, NO_ANSWER)
    try:
        with installer.open_notebook() as notebook:
            there = ask(notebook, list(dict.fromkeys([module, *(found.module for found in here.diagnoses)])))
    except installer.InstallerError as error:
        return judge_here(here, wrong, "; ".join(line.rstrip(".") for line in error.problem.splitlines()))
    if not there:
        return judge_here(here, wrong, "")
    causes = {found.module: found.cause for found in there}
    differing = tuple(found for found in here.diagnoses if causes.get(found.module) != found.cause)
    return Report(there, judged="notebook", python=notebook.base, here=differing)


def judge_here(here: Report, wrong: ValueError | None, reason: str) -> Report:
    """Return the report on this interpreter, with the reason why no notebook was judged, or raise what was wrong."""
    if wrong is not None:
        raise wrong
    return replace(here, note=f"{reason}; {THIS_WAS_JUDGED}" if reason else "")


def ask(notebook: installer.NotebookEnvironment, names: list[str]) -> tuple[Diagnosis, ...]:
    """Return the diagnoses of a notebook's environment; none if it knows none of the names.

    Raises InstallerError if it does not answer.
    """
    cookie = secrets.token_hex(16)
    (package,) = list(dbx_patch.__path__)[:1]
    code, stdout, stderr = notebook.run("-B", str(ASKED), package, cookie, *names)
    answer, found, _ = stdout.partition(cookie)[2].partition(cookie)
    if code or not found:
        reason = next(reversed(stderr.strip().splitlines()), "it printed nothing")
        msg = f"a notebook's environment was made, and could not be asked: {reason}"
        raise installer.InstallerError(msg)
    for text, shown in ((notebook.python, notebook.base), (notebook.folder, IN_NOTEBOOK)):
        answer = answer.replace(json.dumps(text)[1:-1], json.dumps(shown)[1:-1])
    diagnoses = tuple(map(read_diagnosis, json.loads(answer)))
    # Without a name, an environment without editable installs is examined as a whole.
    return tuple(each for each in diagnoses if each.module or not each.healthy or len(diagnoses) == 1)


def read_diagnosis(written: dict[str, Any]) -> Diagnosis:
    """Return a diagnosis from its JSON."""
    return Diagnosis(
        module=written["module"],
        cause=written["cause"],
        summary=written["summary"],
        evidence=tuple(written["evidence"]),
        command=written["command"],
        steps=tuple(Step(**step) for step in written["steps"]),
        checks=tuple(Check(**check) for check in written["checks"]),
    )
