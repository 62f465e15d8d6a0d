"""Measures what a node's interpreter runs of our commands, while the tests themselves are measured."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MEASURED = """\
import sys
sys.path.append({folder!r})
import atexit, coverage, runpy
sys.path.remove({folder!r})
measured = coverage.Coverage({data!r}, data_suffix=True, branch=True, config_file=False, source_pkgs=["dbx_patch"])
atexit.register(measured.save)
atexit.register(measured.stop)
measured.start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def measure(command: list[str], folder: Path) -> list[str]:
    """Return a command that does the same, and measures it if it is `python -m` with a module of ours.

    The node's layers stay as they are: `folder` gets coverage, and nothing else. Code in `-c` is not measured: much of
    it has odd objects on `sys.path`, which coverage reads, or counts what is imported.
    """
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:  # coverage sets it for the processes of one that it measures
        return command
    if command[1:2] != ["-m"] or not command[2].startswith("dbx_patch"):
        return command
    import coverage  # noqa: PLC0415 - the demonstration does not need it

    measuring = coverage.Coverage.current()
    assert measuring is not None
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "coverage").symlink_to(Path(coverage.__file__).parent)
    code = MEASURED.format(folder=str(folder), data=str(measuring.get_option("run:data_file")))
    return [command[0], "-c", code, *command[2:]]
