"""Find out whether an untrusted user could modify a file, or put another one in its place.

The installer often runs as root. A file is safe to run or to load only if every component of its path is: who can
write to any folder on the way can exchange all that is below it, and a link decides where the path goes on.

The checks come before the use, and that is no race here: a path that passes can only be changed by its owners, who are
trusted. A path that any other user could change between the check and the use does not pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

TRUSTED_GROUPS = (0, 50)
"""The group root, and Debian's `staff`, which can write to /usr/local (Debian policy 9.1.2, group id from base-passwd).

Membership in either is root's to give.
"""
ACCESS_LIST = "system.posix_acl_access"
"""The extended attribute with a file's access list (acl(5))."""
USER, OWNING_GROUP, GROUP, NO_ID = 2, 4, 8, 0xFFFFFFFF
"""The tags of its entries, and the id of entries that name nobody (linux/posix_acl.h, stable: it is on disks)."""
MOST_LINKS = 40
"""The kernel follows as many in one path, then reports ELOOP (path_resolution(7))."""


def find_exposed(path: Path, owners: set[int]) -> Path | None:
    """Return the first path component that an untrusted user could modify; None if there is none.

    The owners, by user id, are trusted. Raises OSError if the path doesn't exist.

    `Path.resolve` is no help: it returns where the path leads, without the links and folders that lead there. So each
    link is read here, and its target walked like the rest.
    """
    here, rest, links = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    if is_exposed(here, owners):
        return here
    while rest:
        name = rest.pop()
        here = here.parent if name == ".." else here / name
        if is_exposed(here, owners):
            return here
        if here.is_symlink():
            links += 1
            if links > MOST_LINKS:
                return here
            target = here.readlink()
            rest.extend(reversed(target.parts[target.is_absolute() :]))
            here = Path("/") if target.is_absolute() else here.parent
    return None


def find_exposed_byte_code(file: Path, owners: set[int]) -> Path | None:
    """Return what an untrusted user could modify of the byte code that Python runs instead of a source file.

    That is the folder `__pycache__`, or a file in it. Such a file can be older than the folder's mode, and byte code
    can be of a kind that Python runs without comparing it with the source (:pep:`552`). Return None if other users can
    modify the source's own folder: its byte code makes no difference then.
    """
    cache = file.parent / "__pycache__"
    if find_exposed(file.parent, owners):
        return None
    found = (find_exposed(path, owners) for path in (cache, *cache.glob(f"{file.stem}*")) if os.path.lexists(path))
    return next(filter(None, found), None)


def is_exposed(path: Path, owners: set[int]) -> bool:
    """Return whether an untrusted user can modify a file, or the entries of a folder."""
    status = path.lstat()  # not `stat`: a link is judged as itself first
    if status.st_uid not in owners:  # an owner can change the mode
        return True
    if stat.S_ISLNK(status.st_mode):  # its mode means nothing (symlink(7)); who can replace it is up to its folder
        return False
    # Sticky, as /tmp: only an entry's owner can rename or remove it (inode(7)), and the entry is checked next.
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWOTH:
        return True
    # With an access list, the group's bits are its mask: the most that any entry but the owner's grants (acl(5)).
    if not status.st_mode & stat.S_IWGRP:
        return False
    return any(
        named not in owners if tag == USER else not is_trusted_group(named, status.st_uid)
        for tag, named in list_writers(path, status.st_gid)
    )


def list_writers(path: Path, group: int) -> Iterator[tuple[int, int]]:
    """List the users and groups beside the owner that a group-writable file lets write, each as a tag and an id.

    `group` is the file's group. Only POSIX access lists are read, not those of NFSv4.
    """
    try:
        entries = os.getxattr(path, ACCESS_LIST)[4:]  # after the version, which has always been 2
    except OSError:  # no access list, or a file system without them
        entries = struct.pack("<HHI", OWNING_GROUP, os.W_OK, NO_ID)
    for tag, rights, named in struct.iter_unpack("<HHI", entries):
        if tag in {USER, OWNING_GROUP, GROUP} and rights & os.W_OK:
            yield tag, group if tag == OWNING_GROUP else named


def is_trusted_group(group: int, owner: int) -> bool:
    """Return whether a group's members are as trusted as the owner: it is root's, or the owner's private group.

    Distributions give each user a private group of the same name and a umask of 002. Other users whose primary group
    this is are not looked for: listing all users can take minutes where they come from a directory service.
    """
    if group in TRUSTED_GROUPS:
        return True
    import grp  # noqa: PLC0415  # not on Windows
    import pwd  # noqa: PLC0415  # likewise

    try:
        user, private = pwd.getpwuid(owner), grp.getgrgid(group)
    except KeyError:
        return False
    return (user.pw_name, user.pw_gid) == (private.gr_name, group) and not private.gr_mem


def trusted_uids() -> set[int]:
    """Return the ids of the users whose files this process trusts: its own user, and root."""
    return {0, os.geteuid()}


def make_scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a folder for temporary environments that are run. Raises OSError if there is no safe place for it.

    The environment names the place (`$TMPDIR`). `tempfile` takes it as it is, but a user who can rename folders there
    can exchange this one before it is run.
    """
    named = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    places = [*named, "/tmp", "/var/tmp"]  # noqa: S108  # each is checked
    for place in places:
        with contextlib.suppress(OSError):
            if not find_exposed(Path(place), trusted_uids()):
                return tempfile.TemporaryDirectory(prefix="dbx-patch-", dir=place)
    raise PermissionError(errno.EPERM, "Other users can modify every folder for temporary files", places[0])
