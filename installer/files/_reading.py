"""Read a file, with the metadata that has to survive when it is replaced."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

KEPT_ATTRIBUTES = ("system.posix_acl_", "user.")
"""Prefixes of the extended attributes that are kept (xattr(7)): access lists, and what users attached themselves.

The others (`security.selinux`, `trusted.…`) belong to the kernel and its security modules.
"""
DEFAULT_MODE = 0o644
"""The mode of files that the installer creates: each user's Python reads them, only their owner can write them."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was found."""

    path: Path
    content: bytes | None
    """None if there is no file."""
    status: os.stat_result | None = None
    attributes: dict[str, bytes] = field(default_factory=dict)
    """The extended attributes that are kept."""

    @property
    def mode(self) -> int:
        """The permission bits, or those of a new file."""
        return stat.S_IMODE(self.status.st_mode) if self.status else DEFAULT_MODE


def capture(path: Path) -> FileState:
    """Return a file's content and metadata. Raises OSError if the file exists and can't be read."""
    try:
        content = path.read_bytes()  # no `exists` before: the file could be removed in between
    except FileNotFoundError:
        return FileState(path, None)
    attributes = {}
    if hasattr(os, "listxattr"):  # Linux only
        with contextlib.suppress(OSError):  # ENOTSUP: the file system has no extended attributes
            attributes = {
                name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith(KEPT_ATTRIBUTES)
            }
    return FileState(path, content, path.stat(), attributes)


def read(path: Path) -> bytes | None:
    """Return a file's content; None if it doesn't exist or can't be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None
