"""Writes throw-away projects and their editable installs, and removes them, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dbx_patch._mounts import ask_mount, find_mount

if TYPE_CHECKING:
    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

NAME = "dbx_patch_selftest"
"""The beginning of each name. A token follows, so that no other file can have that name."""
MODULE = "VALUE = {value}\n\n\ndef function() -> int:\n    return VALUE\n"
FINDER = """\
import sys
from importlib.util import spec_from_file_location

MAPPING = {mapping}


class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        folder = MAPPING.get(fullname)
        if folder is None:
            return None
        return spec_from_file_location(fullname, folder + "/__init__.py", submodule_search_locations=[folder])


def install():
    if not any(finder == _EditableFinder for finder in sys.meta_path):
        sys.meta_path.append(_EditableFinder)
"""
"""What setuptools writes, with its support of namespace packages left out."""
BACKEND = """\
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-1.0-py3-none-any.whl"
    files = {{
        "__editable__.{name}-1.0.pth": {root!r},
        "{name}-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n",
        "{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    record = "{name}-1.0.dist-info/RECORD"
    with zipfile.ZipFile(wheel_directory + "/" + name, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(record, "".join(file + ",,\\n" for file in [*files, record]))
    return name
"""
"""A build backend in the project itself: pip needs no other package to install it."""

MODE = 0o644
"""Of files: dbx-patch ignores what is world-writable."""
Style = Literal["path", "finder"]


@dataclass(frozen=True, slots=True)
class Project:
    """A throw-away project with one package."""

    name: str
    parent: Path
    """The folder that its own is in."""

    @property
    def root(self) -> Path:
        """The folder that has the package."""
        return self.parent / f"{self.name}_project" / "src"

    @property
    def file(self) -> Path:
        """The module of the package."""
        return self.root / self.name / "__init__.py"


@dataclass(slots=True)
class Scratch:
    """What one self-test writes. Each name has its token, so what has to be removed can always be found."""

    token: str = field(default_factory=lambda: secrets.token_hex(6))
    touched: dict[Path, bool] = field(default_factory=dict)
    """The folders that are not ours and were written to, each with whether it had a `__pycache__` before."""
    base: set[Path] = field(default_factory=set)
    """Those in which our own folders are."""
    count: int = 0

    def make_name(self) -> str:
        """Return a new name."""
        self.count += 1
        return f"{NAME}_{self.token}_{self.count}"

    def make_base(self, parent: Path) -> Path:
        """Make a private folder for projects in another one. Raises OSError."""
        self.base.add(parent)
        return self.make_folder(parent)

    def make_folder(self, parent: Path) -> Path:
        """Make a private folder in another one. Raises OSError."""
        self.touch(parent)
        folder = parent / self.make_name()
        folder.mkdir(0o700)
        return folder

    def touch(self, folder: Path) -> None:
        """Remember a folder before anything is written to it."""
        self.touched.setdefault(folder, folder.joinpath("__pycache__").exists())

    def write(self, path: Path, text: str, *, mode: int = MODE) -> None:
        """Write a new file, and the folders that it needs. Raises OSError, and if the file is there, too."""
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def write_project(self, folder: Path, name: str = "") -> Project:
        """Write a project into a folder of ours."""
        name = name or self.make_name()
        self.touch(folder)
        project = Project(name, folder)
        self.write(project.file, MODULE.format(value=1))
        self.write(project.root / name / "inner/__init__.py", "")
        self.write(project.root / name / "inner/deep.py", MODULE.format(value=2))
        return project

    def write_backend(self, project: Project) -> Path:
        """Add to a project what pip needs to install it without any other package; return the project's folder."""
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        self.write(project.root.parent / "pyproject.toml", build)
        root = f"{project.root}\n"
        self.write(project.root.parent / "backend.py", BACKEND.format(name=project.name, root=root))
        return project.root.parent

    def install(self, project: Project, layer: Path, style: Style, *, mode: int = MODE) -> None:
        """Install a project editable into a layer: write the files that setuptools and pip write.

        The `.pth` file is last, because running processes read it. `mode` is its mode.
        """
        self.touch(layer)
        info = layer / f"{project.name}-1.0.dist-info"
        url = {"dir_info": {"editable": True}, "url": project.root.parent.as_uri()}
        self.write(info / "METADATA", f"Metadata-Version: 2.1\nName: {project.name}\nVersion: 1.0\n")
        self.write(info / "direct_url.json", json.dumps(url))
        self.write(info / "top_level.txt", f"{project.name}\n")
        pth, line = f"__editable__.{project.name}-1.0.pth", str(project.root)
        if style == "finder":
            finder = f"__editable___{project.name}_1_0_finder"
            mapping = {project.name: str(project.file.parent)}
            self.write(layer / f"{finder}.py", FINDER.format(mapping=mapping))
            line = f"import {finder}; {finder}.install()"
        self.write(info / "RECORD", f"{pth},,\n{info.name}/RECORD,,\n")
        self.write(layer / pth, f"{line}\n", mode=mode)
        if mode != MODE:
            layer.joinpath(pth).chmod(mode)  # whatever the umask is

    def clear(self) -> None:
        """Remove what was written into folders of ours, and into layers: the next promise is tried without it."""
        for folder in self.touched.keys() - self.base:
            for within in (folder / "__pycache__", folder):
                list(self.sweep(within))  # what is left then is reported at the end

    def remove(self) -> tuple[str, ...]:
        """Remove everything, also byte code that other processes wrote meanwhile. Return what could not be."""
        left: list[str] = []
        for folder, had_cache in reversed(self.touched.items()):
            mount = find_mount(str(folder))
            if mount and ask_mount(mount) == "does not answer":
                left.append(f"its mount does not answer: {folder}/*{self.token}*")
                continue
            for within in (folder / "__pycache__", folder):
                left += self.sweep(within)
            if not had_cache:
                with contextlib.suppress(OSError):  # it is not there, or has files of others
                    folder.joinpath("__pycache__").rmdir()
        return tuple(left)

    def sweep(self, folder: Path) -> Iterator[str]:
        """Remove what a folder has with our token; list what can't be removed."""
        try:
            found = [entry for entry in os.scandir(folder) if self.token in entry.name]
        except OSError:  # there is no such folder
            return
        # The `.pth` files first: they name the others.
        for entry in sorted(found, key=lambda entry: (not entry.name.endswith(".pth"), entry.name)):
            try:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
            except FileNotFoundError:
                pass
            except OSError as error:
                yield f"{error.strerror}: {entry.path}"


def forget(token: str, shim: Any) -> None:
    """Remove what this process has of the projects: modules, path entries, finders, and what the shim knows of them."""
    for name in [name for name in sys.modules if token in name]:
        del sys.modules[name]
    parts: list[Any] = [shim, *getattr(shim, "loaded", {}).values()] if shim else []
    kept = [value for part in parts for value in vars(part).values() if type(value) in {list, set, dict}]
    for known in (sys.path, sys.meta_path, sys.path_importer_cache, *kept):
        if isinstance(known, dict):
            for key in [key for key, value in list(known.items()) if token in f"{key}{value}"]:
                known.pop(key, None)
        elif isinstance(known, set):
            known.difference_update([each for each in known if token in str(each)])
        elif any(token in str(each) for each in known):
            known[:] = [each for each in known if token not in str(each)]


class Interrupts:
    """Has the first signal that would end this process raise, so that everything is removed, and ignores further ones.

    While `hold` is set, a signal raises only when this context ends.
    """

    def __init__(self) -> None:
        self.caught = 0
        self.hold = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) not in {signal.SIG_IGN, None}:
                    self.before[number] = signal.signal(number, self.catch)
        return self

    def catch(self, number: int, _frame: object) -> None:
        """Raise for the first signal."""
        if not self.caught:
            self.caught = number
            if not self.hold:
                self.stop()

    def stop(self) -> None:
        """Raise what the signal that was caught means."""
        if self.caught == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.caught)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.caught and kind is None:
            self.stop()
