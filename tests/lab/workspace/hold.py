"""Holds a mount namespace with a root of its own: `python -m tests.lab.workspace.hold FOLDER INTERPRETER SHARED…`.

Run it by `unshare --mount --propagation private`. The root is the machine's, below a disk in memory that takes all
writes; so a node can be at the absolute paths that it has on a cluster, and the machine keeps nothing of it. The
namespace lasts until the last process in it ends; this one ends when its standard input does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

INTERPRETER = "/mnt/interpreter"
"""Where the root has the prefix of the interpreter that a node is built from."""


def mount(*arguments: str | Path) -> None:
    """Run `mount`."""
    subprocess.run(["mount", *arguments], check=True)


def list_mount_points() -> list[str]:
    """List the outermost mount points of this namespace, but not the root."""
    found: list[str] = []
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for point in sorted(line.split()[4] for line in lines):  # a folder comes before what is below it
        if point != "/" and "\\" not in point and not point.startswith(tuple(f"{outer}/" for outer in found)):
            found.append(point)
    return list(dict.fromkeys(found))


def make_root(folder: Path, interpreter: Path, shared: list[Path]) -> Path:
    """Mount a copy of the machine's root, with what both are to see, and without other Pythons of the node's version.

    `shared` are folders that the tests and the processes on the node both write to.
    """
    disk, root = folder / "disk", folder / "root"
    points = list_mount_points()
    for path in (disk, root):
        path.mkdir()
    mount("-t", "tmpfs", "-o", "mode=755", "none", disk)
    for path in (disk / "upper", disk / "work"):
        path.mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={disk}/upper,workdir={disk}/work", "none", root)
    version = interpreter.name
    for name in (f"usr/lib/{version}", f"etc/{version}", f"usr/local/lib/{version}", "usr/lib/python3"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "usr/bin" / version).unlink(missing_ok=True)
    shown = {point: point for point in [*points, *map(str, shared)]} | {str(interpreter.parent.parent): INTERPRETER}
    for outside, inside in shown.items():
        place = root / inside.lstrip("/")
        if not place.exists():
            place.mkdir(parents=True)
        mount("--rbind", outside, place)
    return root


def main() -> None:
    """Make the root, report it, and wait."""
    folder, interpreter, *shared = map(Path, sys.argv[1:])
    print(make_root(folder, interpreter, shared), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
