"""`python -m tests.release v1.2.3` tells whether a tag may be released: its version is the code's, with its changes."""

from __future__ import annotations

import re
import sys

from packaging.version import Version

from dbx_patch import __version__
from tests.lab.wheels import REPOSITORY

HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def list_releases(changelog: str) -> list[tuple[Version, str]]:
    """List the released versions and their dates, the newest first. Raises ValueError if they are in another order."""
    found = [(heading["version"], heading["date"]) for heading in HEADING.finditer(changelog)]
    releases = [(Version(version), date) for version, date in found if version != "Unreleased"]
    if releases != sorted(releases, reverse=True) or any(date is None for _, date in releases):
        msg = "CHANGELOG.md: the newest version comes first, and each has its date"
        raise ValueError(msg)
    return releases


def find_obstacle(tag: str, version: str, changelog: str) -> str | None:
    """Tell what keeps a tag from being released."""
    if tag != f"v{version}":
        return f"the tag is {tag}, and the code's version {version}"
    releases = list_releases(changelog)
    if not releases or str(releases[0][0]) != version:
        return f"CHANGELOG.md has no section for {version} at its top"
    return None


if __name__ == "__main__":
    sys.exit(find_obstacle(sys.argv[1], __version__, (REPOSITORY / "CHANGELOG.md").read_text()))
