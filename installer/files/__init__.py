"""Read and change files: a change is made whole or not at all, and by one process at a time."""

from dbx_patch.installer.files._lock import lock
from dbx_patch.installer.files._reading import FileState, capture, read
from dbx_patch.installer.files._replacing import TEMPORARY, replace
from dbx_patch.installer.files._transaction import Transaction

__all__ = ["TEMPORARY", "FileState", "Transaction", "capture", "lock", "read", "replace"]
