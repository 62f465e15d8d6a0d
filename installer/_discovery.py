"""Find the interpreters of a node that notebooks and executors use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dbx_patch.installer._errors import InstallerError, explain
from dbx_patch.installer._interpreter import NOTEBOOK, plain_environ, probe
from dbx_patch.installer._node import LIBRARIES, ROOT, RUNTIMES, find_node
from dbx_patch.installer._receipts import list_receipts
from dbx_patch.installer._trust import find_exposed, trusted_uids

NOTEBOOKS = f"local_disk0/.ephemeral_nfs/{NOTEBOOK}"
"""The environments of the notebooks that are attached now."""


@dataclass(frozen=True, slots=True)
class Found:
    """The interpreters of a node, and those that were left out."""

    pythons: list[str]
    """Each once, the runtime's first."""
    left_out: list[str]
    """A line for each interpreter in a known place that is not used, with the reason."""
    elsewhere: list[str]
    """The interpreters in other places that dbx-patch was installed for."""


def find_interpreters(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Found:
    """Find the interpreters in the known places of the node at a root folder, and those they were created from.

    An interpreter has to be started to describe itself. Root must not run a file that another user could have placed
    there, so such interpreters are left out. So are those that an environment variable names if they are on no node.
    """
    found: dict[tuple[Path, Path], str] = {}
    left_out: list[str] = []
    seen: set[Path] = set()
    candidates = deque(list_candidates(root, environ))
    while candidates:
        python = candidates.popleft()
        if python in seen:
            continue
        seen.add(python)
        try:
            exposed = find_exposed(python, trusted_uids())
            if exposed:
                left_out.append(f"{python}: other users can modify {exposed}")
                continue
            interpreter = probe(str(python), plain_environ())
        except InstallerError as error:
            left_out.append(" ".join(error.problem.splitlines()).rstrip("."))
            continue
        except OSError as error:
            left_out.append(explain(error).rstrip("."))
            continue
        if find_node(interpreter.prefix) is None:
            left_out.append(f"{python}: it is not on a Databricks node")
            continue
        if not interpreter.purelib.is_dir():
            left_out.append(f"{python}: its site-packages folder does not exist: {interpreter.purelib}")
            continue
        found.setdefault((interpreter.prefix, interpreter.purelib), str(python))
        if interpreter.base:
            candidates.append(interpreter.base)
    layers = {purelib for _, purelib in found}
    elsewhere = [
        str(python)
        for shim, python in list_receipts().items()
        if shim.parent not in layers and python not in seen and python.exists()
    ]
    return Found(list(found.values()), left_out, elsewhere)


def list_candidates(root: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """List the places where a node has interpreters, if there is a file."""
    folders = [root / folder for folder in (*RUNTIMES, LIBRARIES)]
    if environ.get("DATABRICKS_ROOT_VIRTUALENV_ENV"):
        folders.insert(0, Path(environ["DATABRICKS_ROOT_VIRTUALENV_ENV"]))
    pythons = [folder / "bin/python" for folder in (*folders, *sorted(root.glob(NOTEBOOKS)))]
    if environ.get("PYSPARK_PYTHON"):
        pythons.append(Path(environ["PYSPARK_PYTHON"]))
    yield from (python for python in pythons if python.is_absolute() and python.exists())
