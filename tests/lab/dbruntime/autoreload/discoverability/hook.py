"""Stand-in for `dbruntime.autoreload.discoverability.hook`.

Based on: the names of the class and the method, its wrap of `builtins.__import__`, and its question to the allow-list.
Unknown: what it does with the answer, and how it is installed.
"""

import builtins

from dbruntime.autoreload.file_module_utils import is_file_in_allowlist


class AutoreloadDiscoverabilityHook:
    """Records which imported modules autoreload has to track."""

    def __init__(self):
        self.tracked = set()
        self.original = None

    def install(self):
        """Wrap `builtins.__import__`."""
        self.original = builtins.__import__
        builtins.__import__ = self._patched_import

    def _patched_import(self, name, *args, **kwargs):
        module = self.original(name, *args, **kwargs)
        file = getattr(module, "__file__", None)
        if file and is_file_in_allowlist(file):
            self.tracked.add(file)
        return module
