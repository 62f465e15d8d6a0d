"""Measures everything on one node, in an order in which nothing needs to be undone."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dbx_patch.installer import write_startup_wheel
from tests.bench.count import count_instructions, time_command
from tests.bench.imports import time_package, time_watcher, write_package
from tests.bench.scenes import (
    Start,
    add_distributions,
    add_editables,
    install_shim,
    lay_packages,
    make_bare,
    remove_distributions,
)
from tests.bench.starts import compare_byte_code_elsewhere, compare_instructions, compare_times, count_mount_calls

if TYPE_CHECKING:
    from tests.lab.node import Node

MANY = 200
MORE = 2000

Figures = dict[str, float]
Starts = dict[str, dict[str, dict[str, float]]]
"""The instructions and the milliseconds of each start, for each of its variants."""


def measure(node: Node, packages: Path, rounds: int) -> tuple[Figures, Starts]:
    """Return a figure for each budget, and the measured starts that they come from."""
    figures: Figures = {}
    bare = make_bare(node)
    starts: Starts = {"bare": {"instructions": compare_instructions(bare), "ms": compare_times(bare, rounds)}}
    figures["bare_setuptools"] = compare_package(bare, "setuptools", "setuptools")
    figures["bare_pth"] = compare_comment(bare)
    figures["bare_wheel"] = compare_package(bare, "dbx-patch", write_startup_wheel(node.root).path)
    figures["install"] = time_install(node, rounds)

    lay_packages(node, packages)
    add_editables(node, range(2))
    write_package(node)  # the third
    loader = install_shim(node, node.python)
    notebook = node.make_notebook()
    start = Start(node, loader, [notebook.python, "-c", "pass"], notebook.environ)
    opened = node.layer(notebook.environment)
    figures["mount_calls"] = count_mount_calls(notebook)
    starts["notebook"] = {"instructions": compare_instructions(start, opened), "ms": compare_times(start, rounds)}
    figures["notebook_prefix"] = compare_byte_code_elsewhere(start, opened, str(node.root / "byte-code"))
    figures["notebook_compiled"] = compare_byte_code_elsewhere(start, opened, "/proc/not-for-files")
    figures["import"] = time_import(node, rounds)
    figures |= time_watcher(notebook)
    figures |= time_package(notebook, rounds)

    listing = count_listing(node)
    add_distributions(node, MORE)
    starts["crowded"] = {"instructions": compare_instructions(start, opened), "ms": compare_times(start, rounds)}
    listing = count_listing(node) - listing
    remove_distributions(node)

    add_editables(node, range(3, MANY))
    starts["many"] = {"instructions": compare_instructions(start, opened), "ms": compare_times(start, rounds)}

    return figures | compare_starts(starts, listing), starts


def compare_starts(starts: Starts, listing: int) -> Figures:
    """Return the figures that compare one start with another."""
    added = {name: start["instructions"]["with"] - start["instructions"]["without"] for name, start in starts.items()}
    ratio = {name: 1 + added[name] / start["instructions"]["without"] for name, start in starts.items()}
    return {
        "bare": ratio["bare"],
        "notebook": ratio["notebook"],
        "notebook_ms": starts["notebook"]["ms"]["with"],
        "per_distribution": (added["crowded"] - added["notebook"]) / listing,
        "per_editable": (added["many"] - added["notebook"]) / (MANY - 3) / 1000,
        "many_ms": starts["many"]["ms"]["with"],
    }


def compare_package(bare: Start, name: str, requirement: str) -> float:
    """Return how many times the instructions a bare start takes with a package that has a start-up file."""
    node, python = bare.node, Path(str(bare.command[0]))
    with bare.variant("without"):
        without = count_instructions(node, bare.command)
        node.pip("install", "--quiet", "--no-deps", requirement, python=python)
        with_it = count_instructions(node, bare.command)
        node.pip("uninstall", "--quiet", "--yes", name, python=python)
    return with_it / without


def compare_comment(bare: Start) -> float:
    """Return how many times the instructions a bare start takes with a `.pth` file that has a comment alone."""
    file = bare.loader.with_name("comment.pth")
    with bare.variant("without"):
        without = count_instructions(bare.node, bare.command)
        file.write_text("# Nothing to do.\n")
        with_it = count_instructions(bare.node, bare.command)
        file.unlink()
    return with_it / without


def count_listing(node: Node) -> int:
    """Return the instructions that one listing of the runtime's layer takes."""
    layer = str(node.layer(node.runtime))
    commands = [[node.base, "-IS", "-c", f"import posix; posix.listdir({folder!r})"] for folder in (layer, ".")]
    listing, nothing = [count_instructions(node, command) for command in commands]
    return listing - nothing


def time_import(node: Node, rounds: int) -> float:
    """Return how long `import dbx_patch` takes, in milliseconds."""
    more = [
        time_command(node, [node.python, "-c", "import dbx_patch"]) - time_command(node, [node.python, "-c", "pass"])
        for _ in range(rounds)
    ]
    return statistics.median(more) * 1000


def time_install(node: Node, rounds: int) -> float:
    """Return how long an install of the shim with its proof takes, in seconds."""
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        install_shim(node, node.python)
        times.append(time.perf_counter() - before)
        done = node.dbx_patch("dbx_patch.uninstall")
        assert done.returncode == 0, done.stderr
    return statistics.median(times)
