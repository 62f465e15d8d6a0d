"""Installs the shim, takes it away, and tells how it stands: the order of the steps, each of which lies elsewhere."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch.installer._changes import put_into, sweep, take_away
from dbx_patch.installer._errors import InstallerError, NotLiveError
from dbx_patch.installer._interpreter import Answer, ask, plain_environ
from dbx_patch.installer._places import SHIM_FILE, Place, Slot, choose_places, find_hosts, read, slot_of
from dbx_patch.installer._proof import prove
from dbx_patch.installer._receipts import forget, record
from dbx_patch.installer._results import Shown
from dbx_patch.installer.files import Transaction, lock
from dbx_patch.installer.shim_files import is_ours, list_parts, read_stamp
from dbx_patch.sitecustomize_template import template
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class Installation(Shown):
    """What `install` did."""

    python: str
    version: str
    slot: Slot | None
    file: str
    """The shim."""
    host: str
    """What loads it: in slot 1 a `sitecustomize` of our own, in slot 2 somebody else's, in slot 3 a `.pth` file."""
    changed: list[str] = field(default_factory=list)
    """The files that were written or removed; none if it was installed already."""
    proof_ms: int = 0
    """Milliseconds it took to start the interpreter and a notebook environment, and see the shim alive in both."""
    kept: bool = False
    """Whether a newer version was there, and was left alone."""
    passed_over: list[str] = field(default_factory=list)
    """Why slots before this one did not serve."""
    dry_run: bool = False
    """Whether nothing was done, and `changed` tells what would be."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return what was done, for people. Byte-code files are listed only if `verbose`."""
        if self.kept:
            newer = f"dbx-patch {self.version} is installed for {self.python}, which is newer than {template.VERSION}"
            return f"{newer}; it was kept.\nTo replace it, run the same with --force."
        shown = select(self.changed, verbose=verbose)
        if self.dry_run:
            head = (
                f"This would install dbx-patch {self.version} for {self.python} (slot {self.slot}), and write or remove"
            )
            return "\n".join([f"{head}:", *indent(shown or ["nothing"])])
        lines = [f"dbx-patch {self.version} is already installed for {self.python}; nothing was changed."]
        if self.changed:
            lines = [f"Installed dbx-patch {self.version} for {self.python}:", *indent(shown)]
        lines += [f"A better place could not be had: {reason}." for reason in self.passed_over]
        if self.slot == Slot.FOREIGN:
            lines.append(f"{self.host} is somebody else's; it runs as before, and then loads {self.file}.")
        alone = self.slot == Slot.PTH
        where = (
            "there, which is good for this environment alone,"
            if alone
            else "there, and in notebook environments made from it,"
        )
        lines.append(f"Seen alive {where} in {self.proof_ms} ms.")
        if self.changed:
            lines.append("Notebooks that are running now pick it up when they are restarted.")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Uninstallation(Shown):
    """What `uninstall` did."""

    python: str
    changed: list[str] = field(default_factory=list)
    """The files that were restored or removed; none if there was nothing to do."""
    still_live: str | None = None
    """The shim of another environment that runs in this interpreter, if one does."""
    dry_run: bool = False
    """Whether nothing was done, and `changed` tells what would be."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, verbose: bool = False) -> str:
        """Return what was done, for people. Byte-code files are listed only if `verbose`."""
        lines = [f"dbx-patch is not installed for {self.python}; there is nothing to do."]
        if self.changed:
            done = "This would uninstall" if self.dry_run else "Uninstalled"
            then = ", and restore or remove:" if self.dry_run else "; restored or removed:"
            lines = [f"{done} dbx-patch for {self.python}{then}", *indent(select(self.changed, verbose=verbose))]
        if self.still_live:
            then = "to uninstall that one, run this by its own environment's Python"
            lines.append(f"{self.still_live} runs there as well; {then}.")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Status(Shown):
    """How the shim stands in one interpreter, as this process's environment starts it."""

    python: str
    live: bool
    version: str | None
    """The running shim's version, else the installed one's."""
    slot: int | None
    file: str | None
    """The running shim's file, else the installed one's."""
    shadowed_by: str | None
    """Somebody else's `sitecustomize` that stands before the installed shim and does not load it."""
    disabled: bool
    """Whether DBX_PATCH_DISABLE turns it off in this environment."""
    hooks: dict[str, str]
    """The modules of the import hooks that the shim knows, each with its state if the shim is live."""
    layers: list[dict[str, Any]]

    def __str__(self) -> str:
        version = self.version or "of an unknown version"
        if self.live:
            slot = f" (slot {self.slot})" if self.slot else ""
            lines = [f"dbx-patch {version} is live in {self.python}, from {self.file}{slot}."]
        elif self.file is None:
            lines = [f"dbx-patch is not installed for {self.python}. To install it: {name_command(self.python)}"]
        elif self.disabled:
            lines = [f"dbx-patch {version} is installed in {self.file}, and turned off by DBX_PATCH_DISABLE."]
        else:
            cause = f"{self.shadowed_by} stands before it" if self.shadowed_by else "it is missing or broken"
            lines = [f"dbx-patch {version} is installed in {self.file}, but not live: {cause}."]
            lines.append(f"To mend that: {name_command(self.python)}")
        for layer in self.layers:
            lines.append(
                f"{layer['path']}{'' if layer['opened_by_site'] else '  (its .pth files are not read by Python)'}"
            )
            lines += [f"  {Path(editable['pth']).name}: {editable['line']}" for editable in layer["editables"]]
        lines.append("Databricks' import hooks that it patches:")
        return "\n".join([*lines, *(f"  {hook}{f': {state}' if state else ''}" for hook, state in self.hooks.items())])


def install(python: str, *, force: bool = False, alone: bool = False, dry_run: bool = False) -> Installation:
    """Install the shim for an interpreter, and prove that it runs there and in a notebook environment made from it.

    A newer shim is kept, and one that was edited by hand is not overwritten, but with `force`. With `alone` only the
    slot is tried that is good for this environment alone. With `dry_run` nothing is changed, and nothing proved. Raises
    InstallerError if it can't be done, or is not seen; then everything is as it was.
    """
    with work_on(python) as answer:
        shim = answer.purelib / SHIM_FILE
        kept = None if force else find_newer(shim)
        if kept:
            host = next((host for host, loaded in find_hosts(answer) if loaded == shim), None)
            return Installation(python, kept, slot_of(host), str(shim), str(host), kept=True)
        if not force:
            refuse_edited(shim)
        places, reasons = choose_places(answer)
        for place in places:
            if alone and place.slot is not Slot.PTH:
                continue
            try:
                done = put(answer, place, reasons, dry_run=dry_run)
            except (NotLiveError, PermissionError) as error:
                reasons.append(explain(error))
                continue
            if not dry_run:
                record(python, shim, {"version": done.version, "slot": done.slot, "host": done.host})
            return done
    raise InstallerError(give_up(python, reasons))


def uninstall(python: str, *, dry_run: bool = False) -> Uninstallation:
    """Remove the shim of an interpreter, whichever version wrote it, and restore every other file.

    Raises InstallerError if that can't be done; then everything is as it was.
    """
    with work_on(python) as answer:
        with Transaction(dry_run=dry_run) as transaction:
            take_away(transaction, answer)
            changed = transaction.changed
            live = ask(python, plain_environ()).live if changed and not dry_run else answer.live
            own = live is not None and Path(live["file"]).parent.resolve() == answer.purelib
            if live and own and not dry_run:
                msg = f"{live['file']} still runs in {python}. Everything was put back."
                raise InstallerError(msg)
        if not dry_run:
            sweep(answer, changed)
            forget(answer.purelib / SHIM_FILE)
    elsewhere = live["file"] if live and not own else None
    return Uninstallation(python, [str(path) for path in changed], elsewhere, dry_run=dry_run)


def put(answer: Answer, place: Place, passed_over: list[str], *, dry_run: bool) -> Installation:
    """Put the shim into a place, and prove that it runs.

    Raises NotLiveError if it does not, InstallerError if that can't be told, and OSError; then everything is put back.
    """
    with Transaction(dry_run=dry_run) as transaction:
        put_into(transaction, answer, place)
        started = time.monotonic()
        if not dry_run:
            prove(answer, place)
        proof_ms = round((time.monotonic() - started) * 1000)
    if not dry_run:
        sweep(answer, transaction.changed)
    return Installation(
        answer.python,
        template.VERSION,
        place.slot,
        str(place.shim),
        str(place.host),
        [str(path) for path in transaction.changed],
        proof_ms,
        passed_over=passed_over,
        dry_run=dry_run,
    )


def status(python: str) -> Status:
    """Tell how the shim stands in an interpreter. Changes nothing. Raises InstallerError if it can't be started."""
    answer = ask(python)
    live = answer.live or {}
    hosts = find_hosts(answer)
    own = answer.purelib / SHIM_FILE
    installed = [*(shim for _, shim in hosts), *([own] if is_ours(read(own)) else [])]
    shim = Path(live["file"]) if live else next(iter(installed), None)
    host = next((host for host, loaded in hosts if loaded == shim), None)
    first = next(iter(answer.sitecustomizes), None)
    stamp = read_stamp(read(shim)) if shim else None
    return Status(
        python=python,
        live=bool(live),
        version=live.get("version") or (stamp.version if stamp else None),
        slot=slot_of(host),
        file=str(shim) if shim else None,
        shadowed_by=str(first) if shim and first and not live and first != host else None,
        disabled=template.is_switched_on(b"DBX_PATCH_DISABLE"),
        hooks=live.get("hooks") or dict.fromkeys(template.HOOKS, ""),
        layers=list(answer.layers),
    )


# Before


@contextlib.contextmanager
def work_on(python: str) -> Iterator[Answer]:
    """Ask an interpreter, and hold the folders that the answer is about while it is acted on.

    Raises InstallerError if the interpreter can't be used, or somebody else holds them.
    """
    answer = ask(python, plain_environ())
    if not answer.purelib.is_dir():
        msg = f"{python} has no site-packages to install into: {answer.purelib} is not there. Nothing was changed."
        raise InstallerError(msg)
    files = [answer.purelib / SHIM_FILE, *answer.sitecustomizes, *(host for host, _ in find_hosts(answer))]
    folders = [folder for file in files for folder in (file.parent, file.parent / "__pycache__", file.resolve().parent)]
    try:
        with lock(folders):
            yield ask(python, plain_environ())  # it may be another by now
    except OSError as error:
        msg = f"{explain(error)}. Nothing was changed for {python}. When that is mended, run the same again."
        raise InstallerError(msg) from error


def find_newer(shim: Path) -> str | None:
    """Find the version of an installed shim that is newer than ours."""
    stamp = read_stamp(read(shim))
    try:
        newer = stamp is not None and Version(stamp.version) > Version(template.VERSION)
    except InvalidVersion:
        return None
    return stamp.version if stamp and newer else None


def refuse_edited(shim: Path) -> None:
    """Raise InstallerError for a shim that somebody has edited by hand."""
    for file in (shim, *list_parts(shim)):
        stamp = read_stamp(read(file))
        if stamp and stamp.edited:
            msg = f"{file} was edited by hand; nothing was changed. To overwrite it, run the same with --force."
            raise InstallerError(msg)


def explain(error: Exception) -> str:
    """Say what was met."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return str(error)


def give_up(python: str, reasons: list[str]) -> str:
    """Say what stands in the way, and what to run instead."""
    why = "; ".join(reason.rstrip(".") for reason in reasons)
    then = (
        f"As root it may work: sudo {name_command(python)}"
        if os.geteuid()
        else "When that is mended, run the same again"
    )
    return (
        f"Nothing was installed for {python}, and nothing was changed: {why}."
        f" {then}. Until then, in a notebook: import dbx_patch; dbx_patch.patch_dbx()"
    )


def name_command(python: str) -> str:
    """Write the command that installs for an interpreter, whether or not it has this package itself."""
    command = [sys.executable, "-m", "dbx_patch.install"]
    return shlex.join(command if python == sys.executable else [*command, "--python", python])


def select(files: list[str], *, verbose: bool) -> list[str]:
    """Return the files to list: all if `verbose`, else without byte code."""
    return [file for file in files if verbose or Path(file).parent.name != "__pycache__"]


def indent(files: list[str]) -> list[str]:
    """List files, one a line."""
    return [f"  {file}" for file in files]
