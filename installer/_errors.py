"""The errors of the installer."""


class InstallerError(Exception):
    """Something stands in the way; nothing has been changed, or all of it has been put back."""


class NotLiveError(InstallerError):
    """The shim was put into a place, and did not run there; that place was put back."""
