"""Report what keeps this user from changing a file, and the command that removes that obstacle."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import struct
from pathlib import Path

from dbx_patch.sitecustomize_template import list_mounts

GET_FLAGS = 0x80086601
"""`FS_IOC_GETFLAGS` of 64-bit Linux: the request for a file's inode flags (ioctl_iflags(2))."""
IMMUTABLE = 0x10
"""`FS_IMMUTABLE_FL`, which `chattr +i` sets: not even root can change the file."""


def find_write_obstacle(file: Path) -> str | None:
    """Return what keeps a file from being replaced, which takes write access to its folder, not to the file."""
    folder = file.parent
    for path in (file, folder):
        if is_immutable(path):
            return f"{path} is immutable.\nFix: run `{as_root(f'chattr -i {quote(path)}')}`."
    if os.access(folder, os.W_OK | os.X_OK):
        if find_mount(file) != file or not file.exists():
            return None
        # rename(2) does not replace it (EBUSY).
        return f"{file} is a mount of its own.\nFix: if that does no harm, run `{as_root(f'umount {quote(file)}')}`."
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        mount = find_mount(folder)
        return (
            f"{folder} is on a read-only file system.\n"
            f"It is mounted at {mount}.\n"
            f"Fix: run `{as_root(f'mount -o remount,rw {quote(mount)}')}`."
        )
    return f"{folder} is not writable by this user.\n{describe_owner(folder)}"


def describe_owner(path: Path) -> str:
    """Return a sentence with the owner, group and mode of a file or folder, a link's own if it is one."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"Its owner is not known: {error.strerror}."
    import grp  # noqa: PLC0415  # not on Windows
    import pwd  # noqa: PLC0415  # likewise

    user, group = str(status.st_uid), str(status.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(status.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return f"It belongs to {user}:{group}, mode {stat.S_IMODE(status.st_mode):04o}."


def name_protection(exposed: Path, owners: set[int]) -> str:
    """Return the line that names the command by which untrusted users can no longer modify a file."""
    owner = exposed.lstat().st_uid
    if owner not in owners:
        # On a condition: this can be a user's home folder, which root must not take away.
        command = as_root(f"chown -h root: {quote(exposed)}")
        return f"Fix: if only root needs to change it, run `{command}`."
    return f"Fix: run `{as_root(f'chmod go-w {quote(exposed)}', allowed=owner == os.geteuid())}`."


def find_mount(path: Path) -> Path:
    """Return the folder at which the file system is mounted that has a path."""
    mounts = {Path("/"), *(Path(folder) for folder, _ in list_mounts())}
    path = path.resolve()
    return next(above for above in (path, *path.parents) if above in mounts)


def is_immutable(path: Path) -> bool:
    """Return whether a file's flags forbid every change; False where the file system has no such flags."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        import fcntl  # noqa: PLC0415  # not on Windows

        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, GET_FLAGS, struct.pack("l", 0)))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(flags & IMMUTABLE)


def as_root(command: str, *, allowed: bool = False) -> str:
    """Return a command with `sudo`, unless this user is root or is `allowed` to do what it does."""
    return command if allowed or os.geteuid() == 0 else f"sudo {command}"


def name_removal(command: str, file: Path) -> str:
    """Return a command with a file that is removed by it, as this user has to run it."""
    return as_root(f"{command} {quote(file)}", allowed=os.access(file.parent, os.W_OK | os.X_OK))


def quote(path: Path) -> str:
    """Return a path as a word of the shell."""
    return shlex.quote(str(path))
