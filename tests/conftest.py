"""Fixtures: the interpreters of this machine, and the node that is built from each."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.interpreters import Interpreter, find_interpreters, find_next_interpreters, find_running_interpreter
from tests.lab.missing import missing
from tests.lab.node import Node, Notebook
from tests.lab.projects import Backends, fetch_backends
from tests.lab.templates import find_changed, make_once
from tests.lab.wheels import FetchError, fetch_databricks_connect, fill_wheelhouse, unpack_pyspark
from tests.progress import ProgressPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator


RELEASES = {"13.3": [10], "14.3": [10], "15.4": [11], "16.4": [12], "17.3": [12], "18.2": [12], "19.3": [12, 13]}
"""The releases of Databricks whose published code is run, and the minor versions of the Python it is run on."""
UNIT = Path(__file__).parent / "unit"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dbx-patch")
    group.addoption(
        "--matrix",
        action="store_const",
        const="all",
        help="run every test on every Python, with and without a foreign sitecustomize",
    )
    group.addoption(
        "--matrix-rest",
        action="store_const",
        const="rest",
        dest="matrix",
        help="run what `--matrix` runs, but leave out what a plain run has covered",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not in xdist's workers, whose output is not shown
        config.pluginmanager.register(ProgressPlugin())
    for marker in (
        "matrix: a slow test, which only `--matrix` runs",
        "pythons(...): the Pythons that are enough for a test in the matrix",
        "core: a test that also runs on the next Pythons in the matrix",
        "releases(...): the only releases of Databricks that a test is for",
        "real(what): a test that runs the real thing, and is counted at the end",
    ):
        config.addinivalue_line("markers", marker)


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line of the report's header that names what is tested."""
    if config.option.matrix is None:
        return f"Python {find_running_interpreter().name} alone; `--matrix` runs every Python, and the slow tests"
    left_out = " but what a plain run has covered" if config.option.matrix == "rest" else ""
    names = ", ".join(found.name for found in find_interpreters())
    next_names = ", ".join(found.name for found in find_next_interpreters()) or "none of the next Pythons"
    return f"matrix: everything{left_out}, on Python {names}; the core on {next_names}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on one Python and one kind of node, or with `--matrix` on every one that it is for."""
    matrix = metafunc.config.option.matrix is not None
    only_matrix = matrix and metafunc.definition.get_closest_marker("matrix") is not None
    if "release" in metafunc.fixturenames:
        pairs = [] if only_matrix else list_plain_pairs(metafunc.definition)
        pairs += [pair for pair in list_matrix_pairs(metafunc.definition) if pair not in pairs] if matrix else []
        pairs.sort(key=lambda pair: pair[0].sort_key)
        ids = [f"{interpreter.name}-{release}" for interpreter, release in pairs]
        metafunc.parametrize(("interpreter", "release"), pairs, ids=ids, scope="session")
    elif "interpreter" in metafunc.fixturenames:
        interpreters = {*(list_matrix_interpreters(metafunc.definition) if matrix else ())}
        interpreters |= set() if only_matrix else {find_running_interpreter()}
        ordered = sorted(interpreters, key=lambda found: found.sort_key)
        metafunc.parametrize("interpreter", ordered, ids=[found.name for found in ordered], scope="session")
    if "sitecustomize" in metafunc.fixturenames and not chooses_sitecustomize(metafunc.definition):
        kinds = {True: "foreign-sitecustomize"} | ({False: "no-sitecustomize"} if matrix else {})
        metafunc.parametrize("sitecustomize", [*kinds], ids=[*kinds.values()], indirect=True, scope="session")


def list_matrix_interpreters(test: pytest.Item) -> list[Interpreter]:
    """List the interpreters that a test runs on in the matrix."""
    enough = test.get_closest_marker("pythons")
    interpreters = find_interpreters()
    # If this machine has none of them, use the newest one.
    chosen = [found for found in interpreters if enough is None or found.name in enough.args] or interpreters[-1:]
    return chosen + (find_next_interpreters() if test.get_closest_marker("core") else [])


def list_matrix_pairs(test: pytest.Item) -> list[tuple[Interpreter, str]]:
    """List the interpreters and the releases of Databricks that a test runs on in the matrix."""
    only = test.get_closest_marker("releases")
    return [
        (found, release)
        for found in list_matrix_interpreters(test)
        for release, minors in RELEASES.items()
        if found.minor in minors and (only is None or release in only.args)
    ]


def list_plain_pairs(test: pytest.Item) -> list[tuple[Interpreter, str]]:
    """List the running interpreter, with the releases that fit it or else with the first one that the test is for."""
    running, only = find_running_interpreter(), test.get_closest_marker("releases")
    wanted = list(only.args) if only else list(RELEASES)
    return [(running, release) for release in wanted if running.minor in RELEASES[release]] or [(running, wanted[0])]


def chooses_sitecustomize(test: pytest.Item) -> bool:
    """Return whether a test names the kinds of node that it is for."""
    return any("sitecustomize" in str(mark.args[0]) for mark in test.iter_markers("parametrize"))


def is_plain(item: pytest.Item) -> bool:
    """Return whether a plain run, one without `--matrix`, has a test."""
    values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return (
        item.get_closest_marker("matrix") is None
        and values.get("interpreter", find_running_interpreter()) == find_running_interpreter()
        and ("release" not in values or (values["interpreter"], values["release"]) in list_plain_pairs(item))
        and bool(values.get("sitecustomize", True) or chooses_sitecustomize(item))
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose what `--matrix` asks for, unit tests first, and note which tests run the real thing."""
    matrix = config.option.matrix
    chosen = [item for item in items if matrix == "all" or is_plain(item) == (matrix is None)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = sorted(chosen, key=lambda item: UNIT not in item.path.parents)
    for item in items:
        kinds = {mark.args[0] for mark in item.iter_markers("real")}
        if "wheel" in getattr(item, "fixturenames", ()):
            kinds.add("Databricks' published code")
        item.user_properties += [("real", kind) for kind in sorted(kinds)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report how many scenarios ran against the real thing, and name those that could not."""
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


@pytest.fixture(scope="session")
def sitecustomize(request: pytest.FixtureRequest) -> bool:
    """Whether the standard library has a `sitecustomize`, as Debian's and Ubuntu's has."""
    return bool(request.param)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheels that nodes install, dbx-patch's own among them; made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base  # each worker has a folder in it
    yield make_once(shared / "lab/wheels", fill_wheelhouse).resolve()
    changed = find_changed(shared / "lab/templates")
    assert changed == [], "a test has changed a file that nodes share; see tests/lab/templates.py"


@pytest.fixture(scope="session")
def backends(wheelhouse: Path) -> Backends:
    """All build backends, and uv; fetched once for all test processes."""
    try:
        return Backends(make_once(wheelhouse.with_name("backends"), fetch_backends))
    except FetchError as error:
        missing(f"the wheels of the build backends: {error}")


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
def installed_notebooks() -> dict[Path, Notebook]:
    """The notebooks of the shared nodes, by the node's folder."""
    return {}


@pytest.fixture
def notebook(installed: Node, installed_notebooks: dict[Path, Notebook]) -> Notebook:
    """A notebook of the shared node; shared as well, so left as it is found."""
    if installed.root not in installed_notebooks:
        installed_notebooks[installed.root] = installed.make_notebook()
    return installed_notebooks[installed.root]


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
