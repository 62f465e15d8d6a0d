"""`python -m tests.release v1.2.3` checks whether a tag can be released; docs/releasing.md has the steps."""

from __future__ import annotations

import re
import sys

from packaging.version import Version

from dbx_patch import __version__
from tests.lab.wheels import REPOSITORY

HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def list_releases(changelog: str) -> list[tuple[Version, str]]:
    """List the released versions and their dates, newest first. Raise ValueError if the changelog's order differs."""
    found = [(heading["version"], heading["date"]) for heading in HEADING.finditer(changelog)]
    releases = [(Version(version), date) for version, date in found if version != "Unreleased"]
    if releases != sorted(releases, reverse=True) or any(date is None for _, date in releases):
        msg = "CHANGELOG.md has to list the newest version first, each with its date"
        raise ValueError(msg)
    return releases


def find_obstacle(tag: str, version: str, changelog: str) -> str | None:
    """Return what prevents the release of a tag, with its fix; None if nothing does."""
    if tag != f"v{version}":
        return f"The tag is {tag}, but the version of the code is {version}.\nFix: tag the commit v{version}."
    releases = list_releases(changelog)
    if not releases or str(releases[0][0]) != version:
        fix = f"Fix: rename the section Unreleased to `[{version}] - YYYY-MM-DD`."
        return f"The first released version in CHANGELOG.md is not {version}.\n{fix}"
    return None


if __name__ == "__main__":
    sys.exit(find_obstacle(sys.argv[1], __version__, (REPOSITORY / "CHANGELOG.md").read_text("utf-8")))
