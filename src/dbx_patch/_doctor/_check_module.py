"""Checks what an import finds: another copy, a package that lacks a module, or a hook or finder that fails."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from packaging.utils import canonicalize_name

from dbx_patch._doctor._case import Case, EditableCase
from dbx_patch._doctor._commands import (
    FORGET,
    PATCH,
    install_from,
    pip_install,
    pip_uninstall,
    print_fingerprint,
    restart_python,
    shell,
)
from dbx_patch._doctor._report import IMPORTABLE, Cause, Diagnosis
from dbx_patch._doctor._trace import find_missing_part, find_package_folder
from dbx_patch._inventory import TAKEN, find_layer, find_warnings, is_inside, read, read_header
from dbx_patch._mounts import list_folder
from dbx_patch._verify import HARMLESS
from dbx_patch.sitecustomize_template import template

LIKE = 0.75
"""How much of two names is the same if one may be a slip of the other: `nmpy` and `numpy` have 0.89, `json` and `toml`
0.25."""
RESERVED = TAKEN.union(
    ["sitecustomize"], sys.stdlib_module_names, (name.partition(".")[0] for name in (*template.HOOKS, *HARMLESS))
)
"""Top-level names of Python and of Databricks. Moving such a module away would stop the interpreter or the cluster.

A `sitecustomize` can be the file that loads the shim, and other code may need it.
"""


# What is found


def check_reserved_name(case: EditableCase) -> Diagnosis | None:
    """Check whether Python or Databricks has a module of that name."""
    if not case.found or case.top not in RESERVED or is_inside(case.found, case.folders):
        return None
    if case.top == "sitecustomize":
        summary = (
            "Python imports the first sitecustomize on its path only; rename yours, and import it from a .pth file"
        )
        return Diagnosis(case.module, "shadowed", summary, show_copy(case))
    summary = "Python or Databricks has a module of the same name; rename yours"
    return Diagnosis(case.module, "shadowed", summary, show_copy(case))


def check_imported_before(case: EditableCase) -> Diagnosis | None:
    """Check whether this process imported another copy, which nothing on the path offers any more.

    That is what happens to a project, too, that was installed again from another folder after it had been imported.
    """
    if not keeps_other_copy(case):
        return None
    summary = "this process imported another copy earlier, and keeps it"
    return Diagnosis(case.module, "imported before", summary, show_copy(case), restart_python())


def keeps_other_copy(case: EditableCase) -> bool:
    """Return whether another copy was imported, and restarting Python would be enough."""
    return bool(case.loaded) and not is_inside(case.loaded, case.folders) and not case.is_above(case.loaded)


def check_missing_part(case: Case) -> Diagnosis | None:
    """Check whether the package is found, and has no such submodule."""
    if not case.found or (isinstance(case, EditableCase) and not is_inside(case.found, case.folders)):
        return None
    missing = find_missing_part(case.module, case.found)
    if not missing:
        return None
    package, _, name = missing.rpartition(".")
    folders = [find_package_folder(place).joinpath(*missing.split(".")[1:-1]) for place in (case.found, *case.portions)]
    there = {entry.partition(".")[0] for folder in folders for entry in list_folder(str(folder))}
    similar = find_close(name, there - {name})
    summary = f"the package is found, but has no {missing}{suggest(similar and f'{package}.{similar}')}"
    return Diagnosis(case.module, "no such module", summary, (f"package: {case.found}",))


def check_stale_cache(case: Case) -> Diagnosis | None:
    """Check whether a folder has the module, and Python remembers a listing of it from before."""
    if not case.stale:
        return None
    summary = "Python remembers the folder as it was, without this module; drop that, then import again"
    return Diagnosis(case.module, "stale cache", summary, (f"remembered: {case.stale}",), FORGET)


def check_importable(case: EditableCase) -> Diagnosis | None:
    """Check whether the editable copy is found, and report what may not work elsewhere."""
    if not case.found or not is_inside(case.found, case.folders):
        return None
    warnings = list(find_warnings(case.install.style, case.install.project, case.install.names, case.roots))
    cause: Cause = next((caveat for caveat, _ in warnings if caveat in IMPORTABLE), "healthy")
    evidence = tuple(text for _, text in warnings)
    others = [f"also in: {place}" for place in case.portions if place != case.found and case.module == case.top]
    return Diagnosis(case.module, cause, f"importable from {case.found}", (*others, *evidence))


def check_copy_above(case: EditableCase) -> Diagnosis | None:
    """Check whether another copy comes before the install's layer on the path, with or without the shim."""
    return check_other_copy(case) if case.found and case.is_above(case.found) else None


def check_other_copy(case: EditableCase) -> Diagnosis | None:
    """Check whether another copy is found."""
    if not case.found:
        return None
    layer = find_layer(case.found)
    if layer and next(iter(metadata.distributions(name=case.install.name, path=[layer])), None):
        command = pip_uninstall(case.install.name, layer)
    else:
        copy = case.found.removesuffix(f"{os.sep}__init__.py")
        command = shell("mv", copy, f"{copy}.old", restart=True)
    summary = "another copy comes before the editable install on the path"
    return Diagnosis(case.module, "shadowed", summary, show_copy(case), command)


def check_found_elsewhere(case: Case) -> Diagnosis | None:
    """Check whether a module that no editable install offers is found."""
    if not case.found:
        return None
    return Diagnosis(case.module, "healthy", f"importable from {case.found}, which is not an editable install")


# What fails on the way


def check_failing_finder(case: EditableCase) -> Diagnosis | None:
    """Check whether a finder on `sys.meta_path` raises an exception."""
    step = next((step for step in case.steps if step.state == "stops" and step.kind == "finder" and step.ends), None)
    if step is None or case.found:
        return None
    summary = f"the finder {step.place} raises an exception, which ends every import that gets to it"
    return Diagnosis(case.module, "finder failed", summary, (step.detail,), restart_python())


def check_missed_hook(case: EditableCase) -> Diagnosis | None:
    """Check whether a hook was imported before the shim could patch it."""
    missed = [str(hook) for hook in case.hooks if hook.state == "missed"]
    if not missed:
        return None
    summary = "one of Databricks' hooks was imported before the shim could patch it"
    return Diagnosis(case.module, "hook incompatible", summary, (*show_refusal(case), *missed), PATCH)


def check_unknown_hook(case: EditableCase) -> Diagnosis | None:
    """Check whether a hook refuses the module although the shim runs, or could not be patched."""
    incompatible = [str(hook) for hook in case.hooks if hook.state == "incompatible"]
    evidence = (*show_refusal(case), *incompatible)
    if not evidence:
        return None
    summary = "dbx-patch does not know this version of one of Databricks' hooks; please report it"
    return Diagnosis(case.module, "hook incompatible", summary, evidence, print_fingerprint())


def show_refusal(case: EditableCase) -> list[str]:
    """Return the first path entry whose hook refuses the module, as evidence."""
    stops = [step for step in case.steps if step.state == "stops" and step.kind != "hook" and not step.ends]
    return [str(step)[2:] for step in stops[:1]]


# What is not found


def check_renamed_package(case: EditableCase) -> Diagnosis | None:
    """Check whether the project no longer has the package that its install offers."""
    there = sorted({Path(name).stem for root in case.roots for name in list_folder(root)})
    if not case.roots or case.top in there:
        return None
    lost = "the install offers it, but the project's folder does not have it any more"
    summary = f"{lost}{suggest(find_close(case.top, there))}"
    command = pip_install("-e", case.install.project or case.roots[0])
    return Diagnosis(case.module, "no such module", summary, case.lines, command)


def report_unknown(case: EditableCase) -> Diagnosis:
    """Report that no check has found anything."""
    return Diagnosis(case.module, "unknown", "no known cause; please report it", case.lines, print_fingerprint())


def report_not_installed(case: Case) -> Diagnosis:
    """Report that nothing offers the module."""
    summary = f"nothing on sys.path of {sys.executable} has it{suggest(find_similar(case))}"
    return Diagnosis(case.module, "not installed", summary, (), install_from("the folder of its project"))


def suggest(name: str) -> str:
    """Return the end of a summary: a name that may be meant, if there is one."""
    return f"; did you mean {name}?" if name else ""


def find_similar(case: Case) -> str:
    """Return an importable module whose name is close to one that is not, or that its distribution offers; or nothing.

    pip's names differ from those that are imported: `scikit-learn` offers `sklearn`.
    """
    editable = find_close(case.top, (name for install in case.installs for name in install.names))
    if editable:
        return editable + case.module[len(case.top) :]
    importable = sys.stdlib_module_names.union(*(list_importable(entry or ".") for entry in case.path))
    meant = {name: name for name in importable if not name.startswith("_") and name != case.top}
    for distribution in metadata.distributions(path=list(case.path)):
        name = canonicalize_name(read_header(distribution, "Name")).replace("-", "_")
        for offered in list_offered(distribution):
            if offered in meant:
                meant.setdefault(name, offered)
    close = case.top if case.top in meant else find_close(case.top, meant)
    return meant.get(close, "") + case.module[len(case.top) :] if close else ""


def list_importable(folder: str) -> set[str]:
    """Return the names in a folder that can be modules. The folder is only listed: it can be on a mount."""
    suffixes = (".py", *EXTENSION_SUFFIXES)
    names = {name.partition(".")[0] for name in list_folder(folder) if "." not in name or name.endswith(suffixes)}
    return set(filter(str.isidentifier, names))


def list_offered(distribution: metadata.Distribution) -> list[str]:
    """List the top-level names that a distribution has in its layer, those of files that are no modules among them."""
    files = read(distribution, "RECORD").splitlines()
    found = (line.partition(",")[0].partition("/")[0].removesuffix(".py") for line in files)
    return read(distribution, "top_level.txt").split() or list(dict.fromkeys(found))


def find_close(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like another one, whatever their case; empty if none is like it."""
    lower = {each.lower(): each for each in known}
    return next((lower[each] for each in difflib.get_close_matches(name.lower(), sorted(lower), 1, LIKE)), "")


def show_copy(case: EditableCase) -> tuple[str, ...]:
    """Return which copy this process has or finds, and the install's lines, as evidence."""
    return (f"imported from: {case.loaded or case.found}", *case.lines)
