"""Proves each promise of dbx-patch in the place where it runs, with throw-away projects that it removes again."""

from dbx_patch._selftest._report import MARKS, Row, SelfTest
from dbx_patch._selftest._run import Watcher, run_selftest, selftest

__all__ = ["MARKS", "Row", "SelfTest", "Watcher", "run_selftest", "selftest"]
