"""Imports a large editable package behind Databricks' own hook: patched, as it is, and without any hook.

Before that, it times what every import pays for the watcher.

One interpreter starts for each measurement, in turns, so that a noisy machine disturbs all three alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.interpreters import find_interpreters
from tests.lab.node import OFF, Node, Notebook
from tests.lab.wheels import fetch_databricks_connect, fill_wheelhouse, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODULES = 300
DEPTH = 40
"""Frames on the stack as the imports begin; a notebook's cell has about as many below it."""
RELEASES = ("16.4", "19.3")
"""One of each shape that the hook was published in."""

SOURCE = "import os\n\n\n" + "\n\n".join(
    f"def function_{number}(path, *, strict=False):\n"
    f"    if strict and not os.path.exists(path):\n"
    f"        raise ValueError('no such path', path)\n"
    f"    return os.path.join(path, str({number}))\n"
    for number in range(10)
)
"""A module of some sixty lines."""

MEASURE = f"""\
import time
def import_all(depth):
    if depth:
        return import_all(depth - 1)
    before = time.perf_counter()
    for number in range({MODULES}):
        __import__(f"large.module_{{number}}")
    return time.perf_counter() - before
print(import_all({DEPTH}))
"""


WATCH = """\
import timeit, dbx_patch_sitecustomize as shim
find = shim.watcher.find_spec
for name, path in (("no_such_module", None), ("package.module", ["/package"])):
    print(min(timeit.repeat(lambda: find(name, path, None), number=20000, repeat=5)) / 20000 * 1e6)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the medians of the ratios to plain Python."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each kind (default: %(default)s)")
    rounds = parser.parse_args(argv).rounds
    interpreter = next(found for found in find_interpreters() if found.minor == 12)
    print(
        f"{MODULES} modules of an editable package, {DEPTH} frames deep, CPython {interpreter.name}, {rounds} rounds:"
    )
    with tempfile.TemporaryDirectory(prefix="dbx-patch-bench-") as folder:
        root = Path(folder).resolve()
        (root / "wheels").mkdir()
        node = Node(root / "node", interpreter, fill_wheelhouse(root / "wheels"), sitecustomize=True).build()
        write_package(node)
        node.install_dbx_patch()
        node.dbx_patch("dbx_patch.install")
        notebook = node.make_notebook()
        top_level, submodule = map(float, notebook.run(WATCH, check=True).stdout.split())
        print(f"an import pays for the watcher {top_level:.2f} us at top level, {submodule:.2f} us below")
        for release in RELEASES:
            provide_hook(node, unpack_pyspark(fetch_databricks_connect(release), root / release, *PUBLISHED))
            patched, unpatched = measure(notebook, rounds)
            print(f"hook of {release}: patched {patched:.3f} x plain Python, unpatched {unpatched:.3f} x", flush=True)
    return 0


PUBLISHED = ("wsfs_import_hook.py", "_engine_adapters.py")


def write_package(node: Node) -> None:
    """Make the package, install it editable, and cache its byte code."""
    package = node.project("large") / "large"
    package.mkdir(parents=True)
    for name in ("__init__", *(f"module_{number}" for number in range(MODULES))):
        package.joinpath(f"{name}.py").write_text(SOURCE)
    node.layer(node.runtime).joinpath("large.pth").write_text(f"{package.parent}\n")
    node.run([node.python, "-m", "compileall", "-q", package])


def measure(notebook: Notebook, rounds: int) -> tuple[float, float]:
    """Give the medians of the ratios to plain Python: behind the patched hook, and behind the hook as it is."""
    root = str(notebook.node.project("large"))
    at = f"sys.path.index({notebook.layers[2]!r}) + 1"
    on_path = f"import sys\nif {root!r} not in sys.path: sys.path.insert({at}, {root!r})\n"
    hooked = on_path + place_hook(notebook.node, "pyspark.wsfs_import_hook", "path-hook") + MEASURE
    # What the hook's module imports makes every garbage collection dearer, so plain Python has it as well.
    without_hook = on_path + "import inspect, importlib.abc\n" + MEASURE
    ratios = []
    for _ in range(rounds):
        plain = seconds(notebook, without_hook, OFF)
        ratios.append((seconds(notebook, hooked) / plain, seconds(notebook, hooked, OFF) / plain))
    patched, unpatched = zip(*ratios, strict=True)
    return statistics.median(patched), statistics.median(unpatched)


def seconds(notebook: Notebook, code: str, environ: Mapping[str, str] | None = None) -> float:
    """Run one measurement in an interpreter of its own."""
    return float(notebook.run(code, environ, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
