"""Installs the shim, takes it away, and tells how it stands: the order of the steps, each of which lies elsewhere."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbx_patch.installer._block import add_block, is_own, list_shims, remove_block
from dbx_patch.installer._exceptions import InstallerError
from dbx_patch.installer._interpreter import Answer, ask, last_line, plain_environ, run
from dbx_patch.installer._render import list_parts, read_stamp, render
from dbx_patch.installer._transaction import Transaction
from dbx_patch.sitecustomize_template import sitecustomize

SHIM_FILE = "dbx_patch_sitecustomize.py"
"""The shim, in the layer of the interpreter. A `sitecustomize` loads it by its path, and swallows what may be wrong."""
HOST_FILE = "sitecustomize.py"
"""The `sitecustomize` that is made where there is none."""
SAVED = ".before-dbx-patch"
"""Marks the byte code of somebody else's `sitecustomize` as it was, kept beside it until the shim is uninstalled."""
PUT_BACK = "Everything was put back."


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shim goes in one environment, or where it is."""

    slot: int
    """1: a `sitecustomize` of our own loads it; 2: somebody else's does."""
    shim: Path
    host: Path
    """The `sitecustomize` that loads the shim, as Python finds it: its byte code lies there, even if it is a link."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `install` did."""

    python: str
    version: str
    slot: int
    file: str
    """The shim."""
    host: str
    """The `sitecustomize` that loads it: in slot 1 our own, in slot 2 somebody else's."""
    changed: list[str] = field(default_factory=list)
    """The files that were written or removed; none if it was installed already."""
    proof_ms: int = 0
    """Milliseconds it took to start the interpreter and a notebook environment, and see the shim alive in both."""


@dataclass(frozen=True, slots=True)
class Uninstallation:
    """What `uninstall` did."""

    python: str
    changed: list[str] = field(default_factory=list)
    """The files that were restored or removed; none if there was nothing to do."""
    still_live: str | None = None
    """The shim of another environment that runs in this interpreter, if one does."""


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


def install(python: str) -> Installation:
    """Install the shim for an interpreter, and prove that it runs there and in a notebook environment made from it.

    Raises InstallerError if that can't be done or is not seen; then everything is as it was.
    """
    answer = ask(python, plain_environ())
    place = choose_place(answer)
    try:
        with Transaction() as transaction:
            for host, shim in find_hosts(answer):  # of a slot that was right before
                if shim == place.shim and host.resolve() != place.host.resolve():
                    restore_host(transaction, answer, host, shim)
            for file, content in render(answer, place.shim).items():
                transaction.write(file, content)
                write_byte_code(transaction, answer, file)
            extend_host(transaction, answer, place)
            started = time.monotonic()
            prove(answer, place)
            proof_ms = round((time.monotonic() - started) * 1000)
            changed = transaction.changed
        sweep(changed)
    except OSError as error:
        raise InstallerError(explain(error, answer, "installed")) from error
    files = [str(path) for path in changed]
    return Installation(python, sitecustomize.VERSION, place.slot, str(place.shim), str(place.host), files, proof_ms)


def uninstall(python: str) -> Uninstallation:
    """Remove the shim of an interpreter, whichever version wrote it, and restore every other file.

    Raises InstallerError if that can't be done; then everything is as it was.
    """
    answer = ask(python, plain_environ())
    try:
        with Transaction() as transaction:
            own = answer.purelib / SHIM_FILE
            hosts = [host for host, shim in find_hosts(answer) if shim == own]
            for host in hosts:
                restore_host(transaction, answer, host, own)
            for file in (own, *list_parts(own)):
                if hosts or is_ours(file):
                    remove_with_byte_code(transaction, file)
            for file in answer.sitecustomizes:
                if not list_shims(read(file) or b""):  # its lines were deleted by hand, or by a package manager
                    byte_code = byte_code_of(file, answer)
                    transaction.rename(saved(byte_code), byte_code)
            changed = transaction.changed
            live = ask(python, plain_environ()).live if changed else answer.live
            if live and Path(live["file"]).parent.resolve() == answer.purelib:
                msg = f"{live['file']} still runs in {python}. {PUT_BACK}"
                raise InstallerError(msg)
        sweep(changed)
    except OSError as error:
        raise InstallerError(explain(error, answer, "uninstalled")) from error
    return Uninstallation(python, [str(path) for path in changed], live["file"] if live else None)


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
        slot=None if host is None else 1 if is_own(read(host) or b"") else 2,
        file=str(shim) if shim else None,
        shadowed_by=str(first) if shim and first and not live and first != host else None,
        disabled=sitecustomize.switched_on("DBX_PATCH_DISABLE"),
        hooks=live.get("hooks") or dict.fromkeys(sitecustomize.HOOKS, ""),
        layers=list(answer.layers),
    )


# Where the shim goes, and where it is


def choose_place(answer: Answer) -> Place:
    """Choose the slot by the `sitecustomize` that the interpreter would load without us."""
    shim = answer.purelib / SHIM_FILE
    others = [file for file in answer.sitecustomizes if not is_own(read(file) or b"")]
    if not others:
        return Place(1, shim, answer.purelib / HOST_FILE)
    host = others[0]
    if host.suffix != ".py":
        msg = f"{host} answers `import sitecustomize` and has no source to extend; nothing was changed."
        raise InstallerError(msg)
    return Place(2, shim, host)


def find_hosts(answer: Answer) -> list[tuple[Path, Path]]:
    """List the `sitecustomize` files on the path that load a shim, each with that shim."""
    files = {file.resolve(): file for file in reversed(answer.sitecustomizes)}
    return [(host, Path(shim)) for host in reversed(files.values()) for shim in list_shims(read(host) or b"")]


def is_ours(file: Path) -> bool:
    """Tell a file of the shim by its first line."""
    return read_stamp(read(file)) is not None


def read(file: Path) -> bytes | None:
    """Read a file; None if it is not there, or not to be read."""
    try:
        return file.read_bytes()
    except OSError:
        return None


# The steps


def extend_host(transaction: Transaction, answer: Answer, place: Place) -> None:
    """Have a `sitecustomize` load the shim: somebody else's, or one of our own where there is none.

    Somebody else's keeps its modification time: with it and its old size, its old byte code is good again once our
    lines are gone.
    """
    host, shim = place.host, str(place.shim)
    before = host.read_bytes() if host.exists() else None
    after = add_block(before, shim)
    if after != before:
        if before is not None and not list_shims(before):
            byte_code = byte_code_of(host, answer)
            transaction.rename(byte_code, saved(byte_code))
        transaction.write(host.resolve(), after, like=host.stat() if before is not None else None)
    write_byte_code(transaction, answer, host)


def restore_host(transaction: Transaction, answer: Answer, host: Path, shim: Path) -> None:
    """Take the lines that load a shim out of a `sitecustomize`; remove it if it was made for them."""
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
        raise InstallerError(msg)
    if found.live["version"] != sitecustomize.VERSION:
        msg = (
            f"{found.python} runs version {found.live['version']} from {found.live['file']} instead. {PUT_BACK}"
            " Upgrade that one first."
        )
        raise InstallerError(msg)
    if found.stderr and not answer.stderr:
        msg = f"{found.python} wrote to stderr as it started with the shim: {last_line(found.stderr)}. {PUT_BACK}"
        raise InstallerError(msg)


def sweep(changed: Iterable[Path]) -> None:
    """Remove the byte code folders that have been emptied."""
    for folder in {path.parent for path in changed if path.parent.name == "__pycache__"}:
        with contextlib.suppress(OSError):
            folder.rmdir()


def explain(error: OSError, answer: Answer, done: str) -> str:
    """Say what a file system call has met, and what would help."""
    what = f"{error.filename or answer.purelib}: {error.strerror or error}."
    if isinstance(error, PermissionError):
        return f"{what} Nothing was {done} or changed; run the same as its owner, on a cluster from an init script."
    return f"{what} Nothing was {done} or changed."
