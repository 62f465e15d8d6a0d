"""Stand-in for `dbruntime.pythonPathHook`.

Based on: the names of the class and the method, and what it does: it runs when the notebook or its folder changes,
rewrites `sys.path`, and can drop editable paths.
Unknown: which entries it drops, how it notices a change, and what its constructor takes. Here it keeps the entries that
the path had at first, except workspace folders, and inserts the notebook's folder before them.
"""

import sys


class PythonPathHook:
    """Keeps `sys.path` in step with the notebook's folder."""

    def __init__(self):
        self.kept = [entry for entry in sys.path if "/Workspace/" not in entry]
        self.folder = None

    def change_folder(self, folder):
        """Do what happens when the user opens a notebook in another folder."""
        self.folder = folder
        self._handle_sys_path_maybe_updated()

    def _handle_sys_path_maybe_updated(self):
        sys.path[:] = ([self.folder] if self.folder else []) + self.kept
