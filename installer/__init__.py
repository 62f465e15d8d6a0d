"""Puts the start-up shim where an interpreter loads it, proves that it runs, and takes it back."""

from dbx_patch.installer._core import Installation, Status, Uninstallation, install, status, uninstall
from dbx_patch.installer._exceptions import InstallerError

__all__ = ["Installation", "InstallerError", "Status", "Uninstallation", "install", "status", "uninstall"]
