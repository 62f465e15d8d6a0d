"""Stand-in for `dbruntime.autoreload.discoverability.hook`.

Stands on: the class's and the method's names, that it wraps `builtins.__import__`, and that it asks the allow-list.
Can't tell: what it does with the answer, or how it is put in place.
"""

import builtins

from dbruntime.autoreload.file_module_utils import is_file_in_allowlist


class AutoreloadDiscoverabilityHook:
    """Notes which imported modules autoreload is to track."""

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
