"""What the self-test returns: its table as text, as HTML for a notebook, and as JSON for an issue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from dbx_patch import _html
from dbx_patch._fingerprint import fingerprint
from dbx_patch._fingerprint._redact import redact

State = Literal["passed", "failed", "not applicable"]
MARKS: dict[State, str] = {"passed": _html.PASSED, "failed": _html.FAILED, "not applicable": _html.SKIPPED}
SCHEMA = 1
"""The version of the JSON's layout. It changes when something is renamed or removed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise that was tried in one place."""

    promise: str
    """A few words that name it; docs/reference.md explains each."""
    process: str
    """`fresh interpreter` or `this process`."""
    place: str
    """The layer that a project was installed into, or the folder that it was in."""
    state: State
    detail: str = ""
    """What was found instead, or why it is not applicable. If it names a path, it ends with that."""
    evidence: str = ""
    """The text of an error. It can name anything, so it is not in the JSON."""
    seconds: float = 0.0
    """How long it took, with the starts of interpreters."""
    mount_calls: int | None = None
    """How often Python asked the mount for something below the self-test's folder there; None if that is not known."""

    @property
    def found(self) -> str:
        """What a person is told of what was found: the error, if there is one."""
        return self.evidence or self.detail

    @property
    def calls(self) -> str:
        """The calls to the mount as a text."""
        return _html.SKIPPED if self.mount_calls is None else str(self.mount_calls)

    def __str__(self) -> str:
        head = f"{MARKS[self.state]} {self.promise:<23}"
        if self.state == "not applicable":
            return f"{head} {self.detail} ({self.process})"
        head += f" {self.seconds:5.2f} s {self.calls:>5}  {self.process}, {self.place}"
        return "\n".join([head, *(f"    {line}" for line in self.found.splitlines())])

    def draw(self) -> tuple[str, ...]:
        """Return the cells of its row in the HTML table."""
        more = f"<br><small>{escape(self.found)}</small>" if self.found else ""
        return (
            _html.mark(MARKS[self.state]),
            f"{escape(self.promise)}{more}",
            "" if self.state == "not applicable" else f"{self.seconds:.2f}{_html.NO_BREAK}s",
            "" if self.mount_calls is None else str(self.mount_calls),
            f"{escape(self.process)}, {_html.code(self.place)}",
        )


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Which promises hold in the place where the self-test ran."""

    live: str
    """Which shim runs in a fresh interpreter and in this process. A line that names a path ends with it."""
    folders: tuple[str, ...]
    """The folders that were written to."""
    rows: tuple[Row, ...]
    left: tuple[str, ...] = ()
    """What could not be removed: the reason, and the path."""

    @property
    def passed(self) -> bool:
        """Whether something applies, nothing of that failed, and everything was removed."""
        states = {row.state for row in self.rows}
        return not self.left and "failed" not in states and "passed" in states

    @property
    def summary(self) -> str:
        """The counts in one line."""
        counts = [f"{sum(row.state == state for row in self.rows)} {state}" for state in MARKS]
        return f"{MARKS['passed' if self.passed else 'failed']} Self-test of dbx-patch: {', '.join(counts)}."

    def describe_end(self) -> str:
        """Return the lines below the table."""
        removed = (f"could not be removed: {each}" for each in self.left)
        return "\n".join([self.summary, *(removed if self.left else ["Everything that it wrote was removed."])])

    def __str__(self) -> str:
        return "\n".join([describe_start(self.live, self.folders), *map(str, self.rows), self.describe_end()])

    def _repr_html_(self) -> str:
        """Return it as HTML for a notebook, with all text escaped."""
        return draw(self.live, self.folders, self.rows, self.describe_end())

    def to_json(self) -> dict[str, Any]:
        """Return the table and the fingerprint of this process, with all paths redacted, to be pasted into an issue."""
        rows = [
            {
                "promise": row.promise,
                "process": row.process,
                "place": redact(row.place),
                "state": row.state,
                "detail": redact_lines(row.detail),
                "seconds": round(row.seconds, 3),
                "mount_calls": row.mount_calls,
            }
            for row in self.rows
        ]
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "live": redact_lines(self.live),
            "folders": [redact(folder) for folder in self.folders],
            "promises": rows,
            "left": [redact_lines(each) for each in self.left],
            "fingerprint": fingerprint(),
        }


def describe_start(live: str, folders: tuple[str, ...]) -> str:
    """Return the lines above the table: which shim is live, and the folders that are written to."""
    lines = [live, "The self-test writes to these folders, and removes what it wrote:"] if folders else [live]
    return "\n".join([*lines, *(f"  {folder}" for folder in folders), f"  {'promise':<23}    time calls  where"])


def draw(live: str, folders: Iterable[str], rows: Iterable[Row], end: str) -> str:
    """Return the table as HTML. `end` is what is below it: the summary, or what is being tried."""
    listed = ", ".join(map(_html.code, folders))
    start, below = ("<br>".join(map(escape, text.splitlines())) for text in (live, end))
    return _html.page(
        f"<p>{start}<br><small>It writes to {listed}, and removes what it wrote.</small></p>",
        _html.table(("", "promise", "time", "mount calls", "where"), [row.draw() for row in rows]),
        f"<p>{below}</p>",
    )


def redact_lines(text: str) -> str:
    """Return a text of ours with each path redacted: a line has one at its end, or none."""
    parts = (line.partition("/") for line in text.splitlines())
    return "\n".join(head + (redact(slash + path) or "") for head, slash, path in parts)
