"""Find out whether an untrusted user could modify a file, or put another one in its place.

The installer often runs as root. A file is safe to run or to load only if every component of its path is: who can
write to any folder on the way can exchange all that is below it, and a link decides where the path goes on.

The checks come before the use, and that is no race here: a path that passes can only be changed by its owners, who are
trusted. A path that any other user could change between the check and the use does not pass.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path

TRUSTED_GROUPS = (0, 50)
"""The group root, and Debian's `staff`, which can write to /usr/local (Debian policy 9.1.2, group id from base-passwd).

Membership in either is root's to give.
"""
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


def is_exposed(path: Path, owners: set[int]) -> bool:
    """Return whether an untrusted user can modify a file, or the entries of a folder.

    Access lists are not read. Write access that one grants shows as the group's write bit (acl(5), the mask), so it is
    noticed unless the group is trusted.
    """
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
    return bool(status.st_mode & stat.S_IWGRP) and not is_trusted_group(status.st_gid, status.st_uid)


def is_trusted_group(group: int, owner: int) -> bool:
    """Return whether a group's members are as trusted as the owner: it is root's, or the owner's private group.

    Distributions give each user a private group of the same name and a umask of 002. Other users whose primary group
    this is are not looked for: listing all users can take minutes where they come from a directory service.
    """
    if group in TRUSTED_GROUPS:
        return True
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
