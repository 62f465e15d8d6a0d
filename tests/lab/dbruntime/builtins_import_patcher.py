"""Stand-in for `builtins_import_patcher`.

Stands on: the module's and the class's names, and that it rewrites a cell's code so that the wrap of
`builtins.__import__` is in place before each import. Can't tell: which package the module is in, the names of its
methods, or how it rewrites.
"""

import ast
import builtins


class BuiltinsImportPatcher:
    """Has the wrap in place before each import of a cell."""

    def __init__(self):
        self.imports = []
        self.original = builtins.__import__

    def rewrite(self, cell):
        """Put a call of `ensure` before each import statement."""
        tree = ast.parse(cell)
        ensure = ast.parse("__import_patcher__.ensure()").body
        body = [[*ensure, node] if isinstance(node, (ast.Import, ast.ImportFrom)) else [node] for node in tree.body]
        tree.body = [node for nodes in body for node in nodes]
        return ast.fix_missing_locations(tree)

    def ensure(self):
        """Put the wrap in place, if somebody has taken it away."""
        if builtins.__import__ != self.wrapped_import:
            self.original = builtins.__import__
            builtins.__import__ = self.wrapped_import

    def wrapped_import(self, name, *args, **kwargs):
        """Import a module, and note it."""
        self.imports.append(name)
        return self.original(name, *args, **kwargs)
