"""What the doctor returns, as text and as JSON; `_html` draws it for a notebook."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from dbx_patch._doctor import _html

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
    "installed again",
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

    def __str__(self) -> str:
        mark = {"passes": " ", "found": "+", "stops": "x"}[self.state]
        return f"{mark} {self.kind} {self.place}" + (f": {self.detail}" if self.detail else "")


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

    @property
    def healthy(self) -> bool:
        """Whether the module is importable in this process."""
        return self.cause in IMPORTABLE

    @property
    def culprit(self) -> Step | None:
        """The step that stops the import, if one does."""
        stops = [step for step in self.steps if step.state == "stops" and not self.healthy]
        return next((step for step in stops if step.kind != "hook" or self.cause == "hook incompatible"), None)

    def __str__(self) -> str:
        lines = [f"{self.module or 'this process'}: {self.summary}", *(f"  {line}" for line in self.evidence)]
        first, *more = self.command.splitlines() or [""]
        fix = [f"  Fix: {first}", *(f"       {line}" for line in more)] if first else []
        return "\n".join([*lines, *fix])


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found."""

    diagnoses: tuple[Diagnosis, ...]
    """One for each module that was asked about."""

    @property
    def healthy(self) -> bool:
        """Whether every module is importable in this process."""
        return all(diagnosis.healthy for diagnosis in self.diagnoses)

    def __str__(self) -> str:
        return "\n".join(map(str, self.diagnoses))

    def _repr_html_(self) -> str:
        """Return it as HTML for a notebook."""
        return _html.draw_report(self)

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/doctor.schema.json describes it."""
        diagnoses = [{**dataclasses.asdict(found), "healthy": found.healthy} for found in self.diagnoses]
        return {"schema": SCHEMA, "healthy": self.healthy, "diagnoses": diagnoses}
