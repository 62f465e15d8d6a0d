"""Tells whether somebody else could have put a file where it is."""

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
"""root's own, and Debian's `staff`, which may write to /usr/local by its policy."""
MOST_LINKS = 40
"""What the kernel follows as well, see path_resolution(7)."""


def find_exposed(path: Path, owners: set[int]) -> Path | None:
    """Find what others than its owners may change on the way to a file or folder: itself, and each folder and link.

    Raises OSError if it is not there.
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
    """Tell whether others than its owners may change a file, or what is in a folder."""
    status = path.lstat()
    if status.st_uid not in owners:
        return True
    if stat.S_ISLNK(status.st_mode):  # it has no mode; its folder says who may replace it
        return False
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:  # as /tmp: each may replace what is his own
        return False
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not is_trusted_group(status.st_gid, status.st_uid)


def is_trusted_group(group: int, owner: int) -> bool:
    """Tell whether a group's members are trusted where the owner is: it is root's, or the owner's alone."""
    if group in TRUSTED_GROUPS:
        return True
    try:
        user, private = pwd.getpwuid(owner), grp.getgrgid(group)
    except KeyError:
        return False
    return (user.pw_name, user.pw_gid) == (private.gr_name, group) and not private.gr_mem


def own() -> set[int]:
    """Give the users whose files this process trusts: its own, and root."""
    return {0, os.geteuid()}


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for what is thrown away, and run meanwhile. Raises OSError if there is no place for one.

    The environment names the place (`$TMPDIR`), and whoever may rename folders there could put another in its place.
    """
    named = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    places = [*named, "/tmp", "/var/tmp"]  # noqa: S108  # each is looked at
    for place in places:
        with contextlib.suppress(OSError):
            if not find_exposed(Path(place), own()):
                return tempfile.TemporaryDirectory(prefix="dbx-patch-", dir=place)
    raise PermissionError(errno.EPERM, "No folder for temporary files that nobody else could change", places[0])
