"""Install the shim, uninstall it, and report its state: the order of the steps."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from dbx_patch.installer._byte_code import sweep
from dbx_patch.installer._cache import find_cache, remove_cache
from dbx_patch.installer._changes import install_into, remove_from, remove_other_parts
from dbx_patch.installer._errors import InstallerError, NotLiveError, explain
from dbx_patch.installer._interpreter import NAME_ANOTHER, Interpreter, plain_environ, probe
from dbx_patch.installer._places import (
    Place,
    Slot,
    changes_another_environment,
    choose_places,
    find_kernel_obstacle,
    find_loaders,
    find_silenced,
    find_slot,
    find_startup_wheel,
    list_foreign,
)
from dbx_patch.installer._proof import verify
from dbx_patch.installer._receipts import forget, record
from dbx_patch.installer._results import Installation, Status, Uninstallation, name_command
from dbx_patch.installer.files import Transaction, lock, read
from dbx_patch.installer.shim_files import find_parts, is_shim_file, read_stamp
from dbx_patch.sitecustomize_template import SHIM, template

RETRY = "then run the command again."
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
"""The errors that concern one place only: no right to change it, a read-only disk, or a file that is a mount."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an install may do."""

    force: bool = False
    """Replace a newer shim, and one that was edited by hand."""
    strict: bool = False
    """Try only the slots that reach notebooks."""
    alone: bool = False
    """Try only the slot that works in this environment only."""
    dry_run: bool = False
    """Change and verify nothing."""
    outside_databricks: bool = False
    """Where this is no Databricks node, also change a file that other environments use."""


def install(
    python: str,
    *,
    force: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    outside_databricks: bool = False,
) -> Installation:
    """Install the shim for an interpreter, and verify it there and in notebook environments created from it.

    A newer shim is kept, and one that was edited by hand is refused, unless `force` is set. With `strict`, only the
    slots that reach notebooks are tried. With `dry_run`, nothing is changed or verified. Where this is no Databricks
    node, a file that other environments use too is only changed if `outside_databricks` is set.

    Raises InstallerError if the install or its verification fails. Then everything is restored.
    """
    options = Options(force=force, strict=strict, dry_run=dry_run, outside_databricks=outside_databricks)
    return install_with(options, python)


def install_alone(python: str) -> Installation:
    """Install the shim for the interpreter's own environment, and for none that is created from it.

    Raises InstallerError as `install` does.
    """
    return install_with(Options(alone=True), python)


def install_with(options: Options, python: str) -> Installation:
    """Install the shim for an interpreter at the first place that can be used."""
    with lock_and_probe(python) as interpreter:
        shim = interpreter.purelib / SHIM
        newer = None if options.force else find_newer(shim)
        if newer:
            loader = next((loader for loader, loaded in find_loaders(interpreter) if loaded == shim), None)
            kept = Installation(
                python, newer, find_slot(loader), str(shim), str(loader), kept=True, notebook=interpreter.is_notebook
            )
            if options.strict and not kept.reaches_notebooks:
                msg = (
                    f"Nothing was changed for {python}.\nIts dbx-patch {newer} is newer, and does not reach notebooks."
                )
                raise InstallerError(msg, fix="to replace it, run the command again with `--force`.")
            return kept
        if not options.force:
            refuse_edited(shim)
        places, reasons = choose_places(interpreter, strict=options.strict)
        for place in places:
            if options.alone and place.slot is not Slot.PTH:
                continue
            if not options.outside_databricks and changes_another_environment(interpreter, place):
                raise refuse_outside(python, place)
            try:
                done = install_at(interpreter, place, reasons, dry_run=options.dry_run)
            except (NotLiveError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in CLOSED:
                    raise
                reasons.append(explain(error))
                continue
            if not options.dry_run:
                record(python, shim, {"version": done.version, "slot": done.slot, "loader": done.loader})
            return done
    raise give_up(python, reasons, strict=options.strict)


def install_at(interpreter: Interpreter, place: Place, passed_over: list[str], *, dry_run: bool) -> Installation:
    """Install the shim at a place, and verify that it runs.

    Raises NotLiveError if it doesn't, InstallerError if that can't be verified, and OSError. Then everything is
    restored.
    """
    with Transaction(dry_run=dry_run) as transaction:
        install_into(transaction, interpreter, place)
        started = time.monotonic()
        if not dry_run:
            verify(interpreter, place)  # inside: if it raises, the transaction is undone
        proof_ms = round((time.monotonic() - started) * 1000)
        # After the proof, which takes a second: a Python that read the former shim has loaded that one's parts by then.
        remove_other_parts(transaction, place)
    if not dry_run:
        sweep(interpreter, transaction.changed)
    return Installation(
        interpreter.python,
        template.VERSION,
        place.slot,
        str(place.shim),
        str(place.loader),
        [str(path) for path in transaction.changed],
        proof_ms,
        passed_over=passed_over,
        dry_run=dry_run,
        notebook=interpreter.is_notebook,
        silenced=find_silenced(interpreter.layers) if place.slot is Slot.OWN else None,
    )


def uninstall(python: str, *, dry_run: bool = False) -> Uninstallation:
    """Remove the shim of an interpreter, whichever version installed it, and restore every other file.

    The byte code of editable packages that is cached for this user is removed too. If that fails, it stays.

    Raises InstallerError if that fails. Then everything is as it was before.
    """
    with lock_and_probe(python) as interpreter:
        with Transaction(dry_run=dry_run) as transaction:
            remove_from(transaction, interpreter)
            changed = transaction.changed
            live = probe(python, plain_environ()).live if changed and not dry_run else interpreter.live
            own = live is not None and Path(live["file"]).parent.resolve() == interpreter.purelib
            if live and own and not dry_run:
                msg = f"The shim is still live in {python}, and everything was restored.\nIt is {live['file']}."
                raise InstallerError(msg, fix=f"remove what else loads this file, {RETRY}")
        if not dry_run:
            sweep(interpreter, changed)
            forget(interpreter.purelib / SHIM)
    elsewhere = live["file"] if live and not own else None
    cache, kept = remove_cache(find_cache(), dry_run=dry_run)
    files = [str(path) for path in changed]
    return Uninstallation(python, files, elsewhere, dry_run=dry_run, cache=cache, cache_kept=kept)


def status(python: str) -> Status:
    """Return the state of the shim in an interpreter. Raises InstallerError if the interpreter can't be started."""
    interpreter = probe(python)
    live = interpreter.live or {}
    loaders = [*find_loaders(interpreter), *find_startup_wheel(interpreter)]
    own = interpreter.purelib / SHIM
    installed = [*(shim for _, shim in loaders), *([own] if is_shim_file(read(own)) else [])]
    shim = Path(live["file"]) if live else next(iter(installed), None)
    loader = next((loader for loader, loaded in loaders if shim and is_same(loaded, shim)), None)
    first = next(iter(interpreter.sitecustomizes), None)
    stamp = read_stamp(read(shim)) if shim else None
    slot = find_slot(loader)
    alone = slot in (Slot.PTH, Slot.WHEEL)
    obstacle = find_kernel_obstacle(interpreter) if live and not alone else None
    passed_over = [obstacle] if obstacle else []
    if live and slot is Slot.PTH:
        try:
            passed_over = choose_places(interpreter, strict=True)[1]
        except OSError as error:  # this user need not be able to look at every file
            passed_over = [explain(error)]
    return Status(
        python=python,
        live=bool(live),
        version=live.get("version") or (stamp.version if stamp else None),
        slot=slot,
        file=str(shim) if shim else None,
        shadowed_by=str(first) if shim and first and not live and first != loader else None,
        disabled=template.is_switched_on(b"DBX_PATCH_DISABLE"),
        hooks=live.get("hooks") or dict.fromkeys(template.HOOKS, ""),
        layers=list(interpreter.layers),
        reaches_notebooks=bool(live) and not alone and not obstacle,
        passed_over=passed_over,
        notebook=interpreter.is_notebook,
        others=[name_shim(other) for other in dict.fromkeys(installed) if shim and not is_same(other, shim)],
    )


def is_same(one: Path, other: Path) -> bool:
    """Return whether two paths name the same file: `site` knows a folder by another path than the installer does."""
    return one.resolve() == other.resolve()


def name_shim(shim: Path) -> str:
    """Return the file of a shim, with its version."""
    stamp = read_stamp(read(shim))
    return f"{shim} (dbx-patch {stamp.version if stamp else 'of an unknown version'})"


# Before a change


@contextlib.contextmanager
def lock_and_probe(python: str) -> Iterator[Interpreter]:
    """Hold the folders that an install for an interpreter changes, and yield the interpreter's description.

    Raises InstallerError if the interpreter can't be used, another installer holds a folder, or a change fails.
    """
    interpreter = probe(python, plain_environ())
    if not interpreter.purelib.is_dir():
        msg = f"Nothing was changed for {python}.\nIts site-packages folder does not exist: {interpreter.purelib}."
        raise InstallerError(msg, fix=f"create that folder, or {NAME_ANOTHER}")
    loaders = [loader for loader, _ in find_loaders(interpreter)]
    files = [interpreter.purelib / SHIM, *list_foreign(interpreter), *loaders]
    folders = [folder for file in files for folder in (file.parent, file.parent / "__pycache__", file.resolve().parent)]
    try:
        with lock(folders):
            # Again, now under the lock: another installer can have changed everything while this one waited. The
            # first answer only served to find the folders.
            yield probe(python, plain_environ())
    except OSError as error:
        msg = f"Nothing was changed for {python}.\n{explain(error)}"
        raise InstallerError(msg, fix=f"resolve this error, {RETRY}") from error


def find_newer(shim: Path) -> str | None:
    """Return the version of an installed shim if it is newer than ours, else None."""
    stamp = read_stamp(read(shim))
    try:
        newer = stamp is not None and Version(stamp.version) > Version(template.VERSION)
    except InvalidVersion:
        return None
    return stamp.version if stamp and newer else None


def refuse_edited(shim: Path) -> None:
    """Raise InstallerError if a file of the shim was edited by hand."""
    for file in (shim, *find_parts(shim)):
        stamp = read_stamp(read(file))
        if stamp and stamp.edited:
            msg = f"Nothing was changed.\n{file} was edited by hand."
            raise InstallerError(msg, fix="to overwrite it, run the command again with `--force`.")


def refuse_outside(python: str, place: Place) -> InstallerError:
    """Return the error for an install that would change other environments of a machine that is no Databricks node."""
    msg = (
        f"Nothing was changed for {python}.\n"
        "This is no Databricks node: /databricks is missing, and DATABRICKS_RUNTIME_VERSION is not set.\n"
        "The install would change a file outside this environment, which other environments use too.\n"
        f"It is {place.loader.resolve()}."
    )
    fix = (
        "to change that file all the same, run the command again with `--outside-databricks`.\n"
        "For this environment only, install the wheel that `dbx-patch startup-wheel` writes."
    )
    return InstallerError(msg, fix=fix)


def give_up(python: str, reasons: list[str], *, strict: bool = False) -> InstallerError:
    """Return the error for when no place can be used: every reason, and what to do."""
    fix = f"remove these obstacles, {RETRY}"
    if os.geteuid():
        fix = f"run `sudo {name_command(python)}`."
    head = f"Nothing was installed for {python}, and nothing was changed."
    until = "Until then, run `import dbx_patch; dbx_patch.patch_dbx()` in each notebook."
    lines = [head, *(["Notebooks can't be reached, and `--strict` asks for that."] if strict else []), *reasons]
    return InstallerError("\n".join(dict.fromkeys(lines)), fix=f"{fix}\n{until}")
