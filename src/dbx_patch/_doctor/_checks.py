"""The doctor: an ordered list of checks for each kind of case. The first check that finds something is the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from packaging.utils import canonicalize_name

from dbx_patch._doctor import _check_install as install_checks
from dbx_patch._doctor import _check_module as module_checks
from dbx_patch._doctor import _check_mount as mount_checks
from dbx_patch._doctor import _check_shim as shim_checks
from dbx_patch._doctor._case import Case, EditableCase, describe_module, describe_process, offers
from dbx_patch._doctor._pth_lines import list_folders
from dbx_patch._doctor._report import Check, Diagnosis, Report
from dbx_patch._inventory import EditableInstall, is_inside, list_installs, locate, names_in_root
from dbx_patch._mounts import begin_asking, is_folder

CaseT = TypeVar("CaseT", bound=Case)

Checks = tuple[tuple[str, Callable[[CaseT], Diagnosis | None]], ...]
"""What each check examines, in a word, and the check. The first that finds something is the answer.

IMPORT is shown if it is the answer, NOTHING never.
"""
IMPORT, NOTHING = "import", ""

SHIM_CHECKS: Checks[Case] = (
    ("shim", shim_checks.check_started_without_site),
    ("shim", shim_checks.check_turned_off),
    ("shim", shim_checks.check_patches_removed),
    ("shim", shim_checks.check_installation),
    ("shim", shim_checks.check_part_replaced),
    ("shim", shim_checks.check_part_broken),
)
"""Why the shim does not work in this process."""

EDITABLE_CHECKS: Checks[EditableCase] = (
    # What is found, if it explains the failure on its own: no other fix would help.
    ("name", module_checks.check_reserved_name),
    ("mount", mount_checks.check_mount),
    ("process", module_checks.check_imported_before),
    ("submodule", module_checks.check_missing_part),
    ("cache", module_checks.check_stale_cache),
    (IMPORT, module_checks.check_importable),
    ("copies above", module_checks.check_copy_above),
    # Nothing further down can work without the shim.
    *SHIM_CHECKS,
    # In the order in which an import gets to them: the layer, the `.pth` file, the folder, the path, the hooks.
    ("layer", install_checks.check_layer_refused),
    (".pth file", install_checks.check_import_line),
    ("folder", install_checks.check_folders),
    ("path", install_checks.check_root_removed),
    ("path", install_checks.check_finder_removed),
    ("other mounts", mount_checks.check_entries),
    ("finders", module_checks.check_failing_finder),
    ("hooks", module_checks.check_missed_hook),
    ("hooks", module_checks.check_unknown_hook),
    # Neither of these says why the editable install lost.
    ("copies", module_checks.check_other_copy),
    ("package", module_checks.check_renamed_package),
    (IMPORT, module_checks.report_unknown),
)
"""Why a module can't be imported that an editable install offers. The last check always answers."""

OTHER_CHECKS: Checks[Case] = (
    ("submodule", module_checks.check_missing_part),
    ("cache", module_checks.check_stale_cache),
    (IMPORT, module_checks.check_found_elsewhere),
    ("mounts", mount_checks.check_entries),
    (".pth files", install_checks.check_refused_files),
    ("folders", install_checks.check_nameless_installs),
    (IMPORT, module_checks.report_not_installed),
)
"""Why any other module can't be imported. The last check always answers."""

PROCESS_CHECKS: Checks[Case] = (
    *SHIM_CHECKS,
    ("mounts", mount_checks.check_entries),
    (".pth files", install_checks.check_refused_files),
    (NOTHING, shim_checks.report_nothing_installed),
)
"""What is wrong with a process that has no editable installs. The last check always answers."""

REFUSED_CHECKS = PROCESS_CHECKS[-2:]
"""What can be wrong besides, where modules have been examined."""


def doctor(module: str = "") -> Report:
    """Trace the import of a module in this process, and report the first thing that stops it.

    `module` is a module's dotted name, or a project's name. Without it, every module that an editable install offers is
    examined. The report is about this process; the command `dbx-patch doctor` asks in a notebook's environment instead.
    It describes what library code meets: Databricks' hooks refuse more to a library than to a notebook's cells. Nothing
    is imported and nothing is changed. Finders are asked what they would find; meson-python's rebuilds its project when
    it is asked. If a mount does not answer, the report says so, and nothing on it is touched. Raises ValueError if
    `module` is neither a module's nor a project's name.
    """
    begin_asking()
    installs = list_installs()
    names = find_names(module, installs)
    found = [examine(describe_module(name, installs, install)) for name, install in names.items()]
    if not module:
        # Without a name, what the installs offer is examined; a file that is not read may be an install's as well.
        process = diagnose(describe_process(installs), PROCESS_CHECKS if not found else REFUSED_CHECKS)
        found += [process] if not found or not process.healthy else []
    return Report(tuple(found))


def find_names(asked: str, installs: tuple[EditableInstall, ...]) -> dict[str, EditableInstall | None]:
    """Return the names of the modules that are asked about, each with its install if that is known.

    An install whose names are not known has its project's.
    """
    if not asked:
        return list_modules(installs)
    is_module = all(part.isidentifier() for part in asked.split("."))
    if is_module and "." in asked and any(offers(install, asked) for install in installs):
        return {asked: None}
    projects = tuple(install for install in installs if install.name == canonicalize_name(asked) and install.names)
    if is_module and (not projects or any(asked in install.names for install in projects)):
        return {asked: None}
    if not projects:
        msg = f"{asked!r} is neither a module's name nor the name of a project that is installed editable here"
        raise ValueError(msg)
    return list_modules(projects)


def list_modules(installs: tuple[EditableInstall, ...]) -> dict[str, EditableInstall | None]:
    """Return what some installs offer: names of modules, but of a namespace package the modules in their portions."""
    found: dict[str, EditableInstall | None] = {}
    for install in installs:
        for name in install.names or (install.name.replace("-", "_"),):
            portions = [place for place in locate(name) if is_inside(place, list_folders(install)) and is_folder(place)]
            inner = [f"{name}.{part}" for portion in portions for part in names_in_root(Path(portion))]
            for module in inner or [name]:
                found.setdefault(module, install)
    return found


def examine(case: Case) -> Diagnosis:
    """Return the diagnosis of a module."""
    return diagnose(case, EDITABLE_CHECKS) if isinstance(case, EditableCase) else diagnose(case, OTHER_CHECKS)


def diagnose(case: CaseT, checks: Checks[CaseT]) -> Diagnosis:
    """Return what the first check finds that finds something, with the marks of all checks."""
    number, found = next((number, found) for number, (_, check) in enumerate(checks) if (found := check(case)))
    silent = {str(each) for each in case.unsearched if each.state == "does not answer"}
    notes = [f"{text}, and was not searched" for text in sorted(silent) if not found.summary.startswith(text)]
    marks = mark_checks([name for name, _ in checks], number, healthy=found.healthy)
    return replace(found, steps=case.steps, evidence=(*found.evidence, *notes), checks=marks)


def mark_checks(names: list[str], answering: int, *, healthy: bool) -> tuple[Check, ...]:
    """Return each name once with its state. If nothing is wrong, what was not reached makes no difference."""
    before = [name for name in dict.fromkeys(names[:answering]) if name != names[answering]]
    after = [] if healthy else [name for name in dict.fromkeys(names[answering + 1 :]) if name not in before]
    marked = [
        *(Check(name, "passed") for name in before if name != IMPORT),
        Check(names[answering], "passed" if healthy else "failed"),
        *(Check(name, "not reached") for name in after if name not in {names[answering], IMPORT}),
    ]
    return tuple(each for each in marked if each.name != NOTHING)
