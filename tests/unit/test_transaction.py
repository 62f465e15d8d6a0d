"""Changes to files happen all or not at all, each in one step, and by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dbx_patch.installer import InstallerError
from dbx_patch.installer.files import TEMPORARY, Transaction, _lock, capture, lock, replace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of different modes and times."""
    for name, mode in (("replaced", 0o640), ("removed", 0o600), ("renamed", 0o644), ("target", 0o604)):
        file = tmp_path / name
        file.write_text(f"{name} as it was\n")
        file.chmod(mode)
        os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    return tmp_path


def take_snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return each file's content, mode, time and inode."""
    facts: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        content = path.read_bytes() if path.is_file() else None
        facts[path.name] = (content, stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_ino)
    return facts


def change_everything(transaction: Transaction, folder: Path) -> None:
    """Make one change of each kind."""
    transaction.write(folder / "replaced", b"new\n", like=folder / "replaced")
    transaction.write(folder / "created", b"new\n")
    transaction.remove(folder / "removed")
    transaction.rename(folder / "renamed", folder / "target")
    transaction.make_folder(folder / "made")
    transaction.write(folder / "made/inside", b"new\n")


def change_and_fail(folder: Path, error: BaseException) -> None:
    """Make one change of each kind, and raise before the end."""
    with Transaction() as transaction:
        change_everything(transaction, folder)
        raise error


CHANGED = ["replaced", "created", "removed", "target", "renamed", "inside"]


def test_all_changes_are_made(folder: Path) -> None:
    before = take_snapshot(folder)

    with Transaction() as transaction:
        change_everything(transaction, folder)

    after = take_snapshot(folder)
    assert {name: facts[0] for name, facts in after.items()} == {
        "replaced": b"new\n",
        "created": b"new\n",
        "target": b"renamed as it was\n",
        "made": None,
        "inside": b"new\n",
    }
    assert after["replaced"][1:3] == before["replaced"][1:3]  # `like` gives mode and time
    assert after["created"][1] == 0o644
    assert [path.name for path in transaction.changed] == CHANGED


@pytest.mark.parametrize("error", [LookupError, OSError, KeyboardInterrupt])
def test_all_changes_are_undone_when_the_block_raises(folder: Path, error: type[BaseException]) -> None:
    before = take_snapshot(folder)

    with pytest.raises(error):
        change_and_fail(folder, error())

    assert take_snapshot(folder) == before


@pytest.mark.parametrize("call", ["fsync", "fchmod", "utime"])
def test_changes_are_undone_when_any_call_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = take_snapshot(folder)
    original = getattr(os, call)
    failures = 0
    for at in range(100):
        calls = 0

        def fail_once(*arguments: object, at: int = at, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail_once)
            try:
                with Transaction() as transaction:
                    change_everything(transaction, folder)
            except OSError:
                failures += 1
            else:
                break
        assert take_snapshot(folder) == before, at
    assert failures >= 1


def test_originals_are_moved_and_not_copied(folder: Path) -> None:
    """On a full disk there is no space for a copy."""
    before = {name: facts[3] for name, facts in take_snapshot(folder).items()}

    with pytest.raises(LookupError):
        change_and_fail(folder, LookupError())

    assert {name: facts[3] for name, facts in take_snapshot(folder).items()} == before


def test_file_system_without_hard_links_gets_a_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = take_snapshot(folder)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(LookupError):
        change_and_fail(folder, LookupError())

    after = take_snapshot(folder)
    assert {name: facts[:3] for name, facts in after.items()} == {name: facts[:3] for name, facts in before.items()}


def test_one_failure_to_undo_does_not_keep_the_others(folder: Path) -> None:
    def lose_an_original() -> None:
        with Transaction() as transaction:
            transaction.write(folder / "replaced", b"new\n")
            transaction.remove(folder / "target")
            (kept,) = (file for file in folder.glob(f"{TEMPORARY}*") if file.read_text().startswith("target"))
            kept.unlink()
            raise LookupError

    with pytest.raises(InstallerError, match="Could not restore") as raised:
        lose_an_original()

    assert f"Could not restore {folder / 'target'}: No such file or directory." in str(raised.value)
    assert (folder / "replaced").read_text() == "replaced as it was\n"
    assert "Fix: resolve this error, then run `python -m dbx_patch.uninstall`." in str(raised.value)


def test_dry_run_changes_nothing_and_reads_as_if_it_did(folder: Path) -> None:
    before = take_snapshot(folder)

    with Transaction(dry_run=True) as transaction:
        change_everything(transaction, folder)
        assert transaction.read(folder / "replaced") == b"new\n"
        assert transaction.read(folder / "removed") is None
        assert transaction.read(folder / "target") == b"renamed as it was\n"

    assert take_snapshot(folder) == before
    assert [path.name for path in transaction.changed] == CHANGED


def test_file_that_has_the_content_already_is_not_touched(folder: Path) -> None:
    (folder / "same").write_bytes(b"same\n")
    (folder / "same").chmod(0o644)
    before = take_snapshot(folder)

    with Transaction() as transaction:
        transaction.write(folder / "same", b"same\n")
        transaction.remove(folder / "absent")
        transaction.rename(folder / "absent", folder / "target")

    assert take_snapshot(folder) == before
    assert not transaction.changed


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_umask_does_not_decide_who_can_read_and_write(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Transaction() as transaction:
            transaction.write(folder / "created", b"")
            transaction.make_folder(folder / "made")
    finally:
        os.umask(before)

    assert stat.S_IMODE((folder / "created").stat().st_mode) == 0o644
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o755


def test_file_is_on_the_disk_before_it_has_its_name_and_the_name_right_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a node that stops in between comes back with an empty file, or with none."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def log_sync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("sync folder" if target == folder else "sync file")
        fsync(descriptor)

    def log_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", log_sync)
    monkeypatch.setattr(Path, "replace", log_rename)
    with Transaction() as transaction:
        transaction.write(folder / "created", b"new\n")

    assert steps == ["sync file", "rename", "sync folder"]


def test_link_in_the_way_is_replaced_and_not_followed(folder: Path) -> None:
    link = folder / "link"
    link.symlink_to(folder / "target")

    replace(link, b"new\n", capture(folder / "absent"))

    assert not link.is_symlink()
    assert (folder / "target").read_text() == "target as it was\n"


# The lock


def test_second_installer_waits_and_then_gives_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "PATIENCE", 0.1)
    with lock([folder]), pytest.raises(InstallerError, match="Another dbx-patch is working in"), lock([folder]):
        pass
    with lock([folder, folder / "absent"]):
        assert sorted(path.name for path in folder.iterdir()) == ["removed", "renamed", "replaced", "target"]


def test_folders_are_locked_in_one_order_whoever_names_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installers that lock in different orders could wait for each other, and both would give up."""
    folders = [folder / str(number) for number in range(9)]
    for each in folders:
        each.mkdir()
    locked: list[Path] = []
    monkeypatch.setattr(_lock, "acquire", lambda _descriptor, each, _deadline: locked.append(each))

    for named in (folders, folders[::-1]):
        with lock(named):
            pass

    assert locked == [each.resolve() for each in folders] * 2


def test_lock_of_a_killed_process_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "PATIENCE", 5.0)
    code = (
        "import os, pathlib, sys; from dbx_patch.installer.files import lock\n"
        "with lock([pathlib.Path(sys.argv[1])]): print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError):
            fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()

    with lock([folder]):
        pass


def test_interpreters_that_are_started_do_not_inherit_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "PATIENCE", 0.1)
    with lock([folder]):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with lock([folder]):
            pass
    finally:
        child.kill()
        child.wait()


def test_files_of_a_killed_installer_are_removed(folder: Path) -> None:
    (folder / f"{TEMPORARY}abc").write_text("half a file")

    with lock([folder]):
        assert not list(folder.glob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF], ids=errno.errorcode.get)
def test_file_system_without_locks_is_used_without(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with lock([folder]), lock([folder]):
        pass
