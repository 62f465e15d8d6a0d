"""Draws a report as HTML for a notebook: no script, nothing loaded from elsewhere, and every text escaped."""

from __future__ import annotations

from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch._doctor._report import Diagnosis, Report, Step

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
"""Colours that are legible on a light and on a dark background. Everything else is inherited from the page."""
GOOD, BAD = "✔", "✘"
STOPS_HERE = "◀ stops here"


def draw_report(report: Report) -> str:
    """Return a report as HTML."""
    return f'{STYLE}<div class="dbxp">' + "".join(map(draw_diagnosis, report.diagnoses)) + "</div>"


def draw_diagnosis(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as HTML, with the step that stops the import marked and the command ready to be copied."""
    mark = f'<span class="good">{GOOD}</span>' if diagnosis.healthy else f'<span class="bad">{BAD}</span>'
    name = f"<code>{escape(diagnosis.module)}</code>: " if diagnosis.module else ""
    evidence = "".join(f"<li><code>{escape(line)}</code></li>" for line in diagnosis.evidence)
    parts = [f"<h4>{mark} {name}{escape(diagnosis.summary)}</h4>", f"<ul>{evidence}</ul>" if evidence else ""]
    if diagnosis.command:
        parts.append(f"To fix it:<pre>{escape(diagnosis.command)}</pre>")
    if diagnosis.steps:
        steps = "".join(draw_step(step, culprit=step is diagnosis.culprit) for step in diagnosis.steps)
        parts.append(f"<ol>{steps}</ol>")
    return "".join(parts)


def draw_step(step: Step, *, culprit: bool) -> str:
    """Return one step as an item of the list."""
    mark = f' <b class="bad">{STOPS_HERE}</b>' if culprit else ""
    detail = f"<br><small>{escape(step.detail)}</small>" if step.detail else ""
    return f'<li class="step {step.state}">{step.kind} <code>{escape(step.place)}</code>{mark}{detail}</li>'
