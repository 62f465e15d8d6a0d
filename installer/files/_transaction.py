"""Changes files so that all of it happens or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dbx_patch.installer._errors import InstallerError

if TYPE_CHECKING:
    from typing_extensions import Self  # mypy has it; nothing imports it at run time


TEMPORARY = ".dbx-patch-"
"""How the name of a file begins that is being written, or kept until all is done."""
KEPT_ATTRIBUTES = ("system.posix_acl_", "user.")
"""How the names of those extended attributes begin that are somebody's decision: access lists, and a user's own."""


@dataclass(frozen=True, slots=True)
class Before:
    """A file as it was, or None where there was none."""

    path: Path
    content: bytes | None
    status: os.stat_result | None = None
    attributes: dict[str, bytes] = field(default_factory=dict)
    """Its extended attributes that are kept."""


class Transaction:
    """A series of changes to files, undone in reverse if the block that makes them raises.

    Each file is complete at every moment: another process that starts Python meanwhile reads the old one or the new.
    What is replaced or removed is kept beside it until all is done, so that to undo it needs no space on a disk that is
    full. In a dry run nothing is changed, but is read as if it were.
    """

    def __init__(self, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self._contents: dict[Path, bytes | None] = {}
        self._undo = contextlib.ExitStack()
        self._kept: list[Path] = []
        self.changed: dict[Path, None] = {}
        """The files that were changed, in order."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._undo.pop_all()
        else:
            self._undo.close()
        for kept in self._kept:
            with contextlib.suppress(OSError):  # what is left is cleared by whoever works here next
                kept.unlink(missing_ok=True)

    def read(self, path: Path) -> bytes | None:
        """Read a file as it is by now, or would be; None if it is not there."""
        return self._contents[path] if path in self._contents else look(path).content

    def write(self, path: Path, content: bytes, like: Path | None = None) -> None:
        """Write a file whole: with the mode, owner, times and access list of another, else with mode 0644."""
        before = look(path)
        model = look(like) if like else Before(path, None)
        if before.content == content and before.status and stat.S_IMODE(before.status.st_mode) == mode_of(model):
            return
        if self._change(path, content):
            kept = None if before.content is None else self._keep(before)
            replace(path, content, model)
            if kept:
                self._undo.callback(put_back, Path.replace, kept, path)
            else:
                self._undo.callback(put_back, Path.unlink, path)
            sync(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""
        before = look(path)
        if before.content is not None and self._change(path, None):
            self._move(path, self._name_kept(path))

    def rename(self, path: Path, target: Path) -> None:
        """Rename a file, if there is one, over one that may be there."""
        before = look(path)
        if before.content is None:
            return
        self.remove(target)
        self._change(target, before.content)
        if self._change(path, None):
            self._move(path, target)

    def make_folder(self, folder: Path) -> None:
        """Make a folder, mode 0755 whatever the umask is."""
        if not folder.is_dir() and not self.dry_run:
            folder.mkdir()
            self._undo.callback(put_back, Path.rmdir, folder)
            folder.chmod(0o755)
            sync(folder.parent)

    def _change(self, path: Path, content: bytes | None) -> bool:
        """Note a change before it is made; tell whether to make it."""
        self._contents[path] = content
        self.changed[path] = None
        return not self.dry_run

    def _keep(self, before: Before) -> Path:
        """Keep a file that is about to be replaced under a second name; a copy where a file can't have two."""
        kept = self._name_kept(before.path)
        try:
            kept.hardlink_to(before.path)
        except OSError:
            replace(kept, before.content or b"", before)
        return kept

    def _move(self, path: Path, target: Path) -> None:
        path.replace(target)
        self._undo.callback(put_back, Path.replace, target, path)
        sync(path.parent)

    def _name_kept(self, path: Path) -> Path:
        kept = path.with_name(TEMPORARY + secrets.token_hex(8))
        self._kept.append(kept)
        return kept


def look(path: Path) -> Before:
    """Take a file down as it is. Raises OSError if it is there and can't be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Before(path, None)
    attributes = {}
    if hasattr(os, "listxattr"):  # Linux
        with contextlib.suppress(OSError):  # the file system has none
            attributes = {
                name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith(KEPT_ATTRIBUTES)
            }
    return Before(path, content, path.stat(), attributes)


def mode_of(model: Before) -> int:
    """Give the mode that a file like another is written with."""
    return stat.S_IMODE(model.status.st_mode) if model.status else 0o644


def replace(path: Path, content: bytes, model: Before) -> None:
    """Put a complete file in another's place in one step. Raises OSError, and then nothing has changed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    like = model.status
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if like and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, mode_of(model))  # after the owner, whose change clears the bits that set ids
            for attribute, value in model.attributes.items():
                os.setxattr(descriptor, attribute, value)
            if like:
                os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def sync(folder: Path) -> None:
    """Have a folder's changes written to disk, so that they outlive a node that stops."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_back(step: Callable[..., object], *paths: Path) -> None:
    """Undo one change. Raises InstallerError if that can't be done; the others are undone all the same."""
    try:
        step(*paths)
        with contextlib.suppress(OSError):  # it is back, if not for sure on the disk
            sync(paths[-1].parent)
    except OSError as error:
        msg = (
            f"{paths[-1]} could not be put back ({error.strerror or error})."
            " Run `python -m dbx_patch.uninstall` when that is mended."
        )
        raise InstallerError(msg) from error
