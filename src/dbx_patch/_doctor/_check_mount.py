"""Checks the mounts that an editable install or an entry of `sys.path` is on."""

from __future__ import annotations

from dbx_patch._doctor._case import Case, EditableCase
from dbx_patch._doctor._report import Cause, Diagnosis
from dbx_patch._mounts import MountState, Trouble

CAUSES: dict[MountState, tuple[Cause, str]] = {
    "does not answer": ("mount not answering", "an import that asks it waits until it does"),
    "no credential": ("no credential", "wait, then import again"),
    "away": ("mount away", "wait, then import again"),
}
"""The cause that each state of a mount is, and what to do. No command brings a mount back."""


def check_mount(case: EditableCase) -> Diagnosis | None:
    """Check whether the mount that the install is on does not answer as it should, unless a copy above is imported."""
    if not case.troubles or (case.found and case.is_above(case.found)):
        return None
    return diagnose_mount(case, case.troubles[0], tuple(f"folder: {each.folder}" for each in case.troubles))


def check_entries(case: Case) -> Diagnosis | None:
    """Check whether entries of `sys.path` could not be searched for a module that is not found in the others."""
    if case.found or not case.unsearched:
        return None
    worst = min(case.unsearched, key=lambda each: list(CAUSES).index(each.state))
    return diagnose_mount(case, worst, tuple(f"not searched: {each.folder}" for each in case.unsearched))


def diagnose_mount(case: Case, trouble: Trouble, evidence: tuple[str, ...]) -> Diagnosis:
    """Return the diagnosis for a mount that does not answer as it should."""
    cause, advice = CAUSES[trouble.state]
    lines = case.lines if isinstance(case, EditableCase) else ()
    return Diagnosis(case.module, cause, f"{trouble}; {advice}", (*evidence, *lines))
