"""Makes a difference small, and shows it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.differential.layouts import Layout
from tests.differential.runner import BuildError, Difference, Site

T = TypeVar("T")


def shrink(site: Site, found: Difference) -> Difference:
    """Leave out statements, installs and files, many at first, as long as there is a difference."""
    while True:
        for layout, program in list_smaller(found):
            try:
                smaller = next(iter(site.compare(layout, [program])))
            except BuildError:
                continue
            if smaller:
                found = smaller
                break
        else:
            return found


def list_smaller(found: Difference) -> Iterator[tuple[Layout, list[str]]]:
    """List what is smaller, the smallest first."""
    layout, program = found.layout, found.program
    for kept in leave_out(program):
        yield layout, kept
    for files in leave_out([*layout.files]):
        yield replace(layout, files={name: layout.files[name] for name in files}), program
    for installs in leave_out(layout.installs):
        yield replace(layout, installs=tuple(installs)), program
    for remote in leave_out(sorted(layout.remote)):
        yield replace(layout, remote=frozenset(remote)), program
    if layout.byte_code:
        yield replace(layout, byte_code=False), program
    if layout.script != "script":
        yield replace(layout, script="script"), program


def leave_out(everything: Sequence[T]) -> Iterator[list[T]]:
    """List what remains of some things without a half of them, a quarter, and so on."""
    size = len(everything) // 2 or len(everything)
    while size:
        for start in range(0, len(everything), size):
            yield [*everything[:start], *everything[start + size :]]
        size //= 2


def describe(found: Difference) -> str:
    """Return a report: the layout, the program, and both outputs."""
    layout = found.layout
    lines = [f"script in {layout.script}, layers listed in {layout.layers_file}"]
    lines += ["byte code is written"] if layout.byte_code else []
    for each in layout.installs:
        what = each.pth or f"the finder of {each.backend} for {each.packages} {each.modules}"
        lines.append(f"{each.place} in {each.layer}: {what}")
    lines += [f"on the mount: {', '.join(sorted(layout.remote))}"] if layout.remote else []
    for name, text in layout.files.items():
        own = text.partition("class Thing: WHO = WHO\n")[2] if name.endswith(".py") else text
        lines.append(f"  {name}" + "".join(f"\n      {line}" for line in own.splitlines()))
    lines += ["program:", *(f"  {statement}" for statement in found.program)]
    for title in ("status", "stdout", "stderr"):
        plain, shim = (str(getattr(each, title)).splitlines() for each in (found.plain, found.shim))
        if plain != shim:
            lines += difflib.unified_diff(plain, shim, f"{title} of plain Python", "with the shim", lineterm="", n=30)
    return "\n".join(lines)
