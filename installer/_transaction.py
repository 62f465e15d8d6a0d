"""Changes files so that all of it happens or none."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # mypy has it; nothing imports it at run time


TEMPORARY = ".dbx-patch-"
"""How the name of a file begins that is being written."""


@dataclass(frozen=True, slots=True)
class Before:
    """A file as it was, or None where there was none."""

    path: Path
    content: bytes | None
    status: os.stat_result | None


class Transaction:
    """A series of changes to files, undone in reverse if the block that makes them raises.

    Each file is complete at every moment: another process that starts Python meanwhile reads the old one or the new. In
    a dry run nothing is changed, but is read as if it were.
    """

    def __init__(self, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self._contents: dict[Path, bytes | None] = {}
        self._before: list[Before] = []
        self._made: list[Path] = []
        self.changed: dict[Path, None] = {}
        """The files that were changed, in order."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or self.dry_run:
            return
        for before in reversed(self._before):
            if before.content is None or before.status is None:
                before.path.unlink(missing_ok=True)
            else:
                replace(before.path, before.content, before.status)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def read(self, path: Path) -> bytes | None:
        """Read a file as it is by now, or would be; None if it is not there."""
        return self._contents[path] if path in self._contents else look(path).content

    def write(self, path: Path, content: bytes, like: os.stat_result | None = None) -> None:
        """Write a file whole; with `like`, its mode, owner and times, else mode 0644 whatever the umask is."""
        before = look(path)
        if before.content == content and before.status and stat.S_IMODE(before.status.st_mode) == mode_of(like):
            return
        if self._change(before, content):
            replace(path, content, like)

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""
        before = look(path)
        if before.content is not None and self._change(before, None):
            path.unlink()

    def rename(self, path: Path, target: Path) -> None:
        """Rename a file, if there is one, over one that may be there."""
        before = look(path)
        if before.content is None:
            return
        self._change(look(target), before.content)
        if self._change(before, None):
            path.replace(target)

    def make_folder(self, folder: Path) -> None:
        """Make a folder, mode 0755 whatever the umask is."""
        if not folder.is_dir() and not self.dry_run:
            folder.mkdir()
            folder.chmod(0o755)
            self._made.append(folder)

    def _change(self, before: Before, content: bytes | None) -> bool:
        """Note a change before it is made; tell whether to make it."""
        self._before.append(before)
        self._contents[before.path] = content
        self.changed[before.path] = None
        return not self.dry_run


def look(path: Path) -> Before:
    """Take a file down as it is. Raises OSError if it is there and can't be read."""
    try:
        return Before(path, path.read_bytes(), path.stat())
    except FileNotFoundError:
        return Before(path, None, None)


def mode_of(like: os.stat_result | None) -> int:
    """Give the mode a file is written with."""
    return 0o644 if like is None else stat.S_IMODE(like.st_mode)


def replace(path: Path, content: bytes, like: os.stat_result | None = None) -> None:
    """Put a complete file in another's place in one step. Raises OSError, and then nothing has changed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, mode_of(like))  # after the owner, whose change clears the bits that set ids
            if like is not None:
                os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
