"""Prints what is running where nothing was printed for a while: some tests take minutes."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

SILENCE = 30
"""Seconds."""


class Progress:
    """Follows the tests of a run, those of all xdist workers too."""

    def __init__(self, show: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.show = show
        self.clock = clock
        self.total = 0
        self.done = 0
        self.failed = 0
        self.running: dict[str, float] = {}
        """Each running test, and when it started."""
        self.last = clock()
        """When anything was printed."""

    def start(self, test: str) -> None:
        """Note that a test starts."""
        self.running[test] = self.clock()

    def finish(self, test: str) -> None:
        """Note that a test is over; pytest prints a dot for it."""
        self.running.pop(test, None)
        self.done += 1
        self.last = self.clock()

    def check(self) -> None:
        """Print what is running if nothing was printed for a while."""
        now = self.clock()
        if now - self.last < SILENCE:
            return
        self.last = now
        longest = sorted(self.running.items(), key=lambda item: item[1])
        tests = "".join(f"\n  {test} ({now - started:.0f} s)" for test, started in longest)
        of_all = f"{self.done} of {self.total}" if self.total else "setting up; none"
        self.show(
            f"\n[{time.strftime('%H:%M:%S')}] {of_all} done, {self.failed} failed; running:{tests or ' nothing'}\n"
        )


class ProgressPlugin:
    """Lets pytest report to a Progress, which is checked each second."""

    def __init__(self) -> None:
        # Where pytest captures what tests print, this is still the terminal.
        self.output = os.fdopen(os.dup(1), "w")
        self.progress = Progress(self.show)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.check_each_second, daemon=True)

    def show(self, text: str) -> None:
        """Print at once."""
        self.output.write(text)
        self.output.flush()

    def check_each_second(self) -> None:
        """Check until the run is over."""
        while not self.stopped.wait(1):
            self.progress.total = self.session.testscollected  # known once xdist's workers have collected
            self.progress.check()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.progress.start(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.progress.failed += report.failed
        if report.when == "teardown":
            self.progress.finish(report.nodeid)

    def pytest_unconfigure(self) -> None:
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()
        self.output.close()
