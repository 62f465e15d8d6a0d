"""After half a minute of silence, the run prints which tests are running."""

from __future__ import annotations

from tests.progress import SILENCE, Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_running_tests_are_shown_after_a_silence() -> None:
    clock, shown = Clock(), list[str]()
    progress = Progress(shown.append, clock)
    progress.total = 9
    progress.start("slow")
    clock.now = 5
    progress.start("quick")
    progress.finish("quick")

    clock.now = 5 + SILENCE - 1
    progress.check()
    assert shown == []

    clock.now = 5 + SILENCE
    progress.check()
    progress.check()
    (text,) = shown
    assert "1 of 9 done, 0 failed" in text
    assert f"slow ({5 + SILENCE} s)" in text
    assert "quick" not in text
