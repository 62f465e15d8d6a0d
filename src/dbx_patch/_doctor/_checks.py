"""The doctor: an ordered list of checks for each kind of case. The first check that finds something is the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from packaging.utils import canonicalize_name

from dbx_patch._doctor import _check_install as install_checks
from dbx_patch._doctor import _check_module as module_checks
from dbx_patch._doctor import _check_mount as mount_checks
from dbx_patch._doctor import _check_shim as shim_checks
from dbx_patch._doctor._case import Case, EditableCase, describe_module, describe_process
from dbx_patch._doctor._report import Diagnosis, Report
from dbx_patch._inventory import EditableInstall, list_installs
from dbx_patch._mounts import begin_asking

CaseT = TypeVar("CaseT", bound=Case)

SHIM_CHECKS: tuple[Callable[[Case], Diagnosis | None], ...] = (
    shim_checks.check_started_without_site,
    shim_checks.check_turned_off,
    shim_checks.check_patches_removed,
    shim_checks.check_installation,
    shim_checks.check_part_replaced,
    shim_checks.check_part_broken,
)
"""Why the shim does not work in this process."""

EDITABLE_CHECKS: tuple[Callable[[EditableCase], Diagnosis | None], ...] = (
    # What is found, if it explains the failure on its own: no other fix would help.
    module_checks.check_reserved_name,
    mount_checks.check_mount,
    module_checks.check_installed_again,
    module_checks.check_imported_before,
    module_checks.check_missing_part,
    module_checks.check_stale_cache,
    module_checks.check_importable,
    module_checks.check_copy_above,
    # Nothing further down can work without the shim.
    *SHIM_CHECKS,
    # In the order in which an import gets to them: the layer, the `.pth` file, the folder, the path, the hooks.
    install_checks.check_layer_refused,
    install_checks.check_import_line,
    install_checks.check_folders,
    install_checks.check_root_removed,
    install_checks.check_finder_removed,
    mount_checks.check_entries,
    module_checks.check_failing_finder,
    module_checks.check_missed_hook,
    module_checks.check_unknown_hook,
    # Neither of these says why the editable install lost.
    module_checks.check_other_copy,
    module_checks.check_renamed_package,
    module_checks.report_unknown,
)
"""Why a module can't be imported that an editable install offers. The last check always answers."""

OTHER_CHECKS: tuple[Callable[[Case], Diagnosis | None], ...] = (
    module_checks.check_missing_part,
    module_checks.check_stale_cache,
    module_checks.check_found_elsewhere,
    mount_checks.check_entries,
    install_checks.check_refused_files,
    install_checks.check_nameless_installs,
    module_checks.report_not_installed,
)
"""Why any other module can't be imported. The last check always answers."""

PROCESS_CHECKS: tuple[Callable[[Case], Diagnosis | None], ...] = (
    *SHIM_CHECKS,
    mount_checks.check_entries,
    install_checks.check_refused_files,
    shim_checks.report_nothing_installed,
)
"""What is wrong with a process that has no editable installs. The last check always answers."""


def doctor(module: str = "") -> Report:
    """Trace the import of a module in this process, and report the first thing that stops it.

    `module` is a module's dotted name, or a project's name. Without it, every module that an editable install offers is
    examined. The report describes what library code meets: Databricks' hooks refuse more to a library than to a
    notebook's cells. Nothing is imported and nothing is changed. Finders are asked what they would find; meson-python's
    rebuilds its project when it is asked. If a mount does not answer, the report says so, and nothing on it is touched.
    Raises ValueError if `module` is neither a module's nor a project's name.
    """
    begin_asking()
    installs = list_installs()
    cases = [describe_module(name, installs) for name in find_names(module, installs)]
    return Report(tuple(map(examine, cases)) or (diagnose(describe_process(installs), PROCESS_CHECKS),))


def find_names(asked: str, installs: tuple[EditableInstall, ...]) -> list[str]:
    """Return the names of the modules that are asked about. An install whose names are not known has its project's."""
    if not asked:
        names = (install.names or (install.name.replace("-", "_"),) for install in installs)
        return list(dict.fromkeys(name for several in names for name in several))
    offered = [name for install in installs if install.name == canonicalize_name(asked) for name in install.names]
    if all(part.isidentifier() for part in asked.split(".")) and (asked in offered or not offered):
        return [asked]
    if not offered:
        msg = f"{asked!r} is neither a module's name nor the name of a project that is installed editable here"
        raise ValueError(msg)
    return offered


def examine(case: Case) -> Diagnosis:
    """Return the diagnosis of a module."""
    return diagnose(case, EDITABLE_CHECKS) if isinstance(case, EditableCase) else diagnose(case, OTHER_CHECKS)


def diagnose(case: CaseT, checks: tuple[Callable[[CaseT], Diagnosis | None], ...]) -> Diagnosis:
    """Return what the first check finds that finds something."""
    found = next(diagnosis for check in checks if (diagnosis := check(case)))
    silent = {str(each) for each in case.unsearched if each.state == "does not answer"}
    notes = [f"{text}, and was not searched" for text in sorted(silent) if not found.summary.startswith(text)]
    return replace(found, steps=case.steps, evidence=(*found.evidence, *notes))
