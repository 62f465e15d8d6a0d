"""Draws a report as HTML for a notebook."""

from __future__ import annotations

from html import escape

from dbx_patch import _html

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch._doctor._report import Diagnosis, Report, Step

MARKS = {"passes": "·", "found": _html.PASSED, "stops": _html.FAILED}
STOPS_HERE = "◀ stops here"


def draw_report(report: Report) -> str:
    """Return a report as HTML."""
    parts = [
        part
        for title, found in report.sections
        for part in (f"<h3>{escape(title)}</h3>" if title else "", *map(draw_diagnosis, found))
    ]
    return _html.page(*parts, f"<p>Note: {escape(report.note)}.</p>" if report.note else "")


def draw_diagnosis(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as HTML: the result of every check, then the one cause, with the command ready to be copied.

    Of the places that the import passes through, only the one where it ends is shown. A click shows the others.
    """
    mark = _html.PASSED if diagnosis.healthy else _html.FAILED
    checks = " ".join(_html.mark(each.mark, escape(each.name), "check") for each in diagnosis.checks)
    fix = f"To fix it:<pre>{escape(diagnosis.command)}</pre>" if diagnosis.command else ""
    return "".join(
        (
            f"<h4>{_html.mark(mark)} {_html.code(diagnosis.module) or 'this process'}</h4>",
            f"<p>{checks}</p>" if checks else "",
            f"<p><b>{escape(diagnosis.summary)}</b></p>",
            _html.bullets(map(_html.code, diagnosis.evidence)),
            fix,
            draw_way(diagnosis),
        )
    )


def draw_way(diagnosis: Diagnosis) -> str:
    """Return the steps of the import: the one where it ends, and all of them folded away."""
    steps, end = diagnosis.steps, find_end(diagnosis)
    shown = f"<ol>{draw_step(end, culprit=end is diagnosis.culprit)}</ol>" if end else ""
    if not steps or (end and len(steps) == 1):
        return shown
    every = "".join(draw_step(step, culprit=step is diagnosis.culprit) for step in steps)
    return shown + _html.fold(name_way(diagnosis), f"<ol>{every}</ol>")


def find_end(diagnosis: Diagnosis) -> Step | None:
    """Return the step that stops the import, or else the one that finds the module."""
    return diagnosis.culprit or next((step for step in diagnosis.steps if step.state == "found"), None)


def name_way(diagnosis: Diagnosis) -> str:
    """Return the title of all steps."""
    return f"All {len(diagnosis.steps)} places that the import passes through"


def draw_step(step: Step, *, culprit: bool) -> str:
    """Return one step as an item of the list."""
    here = f' <b class="bad">{STOPS_HERE}</b>' if culprit else ""
    detail = f"<br><small>{escape(step.detail)}</small>" if step.detail else ""
    place = f"<code>{escape(step.place)}</code>" if step.place else "(the working folder)"
    return f'<li class="step {step.state}">{MARKS[step.state]} {step.kind} {place}{here}{detail}</li>'
