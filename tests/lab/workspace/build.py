"""Builds a node at the root of a namespace: `python -m tests.lab.workspace.build VERSION WHEELHOUSE`, run in it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.interpreters import Interpreter
from tests.lab.node import Node
from tests.lab.workspace.hold import INTERPRETER


def main() -> None:
    """Build it with the tools that build one anywhere."""
    minor, debian, wheelhouse = sys.argv[1:]
    python = Path(INTERPRETER, f"bin/python3.{minor}")
    interpreter = Interpreter(python, int(minor), debian == "debian")
    Node(Path("/"), interpreter, Path(wheelhouse), sitecustomize=True).build_from_scratch()


if __name__ == "__main__":
    main()
