"""Stand-in for `dbruntime.WsfsPathFinder` (before DBR 18).

Based on: the class's name, its place on `sys.meta_path`, and its refusal to import notebooks as modules.
Unknown: how it recognizes a notebook (here by the first line of an exported one), and how it refuses.
"""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


def refuse_notebook(fullname, path):
    """Raise ImportError for a workspace file that is an exported notebook."""
    for folder in sys.path if path is None else path:
        file = Path(folder, fullname.rpartition(".")[2] + ".py")
        if "/Workspace/" in str(folder) and file.is_file():
            if file.read_text().startswith("# Databricks notebook source"):
                msg = f"{file} is a notebook"
                raise ImportError(msg, name=fullname)
            return


class WsfsPathFinder(MetaPathFinder):
    """Refuses to import notebooks as modules."""

    def find_spec(self, fullname, path=None, target=None):
        refuse_notebook(fullname, path)
