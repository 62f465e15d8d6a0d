"""Stand-in for `builtins_import_patcher`.

Based on: the names of the module and the class, and what it does: it rewrites a cell's code so that its wrap of
`builtins.__import__` is in place before each import.
Unknown: which package the module is in, the names of its methods, and how it rewrites.
"""

import ast
import builtins


class BuiltinsImportPatcher:
    """Wraps `builtins.__import__` before each import of a cell."""

    def __init__(self):
        self.imports = []
        self.original = builtins.__import__

    def rewrite(self, cell):
        """Insert a call of `ensure` before each import statement."""
        tree = ast.parse(cell)
        ensure = ast.parse("__import_patcher__.ensure()").body
        body = [[*ensure, node] if isinstance(node, (ast.Import, ast.ImportFrom)) else [node] for node in tree.body]
        tree.body = [node for nodes in body for node in nodes]
        return ast.fix_missing_locations(tree)

    def ensure(self):
        """Wrap `builtins.__import__` again if other code has removed the wrap."""
        if builtins.__import__ != self.wrapped_import:
            self.original = builtins.__import__
            builtins.__import__ = self.wrapped_import

    def wrapped_import(self, name, *args, **kwargs):
        """Import a module, and record its name."""
        self.imports.append(name)
        return self.original(name, *args, **kwargs)
