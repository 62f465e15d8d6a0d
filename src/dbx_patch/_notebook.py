"""Installs from within Python: for any interpreter, or for a notebook's environment alone."""

from __future__ import annotations

import sys
from typing import Any

from dbx_patch import installer
from dbx_patch._process import patch_dbx


def install_sitecustomize(python: str = sys.executable, *, force: bool = False) -> installer.Installation:
    """Install the shim for an interpreter, and prove that it runs there and in notebook environments made from it.

    This is what `python -m dbx_patch.install` does. A newer shim is kept, and one that was edited by hand is not
    overwritten, but with `force`. Raises InstallerError if it can't be installed, or is not seen alive; then everything
    is as it was. Interpreters that run already are as they were, this one too: `patch_dbx` is for those.
    """
    return installer.install(python, force=force)


def uninstall_sitecustomize(python: str = sys.executable) -> installer.Uninstallation:
    """Remove the shim of an interpreter, and restore every other file, as `python -m dbx_patch.uninstall` does.

    Raises InstallerError if that can't be done; then everything is as it was.
    """
    return installer.uninstall(python)


def check_sitecustomize_status(python: str = sys.executable) -> installer.Status:
    """Start an interpreter, and tell whether the shim is live in it, as `python -m dbx_patch status` does.

    Raises InstallerError if it can't be started.
    """
    return installer.status(python)


def patch_and_install() -> installer.Installation:
    """Patch this process, install the shim for its environment, and restart Python through `dbutils` if there is one.

    The environment is the notebook's: another notebook has its own, and so has this one once it is attached anew. What
    is installed reaches no other. Raises InstallerError if nothing can be installed; this process is patched even so.
    """
    patch_dbx()
    done = installer.install(sys.executable, alone=True)
    what = "was installed" if done.changed else "is installed already"
    print(f"dbx-patch {done.version} {what} for this environment ({sys.prefix}); this process is patched as well.")
    dbutils = find_dbutils()
    if dbutils is None:
        print("There is no dbutils here that could restart Python: what starts from now on in this environment has it.")
    elif done.changed:
        print("Python is restarted, and the variables of this notebook are lost.", flush=True)
        dbutils.library.restartPython()
    return done


def find_dbutils() -> Any:
    """Find the notebook's `dbutils`, which lies among the user's variables; None outside of one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.user_ns.get("dbutils") if shell else None
