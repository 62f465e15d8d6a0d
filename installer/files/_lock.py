"""Lets one installer at a time work in a folder, on this node or another that shares it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer.files._transaction import TEMPORARY

PATIENCE = 60.0
"""Seconds that another installer is waited for; one takes less than one."""


@contextlib.contextmanager
def lock(folders: Iterable[Path]) -> Iterator[None]:
    """Hold folders for oneself, and clear them of what a killed installer has left half-written.

    The folders themselves are locked: no file is left behind, and the lock of a killed process is gone with it. A file
    system that knows no locks, as some NFS mounts, is worked in without. Raises InstallerError if somebody else holds a
    folder for longer than PATIENCE.
    """
    with contextlib.ExitStack() as held:
        deadline = time.monotonic() + PATIENCE
        for folder in sorted({folder.resolve() for folder in folders if folder.is_dir()}):  # in one order: no deadlock
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:  # whoever may not read it may not write there either, and is told so later
                continue
            held.callback(os.close, descriptor)
            acquire(descriptor, folder, deadline)
            for left in folder.glob(f"{TEMPORARY}*"):
                with contextlib.suppress(OSError):
                    left.unlink()
        yield


def acquire(descriptor: int, folder: Path, deadline: float) -> None:
    """Lock an open folder. Raises InstallerError if it is still locked at a time of the monotonic clock."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                msg = f"Another dbx-patch is at work in {folder}; nothing was changed. Run the same when it is done."
                raise InstallerError(msg) from None
            time.sleep(0.05)
        except OSError:
            return
        else:
            return
