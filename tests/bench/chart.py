"""Draws what starts cost, as an SVG for light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.budgets import BUDGETS

if TYPE_CHECKING:
    from tests.bench.report import Report

SCENES = {"bare": "A bare start", "notebook": "A notebook's start: a runtime's packages, 3 editable installs"}
LABELS = {"empty": "an empty file", "with": "dbx-patch", "setuptools": "setuptools' file"}
LEFT, WIDTH, BAR, GAP = 280, 520, 13, 7
"""Where bars begin, how wide the longest is, how high each, and what is between those of two interpreters."""

STYLE = """\
  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2933 }
    .h { font-size: 14px; font-weight: 600 }
    .n { font-size: 12px; fill: #52606d }
    .empty { fill: #9aa5b1 }
    .with { fill: #1976d2 }
    .setuptools { fill: #b26a00 }
    .axis { stroke: #7b8794; stroke-width: 1.5 }
    .most { stroke: #b71c1c; stroke-width: 1.5; stroke-dasharray: 5 4 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb }
      .n { fill: #b0bac5 }
      .empty { fill: #69788a }
      .with { fill: #64b5f6 }
      .setuptools { fill: #ffb74d }
      .axis { stroke: #9aa5b1 }
      .most { stroke: #ff8a80 }
    }
  </style>"""


def draw(report: Report) -> str:
    """Draw how many more instructions a start takes with an empty `sitecustomize.py`, and with ours."""
    scenes = {scene: {python: list_bars(report, scene, python) for python in report.figures} for scene in SCENES}
    budgets = {scene: ((BUDGETS[scene].most or 1) - 1) * 100 for scene in SCENES}
    longest = max(more for bars in scenes.values() for each in bars.values() for more in each.values())
    scale = WIDTH / max(longest, *budgets.values())
    lines, y = [], 70
    for scene, title in SCENES.items():
        lines.append(f'  <text x="20" y="{y}" class="h">{title}</text>')
        y += 32
        most, top = LEFT + budgets[scene] * scale, y - 6
        lines.append(f'  <text x="{most:.0f}" y="{y - 10}" class="n" text-anchor="middle">budget</text>')
        for python, bars in scenes[scene].items():
            middle = y + len(bars) * (BAR + 2) // 2 + 4
            lines.append(f'  <text x="20" y="{middle}">CPython {python}</text>')
            for name, more in bars.items():
                lines += [
                    f'  <text x="{LEFT - 60}" y="{y + 11}" class="n" text-anchor="end">{LABELS[name]}</text>',
                    f'  <text x="{LEFT - 8}" y="{y + 11}" class="n" text-anchor="end">{more:+.1f} %</text>',
                    f'  <rect class="{name}" x="{LEFT}" y="{y}" width="{max(more, 0) * scale:.0f}" height="{BAR}"/>',
                ]
                y += BAR + 2
            y += GAP
        lines += [
            f'  <line class="axis" x1="{LEFT}" y1="{top}" x2="{LEFT}" y2="{y}"/>',
            f'  <line class="most" x1="{most:.0f}" y1="{top}" x2="{most:.0f}" y2="{y}"/>',
        ]
        y += 34
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {y - 24}" role="img" aria-labelledby="t d">
  <title id="t">What a start of Python costs with dbx-patch</title>
  <desc id="d">Instructions more than without a sitecustomize, in per cent, for each version of Python: with an empty
    sitecustomize.py, with dbx-patch's, and with setuptools' start-up file. The tables have the same figures.</desc>
{STYLE}
  <text x="20" y="28" class="h">Instructions of a start, more than without a sitecustomize.py</text>
{chr(10).join(lines)}
</svg>
"""


def list_bars(report: Report, scene: str, python: str) -> dict[str, float]:
    """List what an interpreter's start takes more, in per cent."""
    counts = report.starts[python][scene]["instructions"]
    ratios = {name: counts[name] / counts["without"] for name in ("empty", "with")}
    if scene == "bare":
        ratios["setuptools"] = report.figures[python]["bare_setuptools"]
    return {name: (ratio - 1) * 100 for name, ratio in ratios.items()}
