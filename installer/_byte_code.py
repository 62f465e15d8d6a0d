"""Cache byte code beside the files that every start loads.

A user who can't write to `__pycache__` would otherwise compile these files at every start.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from pathlib import Path

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._interpreter import Interpreter, last_line, plain_environ, run
from dbx_patch.installer._trust import make_scratch_folder
from dbx_patch.installer.files import Transaction, read

SAVED = ".before-dbx-patch"
"""The suffix of a foreign `sitecustomize`'s byte code, which is kept beside the new one until the uninstall."""
COMPILE = (
    "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True,"
    " invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)"
)
"""By timestamp, as imports do it (PEP 552). The default of `py_compile` depends on `$SOURCE_DATE_EPOCH`."""


def name_byte_code(file: Path, interpreter: Interpreter) -> Path:
    """Return the file in which an interpreter caches a module's byte code (PEP 3147)."""
    return file.parent / "__pycache__" / f"{file.stem}.{interpreter.cache_tag}.pyc"


def save_byte_code(transaction: Transaction, interpreter: Interpreter, file: Path) -> None:
    """Keep a foreign file's byte code under another name."""
    byte_code = name_byte_code(file, interpreter)
    transaction.rename(byte_code, byte_code.with_name(byte_code.name + SAVED))


def restore_byte_code(transaction: Transaction, interpreter: Interpreter, file: Path) -> None:
    """Restore the byte code that `save_byte_code` kept, if there is any."""
    byte_code = name_byte_code(file, interpreter)
    transaction.rename(byte_code.with_name(byte_code.name + SAVED), byte_code)


def write_byte_code(transaction: Transaction, interpreter: Interpreter, file: Path) -> None:
    """Cache a file's byte code. Raises InstallerError if it can't be compiled, and OSError."""
    byte_code = name_byte_code(file, interpreter)
    if file.resolve() not in transaction.changed and is_fresh(byte_code, file, interpreter):
        return
    if transaction.dry_run:
        transaction.write(byte_code, b"")
        return
    with make_scratch_folder() as folder:
        compiled = Path(folder, "compiled.pyc")
        # In the target interpreter, whose byte code is of another version than ours. Compiled elsewhere first, since
        # py_compile gives the file the mode that the umask leaves.
        done = run([interpreter.python, "-ISB", "-c", COMPILE, str(file), str(compiled)], plain_environ())
        if done.returncode:
            cause = last_line(done.stderr).rstrip(".")
            msg = f"{interpreter.python} can't compile {file}.\n{cause}.\nNothing was changed."
            raise InstallerError(msg, fix="repair that file, then run the command again.")
        transaction.make_folder(byte_code.parent)
        transaction.write(byte_code, compiled.read_bytes())


def remove_with_byte_code(transaction: Transaction, file: Path) -> None:
    """Remove a file of ours with its byte code, of every Python and optimization level."""
    for byte_code in sorted(file.parent.glob(f"__pycache__/{file.stem}.*.pyc")):
        transaction.remove(byte_code)
    transaction.remove(file)  # last: if this is killed halfway, the next run still knows that the byte code is ours


def is_fresh(byte_code: Path, file: Path, interpreter: Interpreter) -> bool:
    """Return whether byte code belongs to the current source, by the header that Python compares (PEP 552)."""
    status = file.stat()
    header = interpreter.magic + struct.pack("<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return (read(byte_code) or b"").startswith(header)


def sweep(interpreter: Interpreter, changed: Iterable[Path]) -> None:
    """Remove `__pycache__` folders that are empty now, also after an earlier run that was killed before this step."""
    for folder in {interpreter.purelib / "__pycache__", *(path.parent for path in changed)}:
        if folder.name == "__pycache__":
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
