"""Write a file so that no reader sees half of it, even after a power failure."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from dbx_patch.installer.files._reading import FileState

TEMPORARY = ".dbx-patch-"
"""The prefix of files that are being written, and of originals that are kept until a transaction ends."""


def replace(path: Path, content: bytes, model: FileState) -> None:
    """Put a complete file at `path` in one step, with the metadata of `model`.

    Raises OSError, and then `path` is unchanged. Writing to `path` itself would be simpler, but every Python that
    starts reads these files: one that starts during the write would run half a file (virtualenv #2969).
    """
    # In the same folder, since rename(2) fails across file systems with EXDEV. The name is random and opened with
    # O_EXCL, so a link that another user placed there is never followed.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if hasattr(os, "fchown"):  # not on Windows, which has nothing of it
                copy_metadata(descriptor, model)
            # Before the rename: ext4 and XFS allocate blocks late, and a node that stops between the two steps could
            # otherwise come back with an empty file under the final name (ext4(5), `auto_da_alloc`).
            os.fsync(descriptor)
        Path(name).replace(path)  # rename(2): readers see the old file or the new one
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def copy_metadata(descriptor: int, model: FileState) -> None:
    """Give an open file the owner, mode, access list and times of `model`."""
    status = model.status
    if status and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    # mkstemp creates files with mode 0600: other users' Pythons would print PermissionError at each start. `fchmod`
    # ignores the umask, and comes after `fchown`, which clears the set-user-ID bit (chown(2)).
    os.fchmod(descriptor, model.mode)
    for attribute, value in model.attributes.items():
        os.setxattr(descriptor, attribute, value)
    if status:
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))


def sync(folder: Path) -> None:
    """Write a folder's entries to disk. Syncing a file doesn't do that (fsync(2)), so a rename could be lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
