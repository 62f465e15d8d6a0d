"""Draws what a notebook shows: no script, nothing loaded from elsewhere, and nothing that is wider than the cell.

The functions take HTML and return HTML. Who calls them escapes the texts; only `code` does it itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

PASSED, FAILED, SKIPPED = "✓", "✗", "–"  # noqa: RUF001  # a dash is what tables have there
"""Marks of what is as it should be, of what is not, and of what does not apply or was not reached."""
CLASSES = {PASSED: "good", FAILED: "bad", SKIPPED: "faint"}
NO_BREAK = "\N{NO-BREAK SPACE}"
STYLE = """
<style>
.dbxp {font: 14px/1.5 system-ui, sans-serif; max-width: 60em; overflow-wrap: anywhere; text-align: left}
.dbxp code, .dbxp pre {font: 12.5px/1.5 ui-monospace, monospace; color: inherit; background: none; padding: 0;
  overflow-wrap: anywhere; white-space: pre-wrap}
.dbxp h3, .dbxp h4 {margin: .8em 0 .3em; font-size: 16px}
.dbxp p {margin: .3em 0}
.dbxp ul {margin: .3em 0; padding-left: 1.3em}
.dbxp ol {list-style: none; margin: .4em 0; padding: 0}
.dbxp li.step {margin: 0; padding: .15em .7em; border-left: 4px solid #8888}
.dbxp li.passes {opacity: .7}
.dbxp li.found {border-color: #2e9e4f; background: #2e9e4f22}
.dbxp li.stops {border-color: #d64545; background: #d6454522}
.dbxp .good {color: #2e9e4f; color: color-mix(in srgb, #2e9e4f 70%, currentColor)}
.dbxp .bad {color: #d64545; color: color-mix(in srgb, #d64545 70%, currentColor)}
.dbxp .faint {opacity: .65}
.dbxp .check {display: inline-block; margin-right: .9em}
.dbxp .check.bad {font-weight: 600}
.dbxp pre {margin: .3em 0; padding: .5em .8em; border: 1px solid #8888; border-radius: 6px; user-select: all}
.dbxp small {opacity: .8}
.dbxp details {margin: .4em 0}
.dbxp summary {cursor: pointer}
.dbxp table {table-layout: auto; border-collapse: collapse; margin: .4em 0; max-width: 100%; color: inherit;
  font: inherit}
.dbxp th, .dbxp td {padding: .2em .7em .2em 0; text-align: left; vertical-align: top; white-space: normal;
  max-width: none; overflow-wrap: anywhere; border-bottom: 1px solid #8884}
.dbxp th, .dbxp td span {overflow-wrap: normal}
</style>
"""
"""Colors that are legible on a light and on a dark background: mixed with the page's own. The rest is inherited."""


def page(*parts: str) -> str:
    """Return parts as one output of a cell."""
    return f'{STYLE}<div class="dbxp">{"".join(parts)}</div>'


def mark(character: str, text: str = "", classes: str = "") -> str:
    """Return a mark in its color, with a text that stays beside it."""
    named = f"{classes} {CLASSES[character]}".strip()
    return f'<span class="{named}">{NO_BREAK.join(filter(None, (character, text)))}</span>'


def code(text: str) -> str:
    """Return a text that is code; empty if it is. The text is escaped."""
    return f"<code>{escape(text)}</code>" if text else ""


def bullets(items: Iterable[str]) -> str:
    """Return a list; empty if it has no items."""
    listed = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{listed}</ul>" if listed else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in every row; empty if it has no rows."""
    if not rows:
        return ""
    kept = [number for number in range(len(heads)) if any(row[number] for row in rows)]
    head = "".join(f"<th>{heads[number]}</th>" for number in kept)
    body = "".join(f"<tr>{''.join(f'<td>{row[number] or mark(SKIPPED)}</td>' for number in kept)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def fold(title: str, content: str) -> str:
    """Return content that shows when its title is clicked."""
    return f"<details><summary>{title}</summary>{content}</details>"
