"""Stand-in for `/databricks/python_shell/scripts/db_ipykernel_launcher.py`, which is not published.

Based on these facts:
- a notebook environment's interpreter runs it with `-f <connection file>`;
- `sys_path_init` changes `sys.path` as the kernel starts;
- `WsfsImportHook`, here the published one, finds modules in workspace folders;
- autoreload's hook wraps `builtins.__import__`;
- `PythonPathHook` runs when the notebook's folder changes;
- the kernel is ipykernel's.
Unknown: in which order this is done, and what else is.
"""

import os
import sys

import sys_path_init

sys_path_init.patch_sys_path_with_developer_paths()

from dbruntime.autoreload.discoverability.hook import AutoreloadDiscoverabilityHook
from dbruntime.pythonPathHook import PythonPathHook
from dbruntime.wsfs_import_hook import WsfsImportHook
from dbruntime.WsfsPathFinder import WsfsPathFinder
from ipykernel.kernelapp import IPKernelApp

PREFIX = os.environ["WSFS_TEST_DIR"]
"""The folder that contains `/Workspace`; the published hook calls it that."""
busy = []


def make_hook(path):
    """Return the hook for a path entry. Its constructor asks every path hook for a file finder, and this one too."""
    if busy:
        raise ImportError(path)
    busy.append(path)
    try:
        return WsfsImportHook(path, test_prefix=PREFIX)
    finally:
        busy.pop()


class Library:
    """Stands for `dbutils.library`."""

    def restartPython(self):
        """End the kernel, which its manager then starts again. Output that has been printed is sent first."""
        IPKernelApp.instance().close()
        os._exit(0)


class DBUtils:
    """Stands for a notebook's `dbutils`, of which the tests use one method."""

    library = Library()


def main():
    """Install Databricks' hooks, and run the kernel."""
    sys.path_hooks.insert(0, make_hook)
    sys.path_importer_cache.clear()
    if os.environ.get("LAB_PATH_FINDER") != "none":
        sys.meta_path.insert(0, WsfsPathFinder())
    AutoreloadDiscoverabilityHook().install()
    kernel = IPKernelApp.instance()
    kernel.initialize(sys.argv[1:])
    hook = PythonPathHook()
    if os.environ.get("LAB_NOTEBOOK_FOLDER"):
        hook.change_folder(os.environ["LAB_NOTEBOOK_FOLDER"])
    kernel.shell.events.register("pre_run_cell", lambda _: hook._handle_sys_path_maybe_updated())
    kernel.shell.push({"dbutils": DBUtils(), "change_notebook_folder": hook.change_folder})
    kernel.start()


main()
