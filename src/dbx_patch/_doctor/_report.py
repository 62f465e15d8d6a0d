"""What the doctor says: in words, as a picture for a notebook, and for machines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

Cause = Literal[
    "healthy",
    "name taken",
    "executors lack its finder",
    "driver only",
    "finder failed",
    "folder absent",
    "folder unreadable",
    "hook incompatible",
    "imported before",
    "installed again",
    "links missing",
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
    "start-up line failed",
    "started before",
    "started without site",
    "unknown",
    "unreadable",
]
"""What a diagnosis comes to. Each has its section in docs/troubleshooting.md."""
Kind = Literal["hook", "finder", "root", "layer", "path entry"]
IMPORTABLE = frozenset({"healthy", "name taken", "executors lack its finder", "driver only"})
"""The causes with which a module is importable in this process."""
SCHEMA = 1
"""The version of what `Report.to_json` gives (docs/doctor.schema.json); a new one renames or removes something."""

STYLE = """
<style>
.dbxp {font: 14px/1.5 system-ui, sans-serif; max-width: 60em; overflow-wrap: anywhere}
.dbxp code, .dbxp pre {font: 12.5px/1.5 ui-monospace, monospace; color: inherit; background: none}
.dbxp h4 {margin: .8em 0 .3em; font-size: 16px}
.dbxp ul {margin: .2em 0; padding-left: 1.3em}
.dbxp ol {list-style: none; margin: .8em 0; padding: 0}
.dbxp li.step {padding: .15em .7em; border-left: 4px solid #2e9e4f88}
.dbxp li.found {border-color: #2e9e4f; background: #2e9e4f22}
.dbxp li.stops {border-color: #d64545; background: #d6454522}
.dbxp .good {color: #2e9e4f} .dbxp .bad {color: #d64545}
.dbxp pre {margin: .3em 0; padding: .5em .8em; border: 1px solid #8a8a8a88; border-radius: 6px; user-select: all;
  white-space: pre-wrap}
.dbxp small {opacity: .75}
</style>
"""
"""Colours that are read on a light and on a dark ground; the rest is the page's own."""


@dataclass(frozen=True, slots=True)
class Step:
    """A place that the import of a top-level name comes by."""

    kind: Kind
    """A hook of Databricks', a finder on `sys.meta_path`, or an entry of `sys.path`."""
    place: str
    """The hook's name, the finder's type, or the entry."""
    state: Literal["passes", "found", "stops"]
    """Whether it has nothing of that name, has it, or keeps an import from what is there."""
    detail: str = ""
    """What was found, or why it stops."""
    ends: bool = False
    """Whether an import that is stopped here gets no further."""

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
    """What is the matter, in words."""
    evidence: tuple[str, ...] = ()
    """The files, lines and states that show it."""
    command: str = ""
    """What mends it, to be copied: Python for a notebook's cell in a notebook, else a shell's. Empty if none does."""
    steps: tuple[Step, ...] = ()
    """The way that an import of the top-level name takes, in order."""

    @property
    def healthy(self) -> bool:
        """Whether the module is importable in this process."""
        return self.cause in IMPORTABLE

    def __str__(self) -> str:
        lines = [f"{self.module or 'this process'}: {self.summary}", *(f"  {line}" for line in self.evidence)]
        return "\n".join([*lines, *([f"  To mend it: {self.command}"] if self.command else [])])

    def to_html(self) -> str:
        """Draw it: the culprit marked, and what mends it ready to be copied."""
        mark = '<span class="good">✔</span>' if self.healthy else '<span class="bad">✘</span>'
        name = f"<code>{escape(self.module)}</code>: " if self.module else ""
        evidence = "".join(f"<li><code>{escape(line)}</code></li>" for line in self.evidence)
        stops = [step for step in self.steps if step.state == "stops" and not self.healthy]
        culprit = next((step for step in stops if step.kind != "hook" or self.cause == "hook incompatible"), None)
        parts = [f"<h4>{mark} {name}{escape(self.summary)}</h4>", f"<ul>{evidence}</ul>" if evidence else ""]
        if self.command:
            parts.append(f"To mend it:<pre>{escape(self.command)}</pre>")
        if self.steps:
            parts.append("<ol>" + "".join(draw_step(step, culprit=step is culprit) for step in self.steps) + "</ol>")
        return "".join(parts)


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
        """Draw it for a notebook: no script, nothing from elsewhere, and all of it escaped."""
        return f'{STYLE}<div class="dbxp">' + "".join(diagnosis.to_html() for diagnosis in self.diagnoses) + "</div>"

    def to_json(self) -> dict[str, Any]:
        """Give it as docs/doctor.schema.json describes it."""
        diagnoses = [{**dataclasses.asdict(found), "healthy": found.healthy} for found in self.diagnoses]
        return {"schema": SCHEMA, "healthy": self.healthy, "diagnoses": diagnoses}


def draw_step(step: Step, *, culprit: bool) -> str:
    """Draw one step of the column."""
    mark = ' <b class="bad">◀ stops here</b>' if culprit else ""
    detail = f"<br><small>{escape(step.detail)}</small>" if step.detail else ""
    return f'<li class="step {step.state}">{step.kind} <code>{escape(step.place)}</code>{mark}{detail}</li>'
