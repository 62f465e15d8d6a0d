"""Installs the shim from within Python: for any interpreter, or only for a notebook's environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from dbx_patch import installer
from dbx_patch._inventory import list_places
from dbx_patch._mounts import WORDS, ask_mounts, begin_asking, is_file
from dbx_patch._process import patch_dbx


def install_sitecustomize(
    python: str = sys.executable, *, force: bool = False, strict: bool = False, outside_databricks: bool = False
) -> installer.Installation:
    """Install the shim for an interpreter, and verify that it runs there and in notebook environments created from it.

    This does what `python -m dbx_patch.install` does. `python` is the interpreter's path. A newer shim is kept, and one
    that was edited by hand raises InstallerError; `force` overwrites both. Where it can't reach notebooks, it is
    installed for that environment only, or with `strict` not at all. Processes that are already running, this one
    included, do not change: call `patch_dbx` in them. On a machine that is no Databricks node, a file outside the
    interpreter's environment is only changed if `outside_databricks` is set.

    Raises InstallerError if the shim can't be installed or is not live afterwards, and with `strict` if notebooks can't
    be reached. Every file is then restored.
    """
    return installer.install(python, force=force, strict=strict, outside_databricks=outside_databricks)


def uninstall_sitecustomize(python: str = sys.executable) -> installer.Uninstallation:
    """Remove the shim of an interpreter and restore every other file, as `python -m dbx_patch.uninstall` does.

    `python` is the interpreter's path. Raises InstallerError if that fails. Every file is then as it was before.
    """
    return installer.uninstall(python)


def check_sitecustomize_status(python: str = sys.executable) -> installer.Status:
    """Start an interpreter and return whether the shim is live in it, as `dbx-patch status` reports it.

    `python` is the interpreter's path. Nothing is changed. Raises InstallerError if the interpreter can't be started.
    """
    status = installer.status(python)
    begin_asking()
    mounts = ask_mounts(folder for layer in status.layers for folder in list_places(layer["editables"]))
    is_first = status.slot == installer.Slot.OWN and not status.shadowed_by
    return replace(
        status,
        mounts={mount: WORDS[state] for mount, state in mounts.items()},
        silenced=installer.find_silenced(status.layers, is_file) if is_first else None,
    )


def patch_and_install() -> installer.Installation:
    """Patch this process, install the shim for its environment only, and restart Python if there is a `dbutils`.

    A notebook has an environment of its own until it is detached, so the install reaches no other notebook, and is gone
    when this one is attached again. Python is restarted only if something was installed; that clears the notebook's
    variables. What happens is printed.

    Raises InstallerError if nothing can be installed. This process is patched even then.
    """
    patch_dbx()
    done = installer.install_alone(sys.executable)
    state = "is now installed" if done.changed else "is already installed"
    print(f"dbx-patch {done.version} {state} for this environment ({sys.prefix}). This process is patched too.")
    print("Other notebooks are not reached; an init script reaches all (`dbx-patch init-script` prints one).")
    dbutils = find_dbutils()
    if dbutils is None:
        print("Python was not restarted, because there is no dbutils here. New processes use the installed shim.")
    elif done.changed:
        print("Restarting Python. The notebook's variables are cleared.", flush=True)
        dbutils.library.restartPython()
    return done


def find_dbutils() -> Any:
    """Return the notebook's `dbutils`, which is among the user's variables, or None outside of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.user_ns.get("dbutils") if shell else None
