"""Skips tests that need what the machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test and report what is missing. In CI, fail instead: a skip would go unnoticed."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has to have {what}")
    pytest.skip(f"this machine lacks {what}")


def need_root(what: str) -> None:
    """Skip the test unless it runs as root."""
    if os.geteuid() != 0:
        missing(f"root, which is needed to {what}")
