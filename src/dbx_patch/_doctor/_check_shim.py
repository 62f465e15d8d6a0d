"""Checks whether the shim works in this process."""

from __future__ import annotations

import sys

from dbx_patch import installer
from dbx_patch._doctor._case import Case
from dbx_patch._doctor._commands import (
    PATCH,
    in_notebook,
    install_shim,
    reinstall_shim,
    restart_python,
    turn_shim_on,
)
from dbx_patch._doctor._report import Diagnosis


def check_started_without_site(case: Case) -> Diagnosis | None:
    """Check whether Python was started with -S, which runs no start-up file."""
    if case.shim == "live" or not case.without_site:
        return None
    summary = "Python was started with -S, which skips every start-up file"
    command = PATCH if in_notebook() else ""
    return Diagnosis(case.module, "started without site", summary, case.pth_evidence, command)


def check_turned_off(case: Case) -> Diagnosis | None:
    """Check whether DBX_PATCH_DISABLE keeps the shim from starting."""
    if case.shim == "live" or not case.disabled:
        return None
    summary = "DBX_PATCH_DISABLE is set in this process"
    return Diagnosis(case.module, "shim turned off", summary, case.pth_evidence, turn_shim_on())


def check_patches_removed(case: Case) -> Diagnosis | None:
    """Check whether the shim has run, and was stopped."""
    if case.shim != "stopped":
        return None
    summary = "remove_all_patches() was called in this process"
    return Diagnosis(case.module, "patches removed", summary, case.pth_evidence, PATCH)


def check_installation(case: Case) -> Diagnosis | None:
    """Check why the shim has not run: it is not installed, was installed later, or is shadowed or broken.

    This starts an interpreter, unless a mount does not answer that `site` may ask at the start.
    """
    if case.shim == "live" or any(each.state == "does not answer" for each in case.unsearched):
        return None
    try:
        status = installer.status(sys.executable)
    except installer.InstallerError as error:
        evidence = (*str(error).splitlines(), *case.pth_evidence)
        return Diagnosis(case.module, "shim not live", "the shim does not run here", evidence, install_shim())
    if status.live:
        summary = "this process started before the shim was installed"
        evidence = (f"shim: {status.file}", *case.pth_evidence)
        return Diagnosis(case.module, "started before", summary, evidence, restart_python())
    if status.file is None:
        summary = "the start-up shim is not installed here"
        return Diagnosis(case.module, "shim not installed", summary, case.pth_evidence, install_shim())
    reason = f"shadowed by: {status.shadowed_by}" if status.shadowed_by else f"missing or broken: {status.file}"
    summary = f"the shim is installed in {status.file}, but does not run"
    return Diagnosis(case.module, "shim not live", summary, (reason, *case.pth_evidence), install_shim())


def check_part_replaced(case: Case) -> Diagnosis | None:
    """Check whether a part was not loaded because dbx-patch was updated or uninstalled while this process runs."""
    event = case.find_event("part replaced")
    if event is None and case.shim_replaced:
        event = case.find_event("part unusable")
    if event is None:
        return None
    summary = "dbx-patch was updated or uninstalled after this process started"
    return Diagnosis(case.module, "started before", summary, (show(event),), restart_python())


def check_part_broken(case: Case) -> Diagnosis | None:
    """Check whether a part of the shim could not be loaded, or failed."""
    event = case.find_event("part unusable", "step failed", "import failed")
    if event is None:
        return None
    summary = "a part of the shim could not be loaded, or failed"
    return Diagnosis(case.module, "shim broken", summary, (show(event),), reinstall_shim())


def report_nothing_installed(case: Case) -> Diagnosis:
    """Report that there is nothing to examine."""
    return Diagnosis(case.module, "healthy", "no layer on sys.path has an editable install, and nothing is wrong")


def show(event: tuple[str, str, str]) -> str:
    """Return an event as evidence."""
    _, subject, text = event
    return ": ".join(filter(None, [subject, text]))
