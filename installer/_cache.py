"""Remove the cache in which the shim keeps the byte code of editable packages, for the user who uninstalls it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from dbx_patch.installer._errors import explain
from dbx_patch.installer._trust import find_exposed, trusted_uids
from dbx_patch.sitecustomize_template import template


def find_cache(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder that the shim uses for this user; None if it uses none.

    Not by platformdirs: its releases differ where `$XDG_CACHE_HOME` is relative, and without `$HOME` it takes the home
    folder of the user database, where the shim caches nothing.
    """
    above = environ.get("XDG_CACHE_HOME", "")
    if not above.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return None
        above = f"{home}/.cache"
    # The shim has none on a mount, and a mount that hangs must not be asked here either.
    return None if f"{above}/".startswith(template.MOUNTS) else Path(above, "dbx-patch", "byte-code")


def remove_cache(cache: Path | None, *, dry_run: bool) -> tuple[str | None, str]:
    """Remove the cache, if there is one, with the folder above it if that is empty then.

    Return the folder, or None if there is none; and why it could not be removed, or an empty text. In a dry run, return
    the same and change nothing.
    """
    try:
        status = cache.lstat() if cache else None
    except OSError:  # it is not there, or out of this user's reach
        status = None
    if cache is None or status is None:
        return None, ""
    try:
        kept = find_refusal(cache, status)
        if not kept and not dry_run:
            shutil.rmtree(cache)  # follows no links, not even one that takes a folder's place meanwhile
            with contextlib.suppress(OSError):  # receipts can be in it
                cache.parent.rmdir()
    except OSError as error:
        kept = explain(error)
    if kept and status.st_uid == os.geteuid():
        kept += f"\nFix: run `rm -r {shlex.quote(str(cache))}`."
    return str(cache), kept


def find_refusal(cache: Path, status: os.stat_result) -> str:
    """Return why a folder must not be removed; empty if it may be. Raises OSError.

    The environment names it, and with `sudo -E` that is another user's: root must not remove what others point it to.
    """
    if status.st_uid != os.geteuid():
        return "It belongs to another user."
    if not stat.S_ISDIR(status.st_mode) or cache.parent.is_symlink():
        return "It is not a folder, or is reached by a link."
    exposed = find_exposed(cache, trusted_uids())
    return f"Other users can modify {exposed}." if exposed else ""
