"""Tells why an import fails: follows it through every finder, layer and hook of this process. Changes nothing."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from dbx_patch import installer
from dbx_patch._doctor._report import IMPORTABLE, Cause, Diagnosis, Report, Step
from dbx_patch._doctor._trace import find_editables, finds, follow, path_entries
from dbx_patch._inventory import (
    TAKEN,
    EditableInstall,
    editable_installs,
    find_layer,
    find_layers,
    find_warnings,
    is_inside,
    locate,
)
from dbx_patch._notebook import find_dbutils
from dbx_patch._process import find_shim
from dbx_patch._verify import HARMLESS, check_patched
from dbx_patch.sitecustomize_template import template

if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable

PATCH = "import dbx_patch; dbx_patch.patch_dbx()"
RESERVED = TAKEN.union(sys.stdlib_module_names, (name.partition(".")[0] for name in (*template.HOOKS, *HARMLESS)))
"""Top-level names that are Python's or Databricks'. To move theirs away would stop the interpreter or the cluster."""


def doctor(module: str = "") -> Report:
    """Follow the import of a module in this process, and name the first thing that stops it.

    `module` is a module's dotted name, or a project's; without one, every module is examined that an editable install
    offers. What is told is what code of a library would meet, for hooks refuse it more than a notebook's cells. Nothing
    is imported and nothing changed; finders are asked what they would find, which makes meson-python's rebuild its
    project. Raises ValueError for what is neither a module's nor a project's name.
    """
    installs = editable_installs()
    names = find_names(module, installs)
    return Report(tuple(examine(name, installs) for name in names) or (examine_process(),))


def find_names(asked: str, installs: tuple[EditableInstall, ...]) -> list[str]:
    """Find the modules that are asked about."""
    if not asked:
        return list(dict.fromkeys(name for install in installs for name in install.names))
    offered = [name for install in installs if install.name == canonicalize_name(asked) for name in install.names]
    if all(part.isidentifier() for part in asked.split(".")) and (asked in offered or not offered):
        return [asked]
    if not offered:
        msg = f"{asked!r} is neither a module's name nor that of a project that is installed editable here"
        raise ValueError(msg)
    return offered


def examine(module: str, installs: tuple[EditableInstall, ...]) -> Diagnosis:
    """Examine one module."""
    top = module.partition(".")[0]
    offering = [install for install in installs if offers(install, top)]
    steps = tuple(follow(top, offering))
    found = next(iter(locate(top)), None)
    if not offering:
        return replace(next(diagnose_stranger(module, found, installs)), steps=steps)
    return replace(next(diagnose(module, found, offering[0], steps)), steps=steps)


def examine_process() -> Diagnosis:
    """Examine a process without editable installs."""
    return next(
        (found for diagnoses in (diagnose_shim("", None), diagnose_refusals("")) for found in diagnoses),
        Diagnosis("", "healthy", "there are no editable installs in the layers on sys.path, and nothing is wrong"),
    )


def offers(install: EditableInstall, top: str) -> bool:
    """Tell whether a name belongs to an install, or, where its names can't be known, may do so."""
    return top in install.names if install.names else canonicalize_name(top) == install.name


def diagnose(module: str, found: str | None, install: EditableInstall, steps: tuple[Step, ...]) -> Iterator[Diagnosis]:
    """Give what stops the import of a module that an editable install offers, the first thing first."""
    top = module.partition(".")[0]
    editables = find_editables(install)
    shown = show_lines(editables)
    folders = [folder for folder in (install.project, *(editable["root"] for editable in editables)) if folder]
    loaded = getattr(sys.modules.get(top), "__file__", None)
    copy = (f"imported from: {loaded or found}", *shown)
    if found and top in RESERVED and not is_inside(found, folders):
        summary = "Python or Databricks has a module of that name itself, which is not to be moved: rename yours"
        yield Diagnosis(module, "shadowed", summary, copy)
    if loaded and not is_inside(loaded, folders) and not stands_above(loaded, install):
        again = (line.partition(" was installed again")[0] for line in read_journal() if " was installed again" in line)
        if any(canonicalize_name(Path(project).name) == install.name for project in again):
            summary = "the project was installed again from elsewhere, and this process keeps the folder that it had"
            yield Diagnosis(module, "installed again", summary, copy, restart())
        yield Diagnosis(
            module, "imported before", "this process imported another copy before, and keeps it", copy, restart()
        )
    if found and is_inside(found, folders):
        yield diagnose_importable(module, found, install)
    elif found and stands_above(found, install):
        yield diagnose_shadow(module, found, install, shown)
    yield from diagnose_shim(module, install)
    yield from diagnose_journal(module, install, editables, shown)
    yield from diagnose_folders(module, install, editables, shown)
    yield from diagnose_path(module, editables, shown)
    yield from diagnose_hooks(module, found, steps)
    if found:
        yield diagnose_shadow(module, found, install, shown)
    yield diagnose_missing(module, install, top, shown)


def diagnose_stranger(module: str, found: str | None, installs: tuple[EditableInstall, ...]) -> Iterator[Diagnosis]:
    """Tell of a name that no editable install offers."""
    if found:
        missing = find_missing(module, found)
        if missing:
            yield diagnose_part(module, missing, found)
        yield Diagnosis(module, "healthy", f"importable, from {found}, which is no editable install")
    yield from diagnose_refusals(module)
    unknown = [install for install in installs if not install.names]
    for install in unknown:
        editables = find_editables(install)
        shown = show_lines(editables)
        yield from diagnose_folders(module, install, editables, shown)
    names = sorted({name for install in installs for name in install.names})
    close = difflib.get_close_matches(module, names, 1)
    hint = (f"there is: {close[0]}",) if close else ()
    yield Diagnosis(
        module,
        "not installed",
        f"nothing on sys.path of {sys.executable} has it",
        hint,
        pip("-e", "<the folder of its project>", quote=False),
    )


def diagnose_importable(module: str, found: str, install: EditableInstall) -> Diagnosis:
    """Tell of a package that is found where it should be."""
    missing = find_missing(module, found)
    if missing:
        return diagnose_part(module, missing, found)
    warnings = list(find_warnings(install.style, install.project, install.names))
    summary = f"importable, from {found}"
    cause: Cause = next((caveat for caveat, _ in warnings if caveat in IMPORTABLE), "healthy")
    return Diagnosis(module, cause, summary, tuple(text for _, text in warnings))


def diagnose_part(module: str, missing: str, found: str) -> Diagnosis:
    """Tell of a submodule that its package does not have."""
    folder = Path(found).parent if Path(found).name.startswith("__init__.") else Path(found)
    inside = folder.joinpath(*missing.split(".")[1:-1])
    there = [name.partition(".")[0] for name in list_folder(inside)]
    close = difflib.get_close_matches(missing.rpartition(".")[2], there, 1)
    hint = (f"there is: {missing.rpartition('.')[0]}.{close[0]}",) if close else ()
    return Diagnosis(
        module, "no such module", f"the package is found, and has no {missing}", (f"package: {found}", *hint)
    )


def diagnose_shadow(module: str, found: str, install: EditableInstall, shown: tuple[str, ...]) -> Diagnosis:
    """Tell of another copy that stands before the editable one."""
    layer = find_layer(found)
    copy = (f"imported from: {found}", *shown)
    summary = "another copy stands before the editable one"
    if layer and next(iter(metadata.distributions(name=install.name, path=[layer])), None):
        command = pip(install.name, command="uninstall", target=layer)
    else:
        place = found.removesuffix(f"{os.sep}__init__.py")
        command = shell("mv", place, f"{place}.old", again=True)
    return Diagnosis(module, "shadowed", summary, copy, command)


def diagnose_shim(module: str, install: EditableInstall | None) -> Iterator[Diagnosis]:
    """Tell why the shim does not run in this process."""
    shim = find_shim()
    if shim is not None and shim.started:
        return
    evidence = (f"Python reads no .pth file of {install.layer} here: {install.pth}",) if install else ()
    if install and install.layer in template.load("editables").find_opened_layers():
        evidence = (f"installed by: {install.pth}",)
    command = PATCH if in_notebook() else installer.name_command(sys.executable)
    if sys.flags.no_site:
        summary = "this process was started without the site module (python -S), and so without start-up files"
        yield Diagnosis(module, "started without site", summary, evidence, PATCH if in_notebook() else "")
    if template.is_switched_on(b"DBX_PATCH_DISABLE"):
        on = f'import os; del os.environ["DBX_PATCH_DISABLE"]; {PATCH}' if in_notebook() else "unset DBX_PATCH_DISABLE"
        yield Diagnosis(module, "shim turned off", "DBX_PATCH_DISABLE is set in this process", evidence, on)
    if shim is not None:
        yield Diagnosis(module, "patches removed", "the patches were taken back in this process", evidence, PATCH)
    try:
        status = installer.status(sys.executable)
    except installer.InstallerError as error:
        yield Diagnosis(module, "shim not live", "the shim does not run here", (*evidence, str(error)), command)
        return
    if status.live:
        summary = "this process started before the shim was installed"
        yield Diagnosis(module, "started before", summary, (f"the shim: {status.file}", *evidence), restart())
    if status.file is None:
        yield Diagnosis(module, "shim not installed", "the start-up shim is not installed here", evidence, command)
    stands = f"stands before it: {status.shadowed_by}" if status.shadowed_by else f"missing or broken: {status.file}"
    summary = f"the shim is installed in {status.file}, and does not run"
    yield Diagnosis(module, "shim not live", summary, (stands, *evidence), command)


def diagnose_journal(
    module: str, install: EditableInstall, editables: list[Editable], shown: tuple[str, ...]
) -> Iterator[Diagnosis]:
    """Tell what the shim has noted."""
    for line in read_journal():
        if "is of version" in line:
            summary = "the shim was replaced by another version since this process started"
            yield Diagnosis(module, "started before", summary, (line,), restart())
        if line.startswith("<function"):
            force = f"{installer.name_command(sys.executable)} --force"
            command = f"!{force}\n{restart()}".rstrip() if in_notebook() else force
            yield Diagnosis(module, "shim broken", "a part of the shim could not be loaded or run", (line,), command)
        if line.startswith(f"layer {install.layer} refused"):
            yield Diagnosis(module, "refused", line, shown, shell("chmod", "o-w", install.layer, again=True))
        for editable in editables:
            head, _, trace = line.partition("\n")
            if trace and head.startswith(f"{editable['pth']}: "):
                last = trace.strip().splitlines()[-1]
                _, needed, name = last.partition("No module named ")
                what = [name.strip("'\"").partition(".")[0]] if needed else ["-e", install.project or editable["root"]]
                summary = "its start-up line raised an exception"
                yield Diagnosis(module, "start-up line failed", summary, (*shown, last), pip(*what, again=True))


def diagnose_folders(
    module: str, install: EditableInstall, editables: list[Editable], shown: tuple[str, ...]
) -> Iterator[Diagnosis]:
    """Tell why an install's folder can't be read."""
    roots = [editable["root"] for editable in editables if editable["root"]]
    for folder in roots or [install.project or ""]:
        try:
            os.listdir(folder)  # noqa: PTH208  # a listing is what an import takes
        except FileNotFoundError:
            if install.style == "link tree":
                summary = "its tree of links is not there"
                command = pip("-e", install.project or folder)
                yield Diagnosis(module, "links missing", summary, (f"absent: {folder}", *shown), command)
            there = next(parent for parent in Path(folder).parents if os.path.isdir(parent))  # noqa: PTH112  # likewise
            moved = difflib.get_close_matches(Path(folder).relative_to(there).parts[0], list_folder(there), 1)
            hint = (f"there is: {there / moved[0]}",) if moved else ()
            evidence = (f"absent: {folder}", f"there as far as: {there}", *hint, *shown)
            command = pip("-e", f"<the folder of {install.name}>", quote=False)
            yield Diagnosis(module, "folder absent", "the project's folder is not there", evidence, command)
        except PermissionError as error:
            refusing = find_refusing(Path(folder))
            evidence = (f"{folder}: {error.strerror}", f"refused by: {refusing}", *shown)
            command = shell("chmod", "a+rx", str(refusing))
            yield Diagnosis(module, "folder unreadable", "the project's folder can't be read", evidence, command)
        except OSError as error:
            evidence = (f"{folder}: {error.strerror}", *shown)
            summary = "the project's folder can't be read; a mount may be at fault, and the next import asks again"
            yield Diagnosis(module, "folder unreadable", summary, evidence)


def diagnose_path(module: str, editables: list[Editable], shown: tuple[str, ...]) -> Iterator[Diagnosis]:
    """Tell of a root that is no longer on `sys.path`, and of a finder that is no longer on `sys.meta_path`."""
    for editable in editables:
        root, finder = editable["root"], editable["finder"]
        if root and root not in sys.path:
            command = f"import sys; sys.path.append({root!r})" if in_notebook() else ""
            yield Diagnosis(module, "off the path", f"somebody took {root} off sys.path", shown, command)
        gone = not any(getattr(found, "__module__", "") == finder for found in sys.meta_path)
        if finder in sys.modules and gone:
            summary = "somebody took its finder off sys.meta_path"
            yield Diagnosis(module, "off the path", summary, shown, restart())


def diagnose_hooks(module: str, found: str | None, steps: tuple[Step, ...]) -> Iterator[Diagnosis]:
    """Tell of a hook that stops the import though the shim runs."""
    shim = find_shim()
    stops = [step for step in steps if step.state == "stops" and step.kind != "hook"]
    raising = next((step for step in stops if step.ends), None)
    if raising and not found:
        summary = f"the finder {raising.place} raises, which ends every import that comes by it"
        yield Diagnosis(module, "finder failed", summary, (raising.detail,), restart())
    stopped = next((step for step in stops if not step.ends), None)
    hooks = [hook for hook in check_patched(shim) if hook.state == "incompatible"] if shim else []
    if stopped is None and not hooks:
        return
    evidence = (*([str(stopped)[2:]] if stopped else []), *map(str, hooks))
    past = any("patch_dbx()" in hook.reason for hook in hooks)
    summary = (
        "a hook of Databricks' was imported past the shim"
        if past
        else "a hook of Databricks' stops it, and is of no shape that dbx-patch knows: please report it with this"
    )
    command = PATCH if past else shell(sys.executable, "-m", "dbx_patch", "fingerprint")
    yield Diagnosis(module, "hook incompatible", summary, evidence, command)


def diagnose_missing(module: str, install: EditableInstall, top: str, shown: tuple[str, ...]) -> Diagnosis:
    """Tell of a project that lacks what its install offers; else that no cause is known."""
    roots = [editable["root"] for editable in find_editables(install) if editable["root"]]
    there = sorted({Path(name).stem for root in roots for name in list_folder(Path(root))})
    if roots and top not in there:
        close = difflib.get_close_matches(top, there, 1)
        hint = (f"there is: {close[0]}",) if close else ()
        summary = f"{install.pth} offers it, and its folder has it no longer"
        command = pip("-e", install.project or roots[0])
        return Diagnosis(module, "no such module", summary, (*shown, *hint), command)
    summary = "no cause is known: please report it with this"
    return Diagnosis(module, "unknown", summary, shown, shell(sys.executable, "-m", "dbx_patch", "fingerprint"))


def diagnose_refusals(module: str) -> Iterator[Diagnosis]:
    """Tell of layers and `.pth` files that are not trusted or can't be read: what they offer can't be known."""
    part = template.load("editables")
    top = module.partition(".")[0]
    for layer in filter(os.path.isdir, find_layers()):
        files = sorted(name for name in list_folder(Path(layer)) if name.endswith(".pth"))
        # One that is named for the module is the likelier one.
        for name in sorted(files, key=lambda name: top not in name.replace("-", "_")):
            pth = str(Path(layer, name))
            try:
                part.read_pth(pth)
            except PermissionError as error:
                summary = "a .pth file that may have it can't be read"
                yield Diagnosis(
                    module,
                    "unreadable",
                    summary,
                    (f"{pth}: {error.strerror}",),
                    shell("chmod", "a+r", pth, again=True),
                )
            except (OSError, ValueError) as error:
                if "everybody" not in str(error):
                    summary = "a .pth file that may have it is not read: install its project again"
                    command = pip("-e", "<the folder of its project>", quote=False)
                    yield Diagnosis(module, "refused", summary, (f"{pth}: {error}",), command)
                    continue
                folder = Path(pth).resolve().parent
                at = str(folder) if Path(pth).is_symlink() and folder.stat().st_mode & 0o002 else pth
                summary = "a .pth file that may have it is refused: everybody may write it"
                yield Diagnosis(module, "refused", summary, (pth,), shell("chmod", "o-w", at, again=True))


# What is known of an install


def show_lines(editables: list[Editable]) -> tuple[str, ...]:
    """Say where each line stands, and what it is."""
    shown = []
    for editable in editables:
        try:
            lines = [line.rstrip() for line in template.load("editables").read_pth(editable["pth"])]
            shown.append(f"{editable['pth']}, line {lines.index(editable['line']) + 1}: {editable['line']}")
        except (OSError, ValueError):  # it has changed since
            shown.append(f"{editable['pth']}: {editable['line']}")
    return tuple(shown)


def find_missing(module: str, found: str) -> str | None:
    """Find the first part of a dotted name that its package does not have."""
    folder = Path(found).parent if Path(found).name.startswith("__init__.") else Path(found)
    parts = module.split(".")
    for number, part in enumerate(parts[1:], 2):
        if not finds(part, str(folder)):
            return ".".join(parts[:number])
        folder = folder / part
    return None


def stands_above(found: str, install: EditableInstall) -> bool:
    """Tell whether a file is found before the turn of an install's layer."""
    entries = path_entries()
    above = entries[: entries.index(install.layer)]
    folder = Path(found.removesuffix(f"{os.sep}__init__.py")).parent
    return any(folder == (Path(entry) if entry else Path.cwd()) for entry in above)


def list_folder(folder: Path) -> list[str]:
    """List a folder; one that can't be listed as empty."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def find_refusing(folder: Path) -> Path:
    """Find the folder on the way to another, itself among them, that may not be entered or listed."""
    way = [*reversed(folder.parents), folder]
    return next((step for step in way if not os.access(step, os.X_OK if step != folder else os.R_OK | os.X_OK)), folder)


def read_journal() -> list[str]:
    """Read the journal of the shim in this process."""
    shim = find_shim()
    return list(shim.journal) if shim else []


# What mends it


def in_notebook() -> bool:
    """Tell whether this is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return bool(ipython and ipython.get_ipython())


def restart() -> str:
    """Write what restarts Python in a notebook."""
    return "dbutils.library.restartPython()" if find_dbutils() else ""


def shell(*words: str, again: bool = False) -> str:
    """Write a command for a shell; `again` has a notebook restarted after it."""
    command = shlex.join(words)
    return "\n".join(filter(None, [f"!{command}", restart() if again else ""])) if in_notebook() else command


def pip(*words: str, command: str = "install", target: str = "", again: bool = False, quote: bool = True) -> str:
    """Write a pip command for this interpreter, or for the environment that a layer belongs to."""
    said = shlex.join(words) if quote else " ".join(words)
    own = not target or Path(target).is_relative_to(sys.prefix)
    if in_notebook() and own:
        return "\n".join(filter(None, [f"%pip {command} {said}", restart() if again else ""]))
    yes = " --yes" if command == "uninstall" else ""
    where = "" if own else f" --python {shlex.quote(str(Path(target).parents[2]))}"
    line = f"{shlex.quote(sys.executable)} -m pip{where} {command}{yes} {said}"
    return f"!{line}" if in_notebook() else line
