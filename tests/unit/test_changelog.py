"""A tag is released with its version and its changes: the check that tests/release.py makes."""

from __future__ import annotations

import pytest

from tests.lab.wheels import REPOSITORY
from tests.release import find_obstacle, list_releases


@pytest.mark.parametrize(
    ("tag", "changelog", "obstacle"),
    [
        ("v1.0", "## [Unreleased]\n\n## [1.0] - 2027-01-31\n\n## [0.9] - 2026-01-31\n", None),
        ("v1.1", "## [1.0] - 2027-01-31\n", "The tag is v1.1, but the version of the code is 1.0."),
        ("1.0", "## [1.0] - 2027-01-31\n", "The tag is 1.0, but the version of the code is 1.0."),
        ("v1.0", "## [Unreleased]\n", "The first released version in CHANGELOG.md is not 1.0."),
        ("v1.0", "## [0.9] - 2026-01-31\n", "The first released version in CHANGELOG.md is not 1.0."),
    ],
)
def test_tag_needs_its_version_and_its_changes(tag: str, changelog: str, obstacle: str | None) -> None:
    found = find_obstacle(tag, "1.0", changelog)

    assert (found.splitlines()[0] if found else None) == obstacle
    assert found is None or found.splitlines()[1].startswith("Fix: ")


@pytest.mark.parametrize(
    "changelog", ["## [1.0]\n", "## [0.9] - 2026-01-31\n## [1.0] - 2027-01-31\n", "## [x] - 2026-01-31"]
)
def test_changelog_that_is_out_of_order_is_refused(changelog: str) -> None:
    with pytest.raises(ValueError, match=r"newest version first|Invalid version"):
        list_releases(changelog)


def test_changelog_is_in_order() -> None:
    list_releases((REPOSITORY / "CHANGELOG.md").read_text("utf-8"))
