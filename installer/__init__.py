"""Puts the start-up shim where an interpreter loads it, proves that it runs, and takes it back."""

from dbx_patch.installer._core import Installation, Status, Uninstallation, install, name_command, status, uninstall
from dbx_patch.installer._discovery import find_interpreters
from dbx_patch.installer._errors import InstallerError
from dbx_patch.installer._places import Slot
from dbx_patch.installer.shim_files import render_bundle

__all__ = [
    "Installation",
    "InstallerError",
    "Slot",
    "Status",
    "Uninstallation",
    "find_interpreters",
    "install",
    "name_command",
    "render_bundle",
    "status",
    "uninstall",
]
