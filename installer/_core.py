"""Installs the shim, takes it away, and tells how it stands: the order of the steps, each of which lies elsewhere."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch.installer._block import add_block, list_shims, remove_block, write_pth
from dbx_patch.installer._exceptions import InstallerError, NotAliveError
from dbx_patch.installer._interpreter import Answer, ask, last_line, plain_environ, run
from dbx_patch.installer._lock import lock
from dbx_patch.installer._render import list_parts, read_stamp, render
from dbx_patch.installer._slots import (
    PTH_FILE,
    SHIM_FILE,
    Place,
    Slot,
    choose_places,
    find_hosts,
    find_kernel_folders,
    find_obstacle,
    list_sitecustomizes,
    read,
    slot_of,
)
from dbx_patch.installer._transaction import Transaction
from dbx_patch.sitecustomize_template import sitecustomize
from packaging.version import InvalidVersion, Version

SAVED = ".before-dbx-patch"
"""Marks the byte code of somebody else's `sitecustomize` as it was, kept beside it until the shim is uninstalled."""
PUT_BACK = "Everything was put back."


@dataclass(frozen=True, slots=True)
class Installation:
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
    dry_run: bool = False
    """Whether nothing was done, and `changed` tells what would be."""


@dataclass(frozen=True, slots=True)
class Uninstallation:
    """What `uninstall` did."""

    python: str
    changed: list[str] = field(default_factory=list)
    """The files that were restored or removed; none if there was nothing to do."""
    still_live: str | None = None
    """The shim of another environment that runs in this interpreter, if one does."""
    dry_run: bool = False
    """Whether nothing was done, and `changed` tells what would be."""


@dataclass(frozen=True, slots=True)
class Status:
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


def install(python: str, *, force: bool = False, dry_run: bool = False) -> Installation:
    """Install the shim for an interpreter, and prove that it runs there and in a notebook environment made from it.

    A newer shim is kept, and one that was edited by hand is not overwritten, but with `force`. With `dry_run` nothing
    is changed, and nothing proved. Raises InstallerError if it can't be done, or is not seen; then everything is as it
    was.
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
            try:
                return put(answer, place, dry_run=dry_run)
            except NotAliveError as error:
                reasons.append(str(error))
            except OSError as error:
                reasons.append(explain(error, answer))
    raise InstallerError(give_up(python, reasons))


def uninstall(python: str, *, dry_run: bool = False) -> Uninstallation:
    """Remove the shim of an interpreter, whichever version wrote it, and restore every other file.

    Raises InstallerError if that can't be done; then everything is as it was.
    """
    with work_on(python) as answer:
        try:
            with Transaction(dry_run=dry_run) as transaction:
                take_away(transaction, answer)
                changed = transaction.changed
                live = ask(python, plain_environ()).live if changed and not dry_run else answer.live
                if live and not dry_run and Path(live["file"]).parent.resolve() == answer.purelib:
                    msg = f"{live['file']} still runs in {python}. {PUT_BACK}"
                    raise InstallerError(msg)
            if not dry_run:
                sweep(changed)
        except OSError as error:
            msg = f"{explain(error, answer)} Nothing was uninstalled or changed; run the same as its owner."
            raise InstallerError(msg) from error
    elsewhere = live["file"] if live and Path(live["file"]).parent.resolve() != answer.purelib else None
    return Uninstallation(python, [str(path) for path in changed], elsewhere, dry_run=dry_run)


def status(python: str) -> Status:
    """Tell how the shim stands in an interpreter. Changes nothing. Raises InstallerError if it can't be started."""
    answer = ask(python)
    live = answer.live or {}
    hosts = find_hosts(answer)
    own = answer.purelib / SHIM_FILE
    candidates = [Path(live["file"])] if live else [*(shim for _, shim in hosts), *filter(is_ours, [own])]
    shim = next(iter(candidates), None)
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
        disabled=sitecustomize.switched_on("DBX_PATCH_DISABLE"),
        hooks=live.get("hooks") or dict.fromkeys(sitecustomize.HOOKS, ""),
        layers=list(answer.layers),
    )


# Before


@contextlib.contextmanager
def work_on(python: str) -> Iterator[Answer]:
    """Ask an interpreter, and hold the folders that the answer is about while it is acted on.

    Raises InstallerError if the interpreter can't be used, or somebody else holds them.
    """
    answer = ask(python, plain_environ())
    hosts = [host.resolve().parent for host, _ in find_hosts(answer)]
    others = [file.resolve().parent for file in answer.sitecustomizes]
    folders = [answer.purelib, *hosts, *others]
    with lock([*folders, *(folder / "__pycache__" for folder in folders)]):
        yield ask(python, plain_environ())  # it may be another by now


def find_newer(shim: Path) -> str | None:
    """Find the version of an installed shim that is newer than ours."""
    stamp = read_stamp(read(shim))
    try:
        newer = stamp is not None and Version(stamp.version) > Version(sitecustomize.VERSION)
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


def is_ours(file: Path) -> bool:
    """Tell a file of the shim by its first line."""
    return read_stamp(read(file)) is not None


# The steps


def put(answer: Answer, place: Place, *, dry_run: bool) -> Installation:
    """Put the shim into a place, and prove that it runs.

    Raises NotAliveError if it does not, InstallerError if that can't be told, and OSError; then everything is put back.
    """
    with Transaction(dry_run=dry_run) as transaction:
        kernels = [] if place.slot is Slot.PTH else [find_kernel_host(answer)]
        hosts = [place.host, *(host for host in kernels if host and host.resolve() != place.host.resolve())]
        for host, shim in find_hosts(answer):  # of a slot that was right before
            if shim == place.shim and host.resolve() not in [kept.resolve() for kept in hosts]:
                restore_host(transaction, answer, host, shim)
        for file, content in render(answer, place.shim).items():
            transaction.write(file, content)
            write_byte_code(transaction, answer, file)
        if place.slot is Slot.PTH:
            transaction.write(place.host, write_pth(str(place.shim)))
        else:
            for host in hosts:
                extend_host(transaction, answer, host, place.shim)
        started = time.monotonic()
        if not dry_run:
            prove(answer, place)
        proof_ms = round((time.monotonic() - started) * 1000)
    if not dry_run:
        sweep(transaction.changed)
    return Installation(
        answer.python,
        sitecustomize.VERSION,
        place.slot,
        str(place.shim),
        str(place.host),
        [str(path) for path in transaction.changed],
        proof_ms,
        dry_run=dry_run,
    )


def find_kernel_host(answer: Answer) -> Path | None:
    """Find somebody else's `sitecustomize` that stands before all others in a kernel.

    Raises NotAliveError if it can't be extended.
    """
    folders = find_kernel_folders(answer)
    if not folders:
        return None
    host = list_sitecustomizes(folders[0])[0]
    obstacle = find_obstacle(Place(Slot.FOREIGN, answer.purelib / SHIM_FILE, host))
    if obstacle:
        msg = f"A notebook's kernel loads {host} before all others, and {obstacle}."
        raise NotAliveError(msg)
    return host


def take_away(transaction: Transaction, answer: Answer) -> None:
    """Remove the shim, and restore what loads it."""
    own = answer.purelib / SHIM_FILE
    hosts = [host for host, shim in find_hosts(answer) if shim == own]
    for host in hosts:
        restore_host(transaction, answer, host, own)
    for file in (own, *list_parts(own)):
        if hosts or is_ours(file):
            remove_with_byte_code(transaction, file)
    for file in answer.sitecustomizes:
        if not list_shims(transaction.read(file.resolve()) or b""):  # deleted by hand, or by a package manager
            byte_code = byte_code_of(file, answer)
            transaction.rename(saved(byte_code), byte_code)


def extend_host(transaction: Transaction, answer: Answer, host: Path, shim: Path) -> None:
    """Have a `sitecustomize` load the shim: somebody else's, or one of our own where there is none.

    Somebody else's keeps its modification time: with it and its old size, its old byte code is good again once our
    lines are gone.
    """
    before = host.read_bytes() if host.exists() else None
    after = add_block(before, str(shim))
    if after != before:
        if before is not None and not list_shims(before):
            byte_code = byte_code_of(host, answer)
            transaction.rename(byte_code, saved(byte_code))
        transaction.write(host.resolve(), after, like=host.stat() if before is not None else None)
    write_byte_code(transaction, answer, host)


def restore_host(transaction: Transaction, answer: Answer, host: Path, shim: Path) -> None:
    """Take what loads a shim out of a file; remove the file if it was made for that."""
    if host.name == PTH_FILE:
        transaction.remove(host)
        return
    after = remove_block(host.read_bytes(), str(shim))
    if after is None:
        remove_with_byte_code(transaction, host)
        return
    transaction.write(host.resolve(), after, like=host.stat())
    if list_shims(after):  # another environment's, over the same interpreter
        write_byte_code(transaction, answer, host)
    else:
        byte_code = byte_code_of(host, answer)
        transaction.remove(byte_code)
        transaction.rename(saved(byte_code), byte_code)


def remove_with_byte_code(transaction: Transaction, file: Path) -> None:
    """Remove a file of ours with its byte code, of every Python and optimization level."""
    transaction.remove(file)
    for byte_code in sorted(file.parent.glob(f"__pycache__/{file.stem}.*.pyc")):
        transaction.remove(byte_code)


def write_byte_code(transaction: Transaction, answer: Answer, file: Path) -> None:
    """Cache a file's byte code: who starts Python later may not be allowed to, and would compile it every time."""
    byte_code = byte_code_of(file, answer)
    if file.resolve() not in transaction.changed and is_fresh(byte_code, file, answer):
        return
    if transaction.dry_run:
        transaction.write(byte_code, b"")
        return
    with tempfile.TemporaryDirectory(prefix="dbx-patch-") as folder:
        compiled = Path(folder, "compiled.pyc")
        code = (
            "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True,"
            " invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)"
        )
        done = run([answer.python, "-ISB", "-c", code, str(file), str(compiled)], plain_environ())
        if done.returncode:
            msg = f"{answer.python} can't compile {file}: {last_line(done.stderr)}. {PUT_BACK} Mend that file first."
            raise InstallerError(msg)
        transaction.make_folder(byte_code.parent)
        transaction.write(byte_code, compiled.read_bytes())


def byte_code_of(file: Path, answer: Answer) -> Path:
    """Name the file in which an interpreter caches a module's byte code (:pep:`3147`)."""
    return file.parent / "__pycache__" / f"{file.stem}.{answer.cache_tag}.pyc"


def saved(byte_code: Path) -> Path:
    """Name the file that keeps byte code as it was."""
    return byte_code.with_name(byte_code.name + SAVED)


def is_fresh(byte_code: Path, file: Path, answer: Answer) -> bool:
    """Tell whether cached byte code is of a file as it stands, by the header that Python compares (:pep:`552`)."""
    status = file.stat()
    header = answer.magic + struct.pack("<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return (read(byte_code) or b"").startswith(header)


def prove(answer: Answer, place: Place) -> None:
    """Start the interpreter, and a notebook environment made from it, and see the shim alive in both."""
    check_alive(ask(answer.python, plain_environ()), answer, place)
    if place.slot is Slot.PTH:  # it is good for that environment alone
        return
    folders = find_kernel_folders(answer)
    if folders:
        path = os.pathsep.join(map(str, folders))
        check_alive(ask(answer.python, plain_environ() | {"PYTHONPATH": path}), answer, place)
    with tempfile.TemporaryDirectory(prefix="dbx-patch-") as folder:
        done = run([answer.python, "-IB", "-m", "venv", "--without-pip", folder], plain_environ())
        if done.returncode:
            msg = f"{answer.python} can't make a notebook environment as a proof: {last_line(done.stderr)}. {PUT_BACK}"
            raise InstallerError(msg)
        major, minor = answer.version[:2]
        layer = Path(folder, "lib", f"python{major}.{minor}", "site-packages")
        # As on Databricks: `site` opens the environment's own layer, and the layers below are plain entries.
        layer.joinpath("layers.pth").write_text("".join(f"{below['path']}\n" for below in answer.layers), "utf-8")
        check_alive(ask(str(Path(folder, "bin", "python")), plain_environ()), answer, place)


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
        msg = f"The shim is not alive in {found.python}: {cause}{said}. {PUT_BACK}"
        raise NotAliveError(msg)
    if found.live["version"] != sitecustomize.VERSION:
        msg = (
            f"{found.python} runs version {found.live['version']} from {found.live['file']} instead. {PUT_BACK}"
            " Upgrade that one first."
        )
        raise NotAliveError(msg)
    if found.stderr and not answer.stderr:
        msg = f"{found.python} wrote to stderr as it started with the shim: {last_line(found.stderr)}. {PUT_BACK}"
        raise NotAliveError(msg)


def sweep(changed: Iterable[Path]) -> None:
    """Remove the byte code folders that have been emptied."""
    for folder in {path.parent for path in changed if path.parent.name == "__pycache__"}:
        with contextlib.suppress(OSError):
            folder.rmdir()


def explain(error: OSError, answer: Answer) -> str:
    """Say what a file system call has met."""
    return f"{error.filename or answer.purelib}: {error.strerror or error}."


def give_up(python: str, reasons: list[str]) -> str:
    """Say what stands in the way, and what to run instead."""
    why = "; ".join(reason.rstrip(".") for reason in reasons)
    return (
        f"Nothing was installed for {python}, and nothing was changed: {why}."
        " Run the same as its owner (on a cluster from an init script), or in a notebook dbx_patch.patch_dbx()."
    )
