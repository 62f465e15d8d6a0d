"""What the self-test returns: its table as text, as HTML for a notebook, and as JSON for an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from dbx_patch._doctor._html import STYLE
from dbx_patch._fingerprint import fingerprint
from dbx_patch._fingerprint._redact import redact

State = Literal["passed", "failed", "not applicable"]
MARKS: dict[State, str] = {"passed": "✓", "failed": "✗", "not applicable": "\N{EN DASH}"}
UNKNOWN = "\N{EN DASH}"
"""What the table has where mount calls can't be known."""
COLORS: dict[State, str] = {"passed": "good", "failed": "bad", "not applicable": "more"}
SCHEMA = 1
"""The version of the JSON's layout. It changes when something is renamed or removed."""
PATH = re.compile(r"/[^\s'\",;:()`]*")
"""A path in a text of ours."""
TABLE_STYLE = """
<style>
.dbxp table {border-collapse: collapse} .dbxp .more {opacity: .6}
.dbxp td, .dbxp th {padding: .15em .6em; text-align: left; vertical-align: top; background: none; color: inherit}
.dbxp .number {text-align: right} .dbxp th, .dbxp .number {white-space: nowrap}
</style>
"""


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
    """What was found instead, or why it is not applicable."""
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
        return UNKNOWN if self.mount_calls is None else str(self.mount_calls)

    def __str__(self) -> str:
        head = f"{MARKS[self.state]} {self.promise:<23}"
        if self.state == "not applicable":
            return f"{head} {self.detail} ({self.process})"
        head += f" {self.seconds:5.2f} s {self.calls:>5}  {self.process}, {self.place}"
        return "\n".join([head, *(f"    {line}" for line in self.found.splitlines())])

    def draw(self) -> str:
        """Return it as a row of an HTML table."""
        more = f"<br><small>{escape(self.found)}</small>" if self.found else ""
        return (
            f'<tr><td class="{COLORS[self.state]}">{MARKS[self.state]}</td><td>{escape(self.promise)}{more}</td>'
            f'<td class="number">{self.seconds:.2f} s</td><td class="number">{self.calls}</td>'
            f"<td>{escape(self.process)}, <code>{escape(self.place)}</code></td></tr>"
        )


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Which promises hold in the place where the self-test ran."""

    live: str
    """Which shim runs in a fresh interpreter and in this process."""
    folders: tuple[str, ...]
    """The folders that were written to."""
    rows: tuple[Row, ...]
    left: tuple[str, ...] = ()
    """What could not be removed, each with the reason."""

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
                "place": redact_paths(row.place),
                "state": row.state,
                "detail": redact_paths(row.detail),
                "seconds": round(row.seconds, 3),
                "mount_calls": row.mount_calls,
            }
            for row in self.rows
        ]
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "live": redact_paths(self.live),
            "folders": [redact_paths(folder) for folder in self.folders],
            "promises": rows,
            "left": [redact_paths(each) for each in self.left],
            "fingerprint": fingerprint(),
        }


def describe_start(live: str, folders: tuple[str, ...]) -> str:
    """Return what is said before anything is written."""
    lines = [live, "The self-test writes to these folders, and removes what it wrote:"] if folders else [live]
    return "\n".join([*lines, *(f"  {folder}" for folder in folders), f"  {'promise':<23}    time calls  where"])


def draw(live: str, folders: Iterable[str], rows: Iterable[Row], end: str) -> str:
    """Return the table as HTML. `end` is what is below it: the summary, or what is being tried."""
    listed = ", ".join(f"<code>{escape(folder)}</code>" for folder in folders)
    head = "<tr><th></th><th>promise</th><th>time</th><th>mount calls</th><th>where</th></tr>"
    below = "<br>".join(map(escape, end.splitlines()))
    return (
        f'{STYLE}{TABLE_STYLE}<div class="dbxp"><p>{escape(live)}<br><small>It writes to {listed}, and removes what it '
        f"wrote.</small></p><table>{head}{''.join(row.draw() for row in rows)}</table><p>{below}</p></div>"
    )


def redact_paths(text: str) -> str:
    """Return a text of ours with each path redacted."""
    return PATH.sub(lambda found: redact(found[0]) or "", text)
