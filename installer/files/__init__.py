"""Changes files: all of a change or none of it, by one process at a time."""

from dbx_patch.installer.files._lock import lock
from dbx_patch.installer.files._transaction import TEMPORARY, Before, Transaction, replace

__all__ = ["TEMPORARY", "Before", "Transaction", "lock", "replace"]
