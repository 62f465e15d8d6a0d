"""The errors of the installer."""


class InstallerError(Exception):
    """Something stands in the way; nothing has been changed, or all of it has been put back."""
