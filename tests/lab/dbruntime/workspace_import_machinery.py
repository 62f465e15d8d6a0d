"""Stand-in for `dbruntime.workspace_import_machinery` (DBR 18 and later).

Based on: the names of both classes; the first one's names `_is_user_import`, `_site_packages`, `_max_stack_depth`,
SITE_PACKAGE_ALLOW_LIST and `get_filename`; its task, which is that of WsfsImportHook; and the second one's place on
`sys.meta_path`, where WsfsPathFinder was.
Unknown: how the first keeps its file finder (here in `_file_finder`), what is on its list, and what the second does
besides refusing notebooks.
"""

import os
import sys
from importlib.abc import MetaPathFinder, PathEntryFinder
from importlib.machinery import FileFinder, SourceFileLoader


class _WorkspacePathEntryFinder(PathEntryFinder):
    """Finds modules in folders below `/Workspace`, for user code only."""

    SITE_PACKAGE_ALLOW_LIST = ("/an_allowed_library/",)
    walks = 0

    def __init__(self, path):
        prefix = os.environ.get("WSFS_TEST_DIR", "")
        if not path.startswith((f"{prefix}/Workspace/", f"{prefix}/.fuse-mounts/wsfs/")):
            raise ImportError(path)
        self._file_finder = FileFinder(path, (SourceFileLoader, [".py"]))
        self._site_packages = tuple(entry for entry in sys.path if "-packages" in entry)
        self._max_stack_depth = 100

    @staticmethod
    def get_filename(frame):
        return frame.f_code.co_filename

    def _is_user_import(self):
        type(self).walks += 1
        frame = sys._getframe()
        for _ in range(self._max_stack_depth):
            name = self.get_filename(frame)
            if name.startswith(self._site_packages):
                return any(part in name for part in self.SITE_PACKAGE_ALLOW_LIST)
            frame = frame.f_back
            if frame is None or "IPython/core/interactiveshell.py" in name:
                break
        return True

    def find_spec(self, fullname, target=None):
        if not self._is_user_import():
            return None
        return self._file_finder.find_spec(fullname, target)


class _WorkspacePathFinder(MetaPathFinder):
    """Refuses to import notebooks as modules."""

    def find_spec(self, fullname, path=None, target=None):
        from dbruntime.WsfsPathFinder import refuse_notebook

        refuse_notebook(fullname, path)
