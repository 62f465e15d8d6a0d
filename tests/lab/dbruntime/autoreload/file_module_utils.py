"""Stand-in for `dbruntime.autoreload.file_module_utils`.

Stands on: the names of the three functions and of the list, and that its first check is "starts with `/Workspace`".
Can't tell: whether a check gets more than the file's name, or what one that raises would do.
"""

_AUTORELOAD_ALLOWLIST_CHECKS = [lambda fname: fname.startswith("/Workspace")]


def register_autoreload_allowlist_check(check):
    """Have a check asked which files autoreload tracks."""
    _AUTORELOAD_ALLOWLIST_CHECKS.append(check)


def deregister_autoreload_allowlist_check(check):
    """Take a check back. Raises ValueError if it is not registered."""
    _AUTORELOAD_ALLOWLIST_CHECKS.remove(check)


def is_file_in_allowlist(fname):
    """Tell whether autoreload tracks a file."""
    return any(check(fname) for check in _AUTORELOAD_ALLOWLIST_CHECKS)
