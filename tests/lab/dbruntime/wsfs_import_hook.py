"""Stand-in for `dbruntime.wsfs_import_hook`, the driver's variant before DBR 18.

Based on: the class's name and base, its mangled attributes, its constructor, its answer `None` if a stack frame's file
is in a layer, and this variant's SITE_PACKAGE_WHITE_LIST, which holds substrings of file names.
Unknown: what is on that list, and how it is used. The executors' variant is published, and the tests run it.
"""

import sys
from importlib.abc import PathEntryFinder
from importlib.machinery import FileFinder, SourceFileLoader


class WsfsImportHook(PathEntryFinder):
    """Finds modules in folders below `/Workspace`, for user code only."""

    SITE_PACKAGE_WHITE_LIST = ("/an_allowed_library/",)
    walks = 0

    def __init__(self, path, site_packages=None, max_recursion_depth=100, test_prefix=""):
        if not path.startswith((f"{test_prefix}/Workspace/", f"{test_prefix}/.fuse-mounts/wsfs/")):
            raise ImportError(path)
        self.__finder = FileFinder(path, (SourceFileLoader, [".py"]))
        self.__site_packages = site_packages or [entry for entry in sys.path if "-packages" in entry]
        self.__max_recursion_depth = max_recursion_depth

    def __is_user_import(self):
        type(self).walks += 1
        frame, left = sys._getframe(), self.__max_recursion_depth
        while frame is not None and left:
            name = frame.f_code.co_filename
            if "IPython/core/interactiveshell.py" in name:
                break
            if name.startswith(tuple(self.__site_packages)):
                return any(part in name for part in self.SITE_PACKAGE_WHITE_LIST)
            frame, left = frame.f_back, left - 1
        return True

    def find_spec(self, fullname, target=None):
        return self.__finder.find_spec(fullname, target) if self.__is_user_import() else None
