"""Change several files: all of them, or none."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer.files._reading import FileState, capture
from dbx_patch.installer.files._replacing import TEMPORARY, replace, sync

if TYPE_CHECKING:
    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there; nothing runs this


class Transaction:
    """A series of changes to files. They are undone in reverse if the `with` block raises.

    A process that starts Python meanwhile reads each file either as it was or as it will be, never half-written.

    An original is moved or hard-linked to a second name in the same folder until the end, not read into memory. Undoing
    is then a rename, which needs no space on a full disk, and keeps the inode with everything attached to it. A process
    that is killed leaves these names behind; `lock` removes them in the next run.

    A dry run changes nothing, and `read` answers as if it did.
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
            # An ExitStack runs every callback, also after one of them raised.
            self._undo.close()
        for kept in self._kept:
            with contextlib.suppress(OSError):  # the next run removes what is left
                kept.unlink(missing_ok=True)

    def read(self, path: Path) -> bytes | None:
        """Return a file's content as this transaction left it; None if there is no file."""
        return self._contents[path] if path in self._contents else capture(path).content

    def write(self, path: Path, content: bytes, like: Path | None = None) -> None:
        """Write a whole file, with mode, owner, times and access list of `like`, or with mode 0644.

        A file that already has this content and mode is not touched: a second install leaves no trace.
        """
        before = capture(path)
        model = capture(like) if like else FileState(path, None)
        if before.content == content and before.mode == model.mode:
            return
        if self._change(path, content):
            kept = None if before.content is None else self._keep(before)
            replace(path, content, model)
            if kept:
                self._undo.callback(undo, Path.replace, kept, path)
            else:
                self._undo.callback(undo, Path.unlink, path)
            # After the callback is registered: if this raises, the change is undone with the others.
            sync(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, if it exists."""
        before = capture(path)
        if before.content is not None and self._change(path, None):
            self._move(path, self._name_kept(path))

    def rename(self, path: Path, target: Path) -> None:
        """Rename a file, if it exists, and replace `target`."""
        before = capture(path)
        if before.content is None:
            return
        self.remove(target)  # kept under a second name, where rename(2) would destroy it
        self._change(target, before.content)
        if self._change(path, None):
            self._move(path, target)

    def make_folder(self, folder: Path) -> None:
        """Create a folder, if it doesn't exist, with mode 0755 whatever the umask is."""
        if not folder.is_dir() and not self.dry_run:
            folder.mkdir()
            self._undo.callback(undo, Path.rmdir, folder)
            folder.chmod(0o755)  # the umask reduces the mode that mkdir(2) is given
            sync(folder.parent)

    def _change(self, path: Path, content: bytes | None) -> bool:
        """Record a change before it is made; return whether to make it."""
        self._contents[path] = content
        self.changed[path] = None
        return not self.dry_run

    def _keep(self, before: FileState) -> Path:
        """Add a second name to a file that is about to be replaced, and return that name.

        A copy is the fallback. link(2) fails with EPERM on file systems without hard links (FAT, some FUSE and network
        mounts) and where `fs.protected_hardlinks` forbids a link to another user's file (proc_sys_fs(5)), and with
        EMLINK at a file system's limit.
        """
        kept = self._name_kept(before.path)
        try:
            kept.hardlink_to(before.path)
        except OSError:
            replace(kept, before.content or b"", before)
        return kept

    def _move(self, path: Path, target: Path) -> None:
        path.replace(target)
        self._undo.callback(undo, Path.replace, target, path)
        sync(path.parent)

    def _name_kept(self, path: Path) -> Path:
        kept = path.with_name(TEMPORARY + secrets.token_hex(8))  # random: no other user can place a file there first
        self._kept.append(kept)
        return kept


def undo(step: Callable[..., object], *paths: Path) -> None:
    """Undo one change to the last of `paths`. Raises InstallerError if that fails."""
    try:
        step(*paths)
        with contextlib.suppress(
            OSError
        ):  # it is undone; a disk that can't sync is reported by the error that led here
            sync(paths[-1].parent)
    except OSError as error:
        msg = f"Could not restore {paths[-1]}: {error.strerror or error}."
        raise InstallerError(msg, fix="resolve this error, then run `python -m dbx_patch.uninstall`.") from error
