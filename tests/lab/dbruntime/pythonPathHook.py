"""Stand-in for `dbruntime.pythonPathHook`.

Stands on: the class's and the method's names, that it runs as notebooks or folders change, that it rewrites `sys.path`,
and that it can drop editable paths. Can't tell: by what rule, how it learns of a change, or what its constructor takes.
Here it keeps what the path had at first and is no workspace folder, and puts the notebook's folder before it.
"""

import sys


class PythonPathHook:
    """Keeps `sys.path` in step with the notebook's folder."""

    def __init__(self):
        self.kept = [entry for entry in sys.path if "/Workspace/" not in entry]
        self.folder = None

    def change_folder(self, folder):
        """Do what happens as the user turns to a notebook in another folder."""
        self.folder = folder
        self._handle_sys_path_maybe_updated()

    def _handle_sys_path_maybe_updated(self):
        sys.path[:] = ([self.folder] if self.folder else []) + self.kept
