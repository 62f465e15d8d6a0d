"""Puts Databricks' own `WsfsImportHook` in place on a node, under the names that it has there.

The module is the published one, from a `databricks-connect` wheel. Only the package around it is a stand-in: importing
`pyspark` itself needs Spark, and `dbruntime` is not published. The driver is known to have this class as
`dbruntime.wsfs_import_hook`; whether its code is the same as that of the executors is not known.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.node import Node, Notebook

STAND_INS = Path(__file__).parent / "dbruntime"
TOP_LEVEL = ("sys_path_init", "builtins_import_patcher")
"""Stand-ins for modules that are not in a package, as far as is known."""

MODULES = {"pyspark.wsfs_import_hook": "spark/python", "dbruntime.wsfs_import_hook": "python_shell"}
"""Each name of the hook's module, and the folder of the kernel's PYTHONPATH that has its package."""

IN_CACHE = "for entry in [e for e in sys.path if '/Workspace/' in e]: sys.path_importer_cache[entry] = make_hook(entry)"
"""As `pyspark.worker_util` places it: straight into the cache, for a folder that exists."""
IN_PATH_HOOKS = "sys.path_hooks.insert(0, make_hook)"
"""As a path hook, which also serves the folders of packages."""
PLACEMENTS = {"cache": IN_CACHE, "path-hook": IN_PATH_HOOKS}


def provide_hook(node: Node, real_hook: Path) -> None:
    """Make the hook's module importable on a node, under both names."""
    for module, folder in MODULES.items():
        package = node.outside / "databricks" / folder / module.partition(".")[0]
        package.mkdir(exist_ok=True)
        package.joinpath("__init__.py").write_text(f"__path__.append({str(real_hook)!r})\n")


def place_hook(node: Node, module: str, placement: str) -> str:
    """Return the code that installs the hook when a notebook's kernel starts."""
    return f"""\
import sys
from {module} import WsfsImportHook
busy = []
def make_hook(path):  # the real hook asks all path hooks for a file finder, this one among them
    if busy:
        raise ImportError(path)
    busy.append(path)
    try:
        return WsfsImportHook(path, test_prefix={str(node.root).rstrip("/")!r})
    finally:
        busy.pop()
for entry in [entry for entry in sys.path_importer_cache if "/Workspace/" in entry]:
    del sys.path_importer_cache[entry]  # it is placed before anything has asked for these folders
{PLACEMENTS[placement]}
"""


def provide_stand_ins(node: Node) -> Path:
    """Copy the stand-ins for `dbruntime`'s modules to a node, and return the folder to put on the path."""
    folder = node.root / "databricks/stand-ins"
    if not folder.exists():
        shutil.copytree(STAND_INS, folder / "dbruntime", ignore=shutil.ignore_patterns("__pycache__"))
        for name in TOP_LEVEL:
            shutil.move(folder / f"dbruntime/{name}.py", folder)
    return folder


def before_path(notebook: Notebook, *folders: str | Path) -> str:
    """Return a kernel's PYTHONPATH with other folders before it."""
    return os.pathsep.join([*map(str, folders), *notebook.python_path])
