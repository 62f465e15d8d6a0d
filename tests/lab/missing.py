"""What a test does where the machine lacks something it needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, and say what it lacks; in CI, where nothing may go unseen, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has to have {what}")
    pytest.skip(f"this machine lacks {what}")


def need_root(what: str) -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing(f"root, who alone can {what}")
