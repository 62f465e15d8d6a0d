"""Builds each kind of node once for a test run, and copies it: a copy takes 0.3 s, a build with pip 5 s.

What pip writes for the sample project and for dbx-patch is kept as well, and copied into a node where pip would write
the same. The templates are beside the wheelhouse, for all test processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Return a folder, made by the first of the test processes that asks for it; the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder.with_name(f"{folder.name}.done")
    if not done.exists():
        with lock(folder.with_name(f"{folder.name}.lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
    return folder


@contextmanager
def lock(file: Path) -> Iterator[None]:
    """Hold a lock on a file; the kernel releases it if this process ends."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def record(folder: Path, root: Path, names: list[str], linkable: Callable[[str], bool] = lambda _: False) -> None:
    """Keep files below a node's root in a folder, and list those that name the root, and those that nodes can share.

    Nodes share what no test changes, by hard links. For ext4 to create the 4,000 files of a node takes 3 s if as many
    were deleted in the last seconds: it looks for an inode that was not (`recently_deleted` in fs/ext4/ialloc.c).
    """
    copy_names(root, folder / "tree", names)
    naming = [name for name in names if names_root(root / name, str(root).encode())]
    linked = {name: describe(folder / "tree" / name) for name in names if linkable(name) and (root / name).is_file()}
    own = [name for name in names if name not in linked]
    facts = {"root": str(root), "names": names, "own": own, "naming": naming, "linked": linked}
    folder.joinpath("record.json").write_text(json.dumps(facts))


def describe(path: Path) -> list[int]:
    """Return what changes with a file."""
    status = path.lstat()
    return [status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns]


def find_changed(templates: Path) -> list[str]:
    """List the shared files that a test has changed, and must not."""
    return [
        f"{recorded.parent.name}/{name}"
        for recorded in sorted(templates.glob("*/record.json"))
        for name, facts in json.loads(recorded.read_text())["linked"].items()
        if describe(recorded.parent / "tree" / name) != facts
    ]


def names_root(path: Path, root: bytes) -> bool:
    """Return whether a link or a text file names a node's root. Byte code does too, and Python corrects it."""
    if path.is_symlink():
        return root in os.fsencode(path.readlink())
    if path.is_dir() or path.suffix == ".pyc":
        return False
    content = path.read_bytes()
    return root in content and b"\0" not in content


def list_names(root: Path) -> list[str]:
    """List every file, folder and link below a root, folders first."""
    return [str(path.relative_to(root)) for path in sorted(root.rglob("*"))]


def replay(folder: Path, root: Path) -> bool:
    """Copy what was recorded to another root; return False, with nothing done, if a file of it is there already."""
    recorded = json.loads(folder.joinpath("record.json").read_text())
    tree = folder / "tree"
    names = recorded["names"]
    if any(os.path.lexists(root / name) and not (tree / name).is_dir() for name in names):
        return False
    if root.exists():
        copy_names(tree, root, names)  # not the folders around them, whose modes a test may have changed
    else:
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--link", tree, root], check=True)
        for name in recorded["own"]:
            if (path := root / name).is_symlink() or path.is_file():
                path.unlink()
        copy_names(tree, root, recorded["own"])
    old = recorded["root"].encode()
    for name in recorded["naming"]:
        point_to(root / name, old, str(root).encode())
    return True


def copy_names(source: Path, target: Path, names: list[str]) -> None:
    """Copy some files, folders and links of a tree, with modes and times."""
    for name in names:
        path, copied = source / name, target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            copied.mkdir(exist_ok=True)
            shutil.copystat(path, copied)
        else:
            shutil.copy2(path, copied, follow_symlinks=False)


def point_to(path: Path, old: bytes, new: bytes) -> None:
    """Let a copied link or text file name the new root instead of the old one."""
    if path.is_symlink():
        target = os.fsencode(path.readlink()).replace(old, new)
        path.unlink()
        path.symlink_to(os.fsdecode(target))
        return
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
