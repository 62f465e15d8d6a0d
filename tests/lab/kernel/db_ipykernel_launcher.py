"""Stand-in for `/databricks/python_shell/scripts/db_ipykernel_launcher.py`, which is published nowhere.

Stands on: that a notebook environment's interpreter runs it with `-f <connection file>`; that `sys_path_init` shapes
the path as the kernel starts; that workspace folders are served by `WsfsImportHook`, here the published one; that
autoreload's hook wraps `builtins.__import__`; that `PythonPathHook` runs as the notebook's folder changes; and that the
kernel is ipykernel's. Can't tell: in which order all that is done, or what else is.
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
"""The folder that `/Workspace` lies in, as the published hook calls it."""
busy = []


def make_hook(path):
    """Make the hook for a path entry; it asks all path hooks for a file finder, this one among them."""
    if busy:
        raise ImportError(path)
    busy.append(path)
    try:
        return WsfsImportHook(path, test_prefix=PREFIX)
    finally:
        busy.pop()


class Library:
    """What `dbutils.library` is."""

    def restartPython(self):
        """Have the kernel started again, as whoever manages it does when it is gone; what was printed is sent first."""
        IPKernelApp.instance().close()
        os._exit(0)


class DBUtils:
    """What is known of `dbutils` in a notebook: its name, and one method."""

    library = Library()


def main():
    """Put Databricks' hooks in place, and run the kernel."""
    sys.path_hooks.insert(0, make_hook)
    sys.path_importer_cache.clear()
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
