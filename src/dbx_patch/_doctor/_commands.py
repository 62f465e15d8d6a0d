"""Writes the command that fixes a diagnosis: a notebook's cell in a notebook, otherwise a shell command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dbx_patch import installer
from dbx_patch._notebook import find_dbutils

PATCH = "import dbx_patch; dbx_patch.patch_dbx()"
FORGET = "import importlib; importlib.invalidate_caches()"


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return bool(ipython and ipython.get_ipython())


def restart_python() -> str:
    """Return the cell that restarts Python; empty where nothing can, since a script has only to be run again."""
    return "dbutils.library.restartPython()" if find_dbutils() else ""


def shell(*words: str, restart: bool = False) -> str:
    """Return a shell command; with `restart`, a notebook's Python is restarted after it."""
    command = shlex.join(words)
    return join_cell(f"!{command}", restart=restart) if in_notebook() else command


def pip_install(*words: str, restart: bool = False) -> str:
    """Return the command that installs something into this interpreter's environment."""
    return write_install(shlex.join(words), restart=restart)


def install_from(folder: str) -> str:
    """Return the command that installs a project editable, from a folder that only the user knows."""
    return write_install(f"-e <{folder}>")


def write_install(words: str, *, restart: bool = False) -> str:
    """Return a `pip install` of words that are quoted already."""
    if in_notebook():
        return join_cell(f"%pip install {words}", restart=restart)
    return f"{shlex.quote(sys.executable)} -m pip install {words}"


def pip_uninstall(name: str, layer: str) -> str:
    """Return the command that uninstalls a distribution from the environment that a layer belongs to."""
    own = Path(layer).is_relative_to(sys.prefix)
    if in_notebook() and own:
        return f"%pip uninstall --yes {shlex.quote(name)}"
    where = "" if own else f" --python {shlex.quote(str(Path(layer).parents[2]))}"
    command = f"{shlex.quote(sys.executable)} -m pip{where} uninstall --yes {shlex.quote(name)}"
    return f"!{command}" if in_notebook() else command


def install_shim() -> str:
    """Return the command that installs the shim; in a notebook, the cell that starts it in this process."""
    return PATCH if in_notebook() else installer.name_command(sys.executable)


def reinstall_shim() -> str:
    """Return the command that replaces the shim's files, whatever they contain."""
    command = f"{installer.name_command(sys.executable)} --force"
    return join_cell(f"!{command}", restart=True) if in_notebook() else command


def turn_shim_on() -> str:
    """Return the command that unsets DBX_PATCH_DISABLE; in a notebook, it starts the shim as well."""
    return f'import os; del os.environ["DBX_PATCH_DISABLE"]; {PATCH}' if in_notebook() else "unset DBX_PATCH_DISABLE"


def print_fingerprint() -> str:
    """Return the command that prints what a report to the developers needs."""
    return shell(sys.executable, "-m", "dbx_patch", "fingerprint")


def join_cell(line: str, *, restart: bool) -> str:
    """Return a notebook's cell: a line and, with `restart`, one that restarts Python."""
    return "\n".join(filter(None, [line, restart_python() if restart else ""]))
