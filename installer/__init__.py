"""Install the start-up shim where an interpreter loads it, verify that it runs, and uninstall it."""

from dbx_patch.installer._core import install, status, uninstall
from dbx_patch.installer._discovery import find_interpreters
from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._init_script import render_init_script
from dbx_patch.installer._places import Slot
from dbx_patch.installer._results import Installation, Shown, Status, Uninstallation, name_command
from dbx_patch.installer.shim_files import is_own, list_shims, remove_every_block, render_bundle

__all__ = [
    "Installation",
    "InstallerError",
    "Shown",
    "Slot",
    "Status",
    "Uninstallation",
    "find_interpreters",
    "install",
    "is_own",
    "list_shims",
    "name_command",
    "remove_every_block",
    "render_bundle",
    "render_init_script",
    "status",
    "uninstall",
]
