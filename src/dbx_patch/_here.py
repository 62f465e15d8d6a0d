"""Installs from within a notebook, for that notebook's environment alone."""

from __future__ import annotations

import sys
from typing import Any

from dbx_patch import installer
from dbx_patch._patches import patch_dbx


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
