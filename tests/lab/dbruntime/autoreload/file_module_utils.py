"""Stand-in for `dbruntime.autoreload.file_module_utils`.

Based on: the names of the three functions and of the list, and its first check, "starts with `/Workspace`".
Unknown: whether a check gets more than the file's name, and what happens if a check raises.
"""

_AUTORELOAD_ALLOWLIST_CHECKS = [lambda fname: fname.startswith("/Workspace")]


def register_autoreload_allowlist_check(check):
    """Add a check: autoreload tracks the files that any check allows."""
    _AUTORELOAD_ALLOWLIST_CHECKS.append(check)


def deregister_autoreload_allowlist_check(check):
    """Remove a check. Raises ValueError if it is not registered."""
    _AUTORELOAD_ALLOWLIST_CHECKS.remove(check)


def is_file_in_allowlist(fname):
    """Return whether autoreload tracks a file."""
    return any(check(fname) for check in _AUTORELOAD_ALLOWLIST_CHECKS)
