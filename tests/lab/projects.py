"""Tiny projects, one for each kind of editable install, and functions that install them on a node."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.wheels import pip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.lab.node import Node

VERSION = "1.2.3"
BACKENDS = (
    "flit_core",
    "hatchling",
    "meson",
    "meson-python",
    "ninja",
    "pdm-backend",
    "poetry-core",
    "scikit-build-core",
    "setuptools",
    "uv",
    "uv_build",
    *("exceptiongroup", "tomli", "typing-extensions"),  # until 3.10 is dropped: theirs there
)
OLD_SETUPTOOLS = "setuptools<80"
"""The last version whose `develop` does the work itself. From 80 on it calls pip."""
FOR_ALL = ("--python-version=3.10", "--implementation=py", "--abi=none", "--only-binary=:all:")
"""Options for wheels that serve every interpreter."""

FILES = {
    "__init__.py": "",
    "module.py": "VALUE = 'as written'\n",
    "data.txt": "some data",
    "sub/__init__.py": "",
    "sub/module.py": "VALUE = 'as written'\n",
}
"""What the package of every project holds."""
PACKAGE_DATA = '[tool.setuptools.package-data]\n"*" = ["*.txt"]\n'
PURE = "[tool.scikit-build]\nwheel.cmake = false\n"
EASY_SETUP = f"""\
from setuptools import find_packages, setup
setup(name="{{name}}", version="{VERSION}", packages=find_packages("src"), package_dir={{{{"": "src"}}}})
"""
MESON_BUILD = f"""\
project('{{name}}', version: '{VERSION}')
sources = [{", ".join(f"'{{package}}/{file}'" for file in FILES)}]
import('python').find_installation(pure: true).install_sources(sources, preserve_path: true)
"""


@dataclass(frozen=True)
class Backend:
    """What a `pyproject.toml` needs for a build backend."""

    requires: str
    module: str


SETUPTOOLS = Backend("setuptools", "setuptools.build_meta")
HATCHLING = Backend("hatchling", "hatchling.build")
FLIT = Backend("flit_core", "flit_core.buildapi")
POETRY = Backend("poetry-core", "poetry.core.masonry.api")
PDM = Backend("pdm-backend", "pdm.backend")
UV = Backend("uv_build", "uv_build")
SCIKIT_BUILD = Backend("scikit-build-core", "scikit_build_core.build")
MESON = Backend("meson-python", "mesonpy")
MATURIN = Backend("maturin", "maturin")


@dataclass(frozen=True)
class Project:
    """A project with one package, which has a module, a subpackage and a data file."""

    name: str
    backend: Backend
    tables: str = ""
    """Additional lines of its `pyproject.toml`."""
    source: str = "src"
    """The folder that has the package, or the namespace around it; empty for a flat layout."""
    namespace: str = ""
    mapped: str = ""
    """The folder of the package, if it is not named after the package."""
    editable_mode: str = ""
    """Options for setuptools."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Additional files, as templates that may name the project and its package."""
    place: str = ""
    """Its folder, below the folder of all projects."""

    @property
    def package(self) -> str:
        """The package's full name."""
        name = self.name.replace("-", "_")
        return f"{self.namespace}.{name}" if self.namespace else name

    def folder(self, node: Node) -> Path:
        """The project's folder on a node."""
        return node.project(self.place) / self.name

    def package_folder(self, node: Node) -> Path:
        """The folder of its package, with what a person edits."""
        return self.folder(node) / (self.mapped or Path(self.source, *self.package.split(".")))

    def imported_from(self, node: Node) -> Path:
        """The folder that the package is imported from: its own, or the one with links to it."""
        if self.editable_mode != "strict":
            return self.package_folder(node)
        links = f"build/__editable__.{self.name.replace('-', '_')}-{VERSION}-py3-none-any"
        return self.folder(node) / links / self.package

    def write(self, node: Node) -> None:
        """Write all of its files."""
        text = f"""\
            [build-system]
            requires = ["{self.backend.requires}"]
            build-backend = "{self.backend.module}"

            [project]
            name = "{self.name}"
            version = "{VERSION}"
            description = "A project of a test"
            requires-python = ">=3.10"
            """
        files = {"pyproject.toml": f"{textwrap.dedent(text)}\n{self.tables}"}
        for name, template in self.files.items():
            files[name] = template.format(name=self.name, package=self.package)
        write_files(self.folder(node), files)
        write_files(self.package_folder(node), FILES)


BY_PIP = (
    Project("setuptools-src", SETUPTOOLS),
    Project("setuptools-flat", SETUPTOOLS, source=""),
    Project("setuptools-strict", SETUPTOOLS, PACKAGE_DATA, editable_mode="strict"),
    Project("setuptools-compat", SETUPTOOLS, source="", editable_mode="compat"),
    # Two projects in one namespace: one is found by a root on `sys.path`, one by a finder.
    Project("namespace-src", SETUPTOOLS, namespace="by_two"),
    Project("namespace-flat", SETUPTOOLS, source="", namespace="by_two"),
    Project("hatchling-path", HATCHLING),
    Project("hatchling-exact", HATCHLING, "[tool.hatch.build]\ndev-mode-exact = true\n"),
    Project("flit-path", FLIT),
    Project("poetry-path", POETRY),
    Project("pdm-path", PDM),
    Project("pdm-editables", PDM, '[tool.pdm.build]\neditable-backend = "editables"\n'),
    Project("uv-build-path", UV),
    # It also gets a path line, which would do, were its package where its name says.
    Project(
        "scikit-build-redirect",
        SCIKIT_BUILD,
        PURE + 'wheel.packages = { "by_mapping/scikit_build_redirect" = "code/scikit_build_redirect" }\n',
        namespace="by_mapping",
        mapped="code/scikit_build_redirect",
    ),
    Project("scikit-build-inplace", SCIKIT_BUILD, PURE + 'editable.mode = "inplace"\n'),
    Project("meson-rebuild", MESON, source="", files={"meson.build": MESON_BUILD}),
)
BY_UV_PIP = (Project("uv-pip-setuptools", SETUPTOOLS), Project("uv-pip-hatchling", HATCHLING))
BY_UV_SYNC = Project("uv-sync", UV)
WORKSPACE = "workspace"
"""The folder of a uv workspace, which has no package of its own."""
BY_UV_WORKSPACE = tuple(
    Project(name, backend, place=WORKSPACE)
    for name, backend in {"uv-member-hatchling": HATCHLING, "uv-member-setuptools": SETUPTOOLS}.items()
)
BY_DEVELOP = Project("develop", SETUPTOOLS, files={"setup.py": EASY_SETUP})
BY_MATURIN = Project("maturin-path", MATURIN, source="python")
PROJECTS = (*BY_PIP, *BY_UV_PIP, BY_UV_SYNC, *BY_UV_WORKSPACE, BY_DEVELOP, BY_MATURIN)


@dataclass(frozen=True)
class Backends:
    """The backends, in folders that are on the path while projects are installed: no layer gets any of them."""

    folder: Path

    @property
    def wheels(self) -> Path:
        """What was downloaded."""
        return self.folder / "wheels"

    @property
    def new(self) -> Path:
        """The backends and uv."""
        return self.folder / "new"

    @property
    def old(self) -> Path:
        """An old setuptools."""
        return self.folder / "old"

    def environ(self, folder: Path) -> dict[str, str]:
        """The environment in which builds find a folder's backends and their programs, and no index is asked."""
        return {
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "",  # each project's build imports the same modules
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }


def fetch_backends(folder: Path) -> Backends:
    """Download the backends and unpack them. Raises FetchError if the package index does not have them."""
    backends = Backends(folder)
    pip("download", "--quiet", *FOR_ALL, "--dest", backends.wheels, *BACKENDS, "editables")
    offline = ("--no-index", f"--find-links={backends.wheels}", "--no-compile")
    pip("install", "--quiet", *FOR_ALL, *offline, "--target", backends.new, *BACKENDS)
    pip("install", "--quiet", *FOR_ALL, "--no-compile", "--target", backends.old, OLD_SETUPTOOLS)
    return backends


def install_projects(node: Node, backends: Backends) -> None:
    """Install every project editable into the runtime's layer of a node, each in its own way."""
    for project in PROJECTS:
        project.write(node)
    uv_sync(node, backends)
    uv_pip_install(node, backends)
    pip_install(node, backends)
    develop(node, backends)
    stand_in_for_maturin(node)


def uv_sync(node: Node, backends: Backends) -> None:
    """Sync a project, and then the members of a workspace. The first sync removes packages that it does not know."""
    sync = [backends.new / "bin/uv", "sync", "--active", "--no-index", f"--find-links={backends.wheels}"]
    environ = uv_environ(backends) | {"VIRTUAL_ENV": str(node.runtime)}
    node.run([*sync, "--project", BY_UV_SYNC.folder(node)], environ)
    workspace = node.project(WORKSPACE)
    write_files(workspace, {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["*"]\n'})
    node.run([*sync, "--project", workspace, "--all-packages", "--inexact"], environ)


def uv_pip_install(node: Node, backends: Backends) -> None:
    """Install projects by uv, and what the finders of hatchling and pdm-backend need at run time."""
    install = [backends.new / "bin/uv", "pip", "install", "--no-index", f"--find-links={backends.wheels}"]
    projects = [argument for project in BY_UV_PIP for argument in ("-e", project.folder(node))]
    node.run([*install, "--python", node.python, "editables", *projects], uv_environ(backends))


def uv_environ(backends: Backends) -> dict[str, str]:
    """The environment in which uv uses no other Python, no configuration, and no cache of the machine."""
    return {
        "UV_CACHE_DIR": str(backends.folder / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def pip_install(node: Node, backends: Backends, projects: Iterable[Project] = BY_PIP) -> None:
    """Install projects with one run of pip, because starting pip takes longer than an install."""
    requirements = node.root / "requirements.txt"
    with requirements.open("w") as file:
        for project in projects:
            mode = project.editable_mode
            settings = f' --config-settings "editable_mode={mode}"' if mode else ""
            file.write(f"-e {project.folder(node)}{settings}\n")
    install = [node.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    node.run([*install, "-r", requirements], backends.environ(backends.new))


def develop(node: Node, backends: Backends) -> None:
    """Install a project as setuptools did before PEP 660: an `.egg-link`, and a line in `easy-install.pth`."""
    command = [node.python, "setup.py", "--quiet", "develop", "--no-deps"]
    node.run(["env", f"--chdir={BY_DEVELOP.folder(node)}", *command], backends.environ(backends.old))


def stand_in_for_maturin(node: Node) -> None:
    """Write what `maturin develop` installs for a mixed Rust and Python project. Running it needs Rust.

    It has pip install a wheel, and then writes `direct_url.json`. The `.pth` file is as maturin 1.16 was seen to write
    it.
    """
    layer = node.layer(node.runtime)
    name = BY_MATURIN.package
    info = f"{name}-{VERSION}.dist-info"
    direct_url = {"dir_info": {"editable": True}, "url": BY_MATURIN.folder(node).as_uri()}
    metadata = f"Metadata-Version: 2.4\nName: {BY_MATURIN.name}\nVersion: {VERSION}\n"
    write_files(
        layer,
        {
            f"{name}.pth": str(BY_MATURIN.package_folder(node).parent),  # without a newline
            f"{info}/METADATA": metadata,
            f"{info}/direct_url.json": json.dumps(direct_url),
            f"{info}/RECORD": f"{name}.pth,,\n{info}/METADATA,,\n{info}/direct_url.json,,\n{info}/RECORD,,\n",
        },
    )


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
