"""The errors of the installer."""

from __future__ import annotations


class InstallerError(Exception):
    """An install, an uninstall or a look at an interpreter failed. Nothing was changed, or every change was undone."""

    def __init__(self, problem: str, *, fix: str = "") -> None:
        """Take the problem, one sentence a line, and what the user can do about it."""
        super().__init__(f"{problem}\nFix: {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class NotLiveError(InstallerError):
    """The shim was installed at a place and did not run from there. That place was restored."""


def explain(error: Exception) -> str:
    """Return an error's message; for an OSError the file and the system's reason."""
    if isinstance(error, OSError):
        reason = str(error.strerror or error)
        return f"{error.filename}: {reason}." if error.filename else f"{reason}."
    return str(error)
