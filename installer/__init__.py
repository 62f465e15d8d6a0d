"""Install the start-up shim where an interpreter loads it, verify that it runs, and uninstall it."""

from dbx_patch.installer._core import install, install_alone, status, uninstall
from dbx_patch.installer._discovery import Found, find_interpreters
from dbx_patch.installer._environment import NotebookEnvironment, is_notebook, open_notebook
from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._init_script import NAME_IS_TAKEN, Wheel, read_wheel, render_init_script
from dbx_patch.installer._places import Slot, find_silenced
from dbx_patch.installer._results import Installation, Shown, Status, Uninstallation, name_command
from dbx_patch.installer._startup_wheel import StartupWheel, write_startup_wheel
from dbx_patch.installer.shim_files import is_own, list_shims, remove_every_block

__all__ = [
    "NAME_IS_TAKEN",
    "Found",
    "Installation",
    "InstallerError",
    "NotebookEnvironment",
    "Shown",
    "Slot",
    "StartupWheel",
    "Status",
    "Uninstallation",
    "Wheel",
    "find_interpreters",
    "find_silenced",
    "install",
    "install_alone",
    "is_notebook",
    "is_own",
    "list_shims",
    "name_command",
    "open_notebook",
    "read_wheel",
    "remove_every_block",
    "render_init_script",
    "status",
    "uninstall",
    "write_startup_wheel",
]
