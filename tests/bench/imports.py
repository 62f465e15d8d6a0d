"""Measures imports: what the watcher adds to each, and a large editable package behind Databricks' own hook.

Each measurement has its own interpreter. They take turns, so a noisy machine disturbs all alike.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.lab.hooks import place_hook, provide_hook
from tests.lab.node import OFF
from tests.lab.wheels import fetch_databricks_connect, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.node import Node, Notebook

MODULES = 300
DEPTH = 40
"""Frames on the stack as the imports begin, about as many as below a notebook's cell."""
RELEASES = {10: "14.3", 11: "15.4", 12: "16.4", 13: "19.3"}
"""The runtime whose published hook runs on each Python; no runtime has 3.13 yet."""
PUBLISHED = ("wsfs_import_hook.py", "_engine_adapters.py")

SOURCE = "import os\n\n\n" + "\n\n".join(
    f"def function_{number}(path, *, strict=False):\n"
    f"    if strict and not os.path.exists(path):\n"
    f"        raise ValueError('no such path', path)\n"
    f"    return os.path.join(path, str({number}))\n"
    for number in range(10)
)
"""A module of some sixty lines."""

WATCHED = """\
import statistics, sys, timeit
import large
def of_a_submodule():
    try:
        import large.there_is_no_such_module
    except ImportError:
        pass
def of_a_top_level_name():
    import large
    del sys.modules["large"]
def that_fails():
    try:
        import there_is_no_such_module
    except ImportError:
        pass
def take(function, number):
    return timeit.timeit(function, number=number) / number * 1e6
def compare(function, number, finders, without):  # in turns
    more = []
    for _ in range(15):
        sys.meta_path[:] = finders
        with_us = take(function, number)
        sys.meta_path[:] = without
        more.append(with_us - take(function, number))
    sys.meta_path[:] = found
    return statistics.median(more)
class Nobody:
    find_spec = staticmethod(lambda *_: None)
layers = [entry for entry in sys.path if entry.endswith(("/site-packages", "/dist-packages"))]
for layer in layers[5:]:  # a notebook has six
    sys.path.remove(layer)
found = list(sys.meta_path)
watcher = found[0]
without = [finder for finder in found if finder.find_spec.__code__.co_filename != "<dbx-patch>"]
assert watcher not in without
print(min(take(lambda: watcher.find_spec("large.module", large.__path__, None), 20000) for _ in range(7)))
print(compare(of_a_submodule, 2000, [watcher, Nobody], [Nobody]))  # a search would be a hundred times the difference
print(compare(of_a_top_level_name, 500, found, without))
print(compare(that_fails, 500, found, without))
"""

TIMED = f"""\
import sys, time
def run(depth):
    if depth:
        return run(depth - 1)
    before = time.perf_counter()
    for number in range({MODULES}):
        step(f"large.module_{{number}}")
    return time.perf_counter() - before
"""
IMPORT = f"{TIMED}step = __import__\nprint(run({DEPTH}))\n"
LOOK_UP = f"{TIMED}import large\nstep = make_hook(large.__path__[0]).find_spec\nprint(run({DEPTH}))\n"


def time_watcher(notebook: Notebook) -> dict[str, float]:
    """Return the microseconds that the shim's finders add to imports, compared in one process."""
    printed = notebook.run(WATCHED, check=True).stdout.split()
    return dict(zip(("submodule", "submodule_asked", "top_level", "failing"), map(float, printed), strict=True))


def write_package(node: Node) -> None:
    """Make a large package, install it editable, and cache its byte code."""
    package = node.project("large") / "large"
    package.mkdir(parents=True)
    for name in ("__init__", *(f"module_{number}" for number in range(MODULES))):
        package.joinpath(f"{name}.py").write_text(SOURCE)
    node.layer(node.runtime).joinpath("large.pth").write_text(f"{package.parent}\n")
    node.run([node.python, "-m", "compileall", "-q", package])


def time_package(notebook: Notebook, rounds: int) -> dict[str, float]:
    """Return the ratios of the package's look-ups and imports behind the published hook: medians of the rounds."""
    node = notebook.node
    release = RELEASES[node.interpreter.minor]
    wheel = fetch_databricks_connect(release)
    provide_hook(node, unpack_pyspark(wheel, node.root / "published" / release, *PUBLISHED))
    root = str(node.project("large"))
    at = f"sys.path.index({notebook.layers[2]!r}) + 1"
    on_path = f"import sys\nif {root!r} not in sys.path: sys.path.insert({at}, {root!r})\n"
    hook = on_path + place_hook(node, "pyspark.wsfs_import_hook", "path-hook")
    # The hook's module imports these, which makes garbage collections slower, so plain Python imports them too.
    plain = on_path + "import inspect, importlib.abc\n" + IMPORT
    ratios: dict[str, list[float]] = {"look_up": [], "package": [], "package_unpatched": []}
    for _ in range(rounds):
        ratios["look_up"].append(seconds(notebook, hook + LOOK_UP) / seconds(notebook, hook + LOOK_UP, OFF))
        without_hook = seconds(notebook, plain, OFF)
        ratios["package"].append(seconds(notebook, hook + IMPORT) / without_hook)
        ratios["package_unpatched"].append(seconds(notebook, hook + IMPORT, OFF) / without_hook)
    return {name: statistics.median(values) for name, values in ratios.items()}


def seconds(notebook: Notebook, code: str, environ: Mapping[str, str] | None = None) -> float:
    """Return the seconds that code prints in an interpreter of its own."""
    return float(notebook.run(code, environ, check=True).stdout)
