"""Let one installer at a time work in a folder, on this node or on another one that shares the folder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer.files._replacing import TEMPORARY

PATIENCE = 60.0
"""Seconds to wait for another installer; each holds its folders for some seconds at most."""
PAUSE = 0.05
"""Seconds between two attempts."""


@contextlib.contextmanager
def lock(folders: Iterable[Path]) -> Iterator[None]:
    """Hold folders exclusively, and remove files that a killed installer left half-written there.

    The folders themselves are locked, not a file in them. So no lock file is left behind, and there is none to remove
    while a second process waits on it and a third locks its successor. The kernel releases the lock of a killed
    process, so there is no stale lock to detect either.

    Raises InstallerError if another installer holds a folder for longer than PATIENCE.
    """
    with contextlib.ExitStack() as held:
        deadline = time.monotonic() + PATIENCE
        # All installers lock in the same order; in different orders two could wait for each other forever.
        for folder in sorted({folder.resolve() for folder in folders if folder.is_dir()}):
            try:
                # Not inherited by the interpreters that are started meanwhile (PEP 446): flock(2) keeps a lock until
                # the last copy of the descriptor is closed.
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:  # not readable, so not a folder this user can change; the change itself reports that
                continue
            held.callback(os.close, descriptor)
            acquire(descriptor, folder, deadline)
            for left in folder.glob(f"{TEMPORARY}*"):  # under the lock: no other installer can still be using them
                with contextlib.suppress(OSError):
                    left.unlink()
        yield


def acquire(descriptor: int, folder: Path, deadline: float) -> None:
    """Lock an open folder.

    Raises InstallerError if another process still holds the lock at `deadline`, a time of the monotonic clock. flock(2)
    has no timeout of its own, and an alarm signal would only work in the main thread, so this polls.
    """
    import fcntl  # noqa: PLC0415  # not on Windows

    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                msg = f"Another dbx-patch is working in {folder}.\nNothing was changed."
                raise InstallerError(msg, fix="wait until it is done, then run the command again.") from None
            time.sleep(PAUSE)
        except OSError:
            # The file system has no locks (ENOLCK, EOPNOTSUPP), or is an NFS mount, where an exclusive flock needs a
            # descriptor open for writing, which a folder can't have (EBADF, flock(2)). Two installers at the same
            # time are rare, and every single file is replaced in one step in any case; refusing to install is worse.
            return
        else:
            return
