"""Fixtures: the interpreters of this machine, and the node that is built from each."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import Interpreter, find_interpreters
from tests.lab.missing import missing
from tests.lab.node import Node
from tests.lab.wheels import FetchError, fetch_databricks_connect, fill_wheelhouse, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Iterator


RELEASES = {"13.3": [10], "14.3": [10], "15.4": [11], "16.4": [12], "17.3": [12], "18.2": [12], "19.3": [12, 13]}
"""The releases of Databricks whose published code is run, and the minor versions of the Python it is run on."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "releases(...): the only releases of Databricks that a test is for")
    config.addinivalue_line("markers", "real(what): a test that runs the real thing, and is counted at the end")
    config.addinivalue_line("markers", "pythons(...): the Pythons that are enough for a test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pythons = metafunc.definition.get_closest_marker("pythons")
    interpreters = find_interpreters()
    if pythons:  # or, where there is none of them, the newest
        interpreters = [found for found in interpreters if found.name in pythons.args] or interpreters[-1:]
    if "release" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("releases")
        pairs = [
            pytest.param(found, release, id=f"{found.name}-{release}")
            for found in interpreters
            for release, minors in RELEASES.items()
            if found.minor in minors and (only is None or release in only.args)
        ]
        metafunc.parametrize(("interpreter", "release"), pairs, scope="session")
    elif "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", interpreters, ids=[found.name for found in interpreters], scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kinds = {mark.args[0] for mark in item.iter_markers("real")}
        if "wheel" in getattr(item, "fixturenames", ()):
            kinds.add("Databricks' published code")
        item.user_properties += [("real", kind) for kind in sorted(kinds)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many scenarios ran against the real thing, and name those that could not."""
    counts = Counter(
        kind
        for report in terminalreporter.getreports("passed")
        for name, kind in report.user_properties
        if report.when == "call" and name == "real"
    )
    for kind, count in sorted(counts.items()):
        terminalreporter.write_line(f"scenarios that ran against real {kind}: {count}")
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple) and any(name == "real" for name, _ in report.user_properties):
            terminalreporter.write_line(f"could not run: {report.nodeid}: {report.longrepr[2]}")


@pytest.fixture(scope="session", params=[True, False], ids=["foreign-sitecustomize", "no-sitecustomize"])
def sitecustomize(request: pytest.FixtureRequest) -> bool:
    """Whether the standard library has a `sitecustomize`, as Debian's and Ubuntu's has."""
    return bool(request.param)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels that nodes install, dbx-patch's own among them."""
    return fill_wheelhouse(tmp_path_factory.mktemp("wheelhouse"))


@pytest.fixture
def node(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    tmp_path: Path,
) -> Iterator[Node]:
    """A fresh node, for tests that change it."""
    yield Node(tmp_path.resolve() / "node", interpreter, wheelhouse, sitecustomize=sitecustomize).build()
    shutil.rmtree(tmp_path)


@pytest.fixture
def project(node: Node) -> Path:
    """The sample project, in a user's workspace folder."""
    return node.copy_project("testx")


@pytest.fixture(scope="session")
def installed_nodes() -> Iterator[dict[tuple[str, bool], Node]]:
    """The shared nodes that have been built so far."""
    nodes: dict[tuple[str, bool], Node] = {}
    yield nodes
    for node in nodes.values():
        shutil.rmtree(node.root)


@pytest.fixture
def installed(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
    installed_nodes: dict[tuple[str, bool], Node],
) -> Node:
    """A node with dbx-patch installed, and `testx` editable in the runtime's layer; shared, so left as it is found."""
    key = (interpreter.name, sitecustomize)
    if key not in installed_nodes:
        root = tmp_path_factory.mktemp("installed").resolve() / "node"
        node = Node(root, interpreter, wheelhouse, sitecustomize=sitecustomize).build()
        node.install_editable(node.copy_project("testx"))
        node.install_dbx_patch()
        done = node.dbx_patch("dbx_patch.install")
        assert done.returncode == 0, done.stderr
        installed_nodes[key] = node
    return installed_nodes[key]


@pytest.fixture(scope="session")
def wheel(release: str) -> Path:
    """The wheel in which a release of Databricks is published."""
    try:
        return fetch_databricks_connect(release)
    except FetchError as error:
        missing(f"the wheel of databricks-connect {release}: {error}")


@pytest.fixture(scope="session")
def real_hook(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Databricks' own `wsfs_import_hook.py`, and of what else is published of its hooks."""
    published = ("wsfs_import_hook.py", "_engine_adapters.py", "databricks/utils/PostImportHook.py")
    folder = unpack_pyspark(wheel, tmp_path_factory.mktemp("databricks-connect"), *published)
    if (folder / published[2]).exists():
        shutil.copy(folder / published[2], folder)  # where `dbruntime` has it
    return folder
