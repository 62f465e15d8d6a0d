"""What the doctor returns, as text and as JSON; `_html` draws it for a notebook."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from dbx_patch._doctor import _html
from dbx_patch._html import FAILED, PASSED, SKIPPED

Cause = Literal[
    "healthy",
    "name taken",
    "executors lack its finder",
    "path not sent",
    "driver only",
    "finder failed",
    "folder absent",
    "folder unreadable",
    "hook incompatible",
    "imported before",
    "links missing",
    "mount away",
    "mount not answering",
    "no credential",
    "no such module",
    "not installed",
    "off the path",
    "patches removed",
    "refused",
    "shadowed",
    "shim broken",
    "shim not installed",
    "shim not live",
    "shim turned off",
    "stale cache",
    "start-up line failed",
    "started before",
    "started without site",
    "unknown",
    "unreadable",
]
"""The closed set of results. docs/troubleshooting.md has a section for each."""
Kind = Literal["hook", "finder", "root", "layer", "path entry"]
IMPORTABLE = frozenset({"healthy", "name taken", "executors lack its finder", "path not sent", "driver only"})
"""The causes with which a module is importable in this process."""
SCHEMA = 1
"""The version of docs/doctor.schema.json. It changes when something is renamed or removed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One place that the import of a top-level name passes through."""

    kind: Kind
    """A hook of Databricks', a finder on `sys.meta_path`, or an entry of `sys.path`."""
    place: str
    """The hook's name, the finder's type, or the entry."""
    state: Literal["passes", "found", "stops"]
    """Whether it lets the import pass on, finds the module, or stops the import."""
    detail: str = ""
    """What was found, or why the import stops."""
    ends: bool = False
    """Whether an import that stops here asks no further place."""

    @property
    def name(self) -> str:
        """The place with its kind, for people."""
        return f"{self.kind} {self.place or '(the working folder)'}"

    def __str__(self) -> str:
        mark = {"passes": " ", "found": "+", "stops": "x"}[self.state]
        return f"{mark} {self.name}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Check:
    """What was examined for a diagnosis."""

    name: str
    """What: `shim`, `folder`, `hooks` and so on."""
    state: Literal["passed", "failed", "not reached"]
    """Whether it is as it should be. What comes after the first failure is not reached."""

    @property
    def mark(self) -> str:
        """The state as one character."""
        return {"passed": PASSED, "failed": FAILED, "not reached": SKIPPED}[self.state]

    def __str__(self) -> str:
        return f"{self.mark} {self.name}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a module can or can't be imported in this process."""

    module: str
    """Its name; empty if the diagnosis is about the process as a whole."""
    cause: Cause
    summary: str
    """The cause in words."""
    evidence: tuple[str, ...] = ()
    """The files, lines and states that show it."""
    command: str = ""
    """What fixes it: a notebook's cell in a notebook, otherwise a shell command. Empty if no command does."""
    steps: tuple[Step, ...] = ()
    """The places that an import of the top-level name passes through, in order."""
    checks: tuple[Check, ...] = ()
    """What was examined, in order, up to the cause, and what comes after it."""

    @property
    def healthy(self) -> bool:
        """Whether the module is importable in this process."""
        return self.cause in IMPORTABLE

    @property
    def culprit(self) -> Step | None:
        """The step that stops the import, if one does."""
        stops = [step for step in self.steps if step.state == "stops" and not self.healthy]
        return next((step for step in stops if step.kind != "hook" or self.cause == "hook incompatible"), None)

    @property
    def title(self) -> str:
        """The module and the cause, on one line."""
        return f"{self.module or 'this process'}: {self.summary}"

    @property
    def overview(self) -> str:
        """Every check with its mark, on one line; empty where nothing is wrong."""
        return "" if self.healthy else "  ".join(map(str, self.checks))

    @property
    def details(self) -> tuple[str, ...]:
        """The lines after the title: the evidence and the fix."""
        first, *more = self.command.splitlines() or [""]
        fix = [f"  Fix: {first}", *(f"       {line}" for line in more)] if first else []
        return (*(f"  {line}" for line in self.evidence), *fix)

    def __str__(self) -> str:
        return "\n".join([*filter(None, [self.overview]), self.title, *self.details])


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found."""

    diagnoses: tuple[Diagnosis, ...]
    """One for each module that was asked about."""
    judged: Literal["notebook", "this interpreter"] = "this interpreter"
    """What the diagnoses are about: a new notebook's environment, made for this report, or this interpreter."""
    python: str = field(default_factory=lambda: sys.executable)
    """The interpreter that was judged; of a notebook's environment, the runtime's, from which it was created."""
    here: tuple[Diagnosis, ...] = ()
    """Where a notebook was judged: the diagnoses of this interpreter that have another cause."""
    note: str = ""
    """Why this interpreter was judged although a notebook was to be; empty otherwise."""

    @property
    def healthy(self) -> bool:
        """Whether every module is importable where that was judged."""
        return all(diagnosis.healthy for diagnosis in self.diagnoses)

    @property
    def sections(self) -> tuple[tuple[str, tuple[Diagnosis, ...]], ...]:
        """The parts of the report, each with its heading; a report on one interpreter has no headings."""
        if self.judged == "this interpreter":
            return (("", self.diagnoses),)
        there = ("In a new notebook:", self.diagnoses)
        return (there, (f"In this interpreter, {sys.executable}:", self.here)) if self.here else (there,)

    def __str__(self) -> str:
        lines = [line for title, found in self.sections for line in (title, *map(str, found)) if line]
        return "\n".join([*lines, *([f"Note: {self.note}."] if self.note else [])])

    def _repr_html_(self) -> str:
        """Return it as HTML for a notebook."""
        return _html.draw_report(self)

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/doctor.schema.json describes it."""
        return {
            "schema": SCHEMA,
            "healthy": self.healthy,
            "judged": self.judged,
            "python": self.python,
            "note": self.note,
            "diagnoses": list(map(write_diagnosis, self.diagnoses)),
            "here": list(map(write_diagnosis, self.here)),
        }


def write_diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as docs/doctor.schema.json describes it."""
    return {**dataclasses.asdict(diagnosis), "healthy": diagnosis.healthy}
