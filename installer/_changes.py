"""The steps of an install and an uninstall: which files they change, all in one transaction."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from pathlib import Path

from dbx_patch.installer._errors import InstallerError, NotLiveError
from dbx_patch.installer._interpreter import Answer, last_line, plain_environ, run
from dbx_patch.installer._places import (
    PTH_FILE,
    SHIM_FILE,
    Place,
    Slot,
    find_hosts,
    find_kernel_folders,
    find_obstacle,
    list_sitecustomizes,
    read,
)
from dbx_patch.installer._trust import scratch_folder
from dbx_patch.installer.files import Transaction
from dbx_patch.installer.shim_files import add_block, is_ours, list_parts, list_shims, remove_block, render, write_pth

SAVED = ".before-dbx-patch"
"""Marks the byte code of somebody else's `sitecustomize` as it was, kept beside it until the shim is uninstalled."""


def put_into(transaction: Transaction, answer: Answer, place: Place) -> None:
    """Put the shim into a place, and take it out of those where it was before.

    Raises NotLiveError if that is of no use, InstallerError if a file can't be compiled, and OSError.
    """
    kernels = [] if place.slot is Slot.PTH else [find_kernel_host(answer)]
    hosts = [place.host, *(host for host in kernels if host and host.resolve() != place.host.resolve())]
    for host, shim in find_hosts(answer):
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


def find_kernel_host(answer: Answer) -> Path | None:
    """Find somebody else's `sitecustomize` that stands before all others in a kernel.

    Raises NotLiveError if it can't be extended.
    """
    folders = find_kernel_folders(answer)
    if not folders:
        return None
    host = list_sitecustomizes(folders[0])[0]
    obstacle = find_obstacle(Place(Slot.FOREIGN, answer.purelib / SHIM_FILE, host))
    if obstacle:
        msg = f"A notebook's kernel loads {host} before all others, and {obstacle}"
        raise NotLiveError(msg)
    return host


def take_away(transaction: Transaction, answer: Answer) -> None:
    """Remove the shim, and restore what loads it."""
    own = answer.purelib / SHIM_FILE
    hosts = [(host, shim) for host, shim in find_hosts(answer) if shim in {own, host}]
    for host, shim in reversed(hosts):  # as they were added to a file, the last one first
        restore_host(transaction, answer, host, shim)
    for file in (own, *list_parts(own)):
        if hosts or is_ours(read(file)):
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
        transaction.write(host.resolve(), after, like=host if before is not None else None)
    write_byte_code(transaction, answer, host)


def restore_host(transaction: Transaction, answer: Answer, host: Path, shim: Path) -> None:
    """Take what loads a shim, or is one, out of a file; remove the file if it was made for that."""
    if host.name == PTH_FILE:
        transaction.remove(host)
        return
    after = remove_block(transaction.read(host.resolve()) or b"", "" if shim == host else str(shim))
    if after is None:
        remove_with_byte_code(transaction, host)
        return
    transaction.write(host.resolve(), after, like=host)
    if list_shims(after):  # another environment's, over the same interpreter
        write_byte_code(transaction, answer, host)
    else:
        byte_code = byte_code_of(host, answer)
        transaction.remove(byte_code)
        transaction.rename(saved(byte_code), byte_code)


def remove_with_byte_code(transaction: Transaction, file: Path) -> None:
    """Remove a file of ours with its byte code, of every Python and optimization level."""
    for byte_code in sorted(file.parent.glob(f"__pycache__/{file.stem}.*.pyc")):
        transaction.remove(byte_code)
    transaction.remove(file)  # last: as long as it is there, the next run knows that the others are ours


def write_byte_code(transaction: Transaction, answer: Answer, file: Path) -> None:
    """Cache a file's byte code: who starts Python later may not be allowed to, and would compile it every time."""
    byte_code = byte_code_of(file, answer)
    if file.resolve() not in transaction.changed and is_fresh(byte_code, file, answer):
        return
    if transaction.dry_run:
        transaction.write(byte_code, b"")
        return
    with scratch_folder() as folder:
        compiled = Path(folder, "compiled.pyc")
        code = (
            "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True,"
            " invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)"
        )
        done = run([answer.python, "-ISB", "-c", code, str(file), str(compiled)], plain_environ())
        if done.returncode:
            cause = last_line(done.stderr)
            msg = f"{answer.python} can't compile {file}: {cause}. Nothing was changed; mend that file first."
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


def sweep(answer: Answer, changed: Iterable[Path]) -> None:
    """Remove the byte code folders that have been emptied, also by a run that was killed before it came to that."""
    for folder in {answer.purelib / "__pycache__", *(path.parent for path in changed)}:
        if folder.name == "__pycache__":
            with contextlib.suppress(OSError):
                folder.rmdir()
