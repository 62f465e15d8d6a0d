"""Fixtures: the interpreters of this machine, and the node that is built from each."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.interpreters import (
    NEWEST,
    OLDEST,
    Interpreter,
    find_interpreters,
    find_next_interpreters,
    find_running_interpreter,
)
from tests.lab.missing import missing
from tests.lab.node import Node, Notebook
from tests.lab.projects import Backends, fetch_backends
from tests.lab.templates import find_changed, make_once
from tests.lab.wheels import FetchError, fetch_databricks_connect, fill_wheelhouse, unpack_pyspark
from tests.progress import ProgressPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


RELEASES = {"13.3": [10], "14.3": [10], "15.4": [11], "16.4": [12], "17.3": [12], "18.2": [12], "19.3": [12, 13]}
"""The releases of Databricks whose published code is run, and the minor versions of the Python it is run on."""
FIRST = ("unit", "workspace")
"""The folders whose tests run first. xdist lets a worker that has nothing to do take tests from another one's end: so
one worker runs those of the workspace mount, whose node takes 13 s of CPU time to build."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dbx-patch")
    group.addoption(
        "--matrix",
        action="store_const",
        const="matrix",
        dest="extent",
        help="run every test on every Python that it is for, with and without a foreign sitecustomize",
    )
    group.addoption(
        "--gate",
        action="store_const",
        const="gate",
        dest="extent",
        help="run the slow tests, and the others on the oldest and the newest Python, but nothing of a plain run",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not in xdist's workers, whose output is not shown
        config.pluginmanager.register(ProgressPlugin())
    for marker in (
        "matrix: a slow test, which only `--gate` and `--matrix` run",
        "oldest_and_newest: a test for which the oldest and the newest supported Python are enough",
        "one_python: a test that no Python changes, so that the running one is enough",
        "pythons(...): a test that is about some Pythons, by name; `debian` is any of Debian's",
        "core: a test that is also for Debian's build of a supported Python, and for the next Pythons",
        "releases(...): the only releases of Databricks that a test is for",
        "real(what): a test that runs the real thing, and is counted at the end",
    ):
        config.addinivalue_line("markers", marker)


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line of the report's header that names what is tested."""
    extent = config.option.extent
    if extent is None:
        return f"Python {find_running_interpreter().name} alone; `--matrix` runs every Python, and the slow tests"
    what = "everything" if extent == "matrix" else f"what a plain run leaves out, mostly on {OLDEST} and {NEWEST}"
    names = ", ".join(found.name for found in find_interpreters())
    next_names = ", ".join(found.name for found in find_next_interpreters()) or "none of the next Pythons"
    return f"{extent}: {what}; this machine has Python {names}, and {next_names} for the core"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test the Pythons, releases and kinds of node of a plain run, of the gate, or of the matrix."""
    test, extent = metafunc.definition, metafunc.config.option.extent
    plain = extent is None or (extent == "matrix" and test.get_closest_marker("matrix") is None)
    if "release" in metafunc.fixturenames:
        pairs = {*(list_plain_pairs(test) if plain else ()), *(list_pairs(test, extent) if extent else ())}
        ordered = sorted(pairs, key=lambda pair: (pair[0].sort_key, pair[1]))
        ids = [f"{interpreter.name}-{release}" for interpreter, release in ordered]
        metafunc.parametrize(("interpreter", "release"), ordered, ids=ids, scope="session")
    elif "interpreter" in metafunc.fixturenames:
        interpreters = {
            *([find_running_interpreter()] if plain else ()),
            *(list_pythons(test, extent) if extent else ()),
        }
        named = {found.name: found for found in sorted(interpreters, key=lambda found: found.sort_key)}
        metafunc.parametrize("interpreter", [*named.values()], ids=[*named], scope="session")
    if "sitecustomize" in metafunc.fixturenames and not chooses_sitecustomize(test):
        kinds = {True: "foreign-sitecustomize"} | ({False: "no-sitecustomize"} if extent else {})
        metafunc.parametrize("sitecustomize", [*kinds], ids=[*kinds.values()], indirect=True, scope="session")


def find_enough(test: pytest.Item) -> pytest.Mark | None:
    """Return the marker that says which Pythons are enough for a test: a function's own is before its module's."""
    return next(
        (mark for mark in test.iter_markers() if mark.name in {"oldest_and_newest", "one_python", "pythons"}), None
    )


def list_pythons(test: pytest.Item, extent: str) -> list[Interpreter]:
    """List the interpreters that the matrix or the gate runs a test on."""
    found, running, enough = find_interpreters(), find_running_interpreter(), find_enough(test)
    debian = [each for each in found if each.debian and each != running]
    supported = [each for each in found if each not in debian]
    if enough is not None and enough.name == "one_python":
        chosen = [running]
    elif enough is not None and enough.name == "pythons":
        chosen = [each for each in found if each.name in enough.args or (each.debian and "debian" in enough.args)]
    elif enough is not None or extent == "gate":
        chosen = [each for each in supported if each.name in {OLDEST, NEWEST}]
    else:
        chosen = supported
    chosen = chosen or supported[-1:]  # if this machine has none of them
    return chosen + ([*debian, *find_next_interpreters()] if test.get_closest_marker("core") else [])


def list_pairs(test: pytest.Item, extent: str) -> list[tuple[Interpreter, str]]:
    """List the interpreters and the releases of Databricks for a test: in the gate, each release on one Python."""
    only = test.get_closest_marker("releases")
    pairs = [
        (found, release)
        for found in sorted(list_pythons(test, "matrix"), key=lambda found: found.sort_key)
        for release, minors in RELEASES.items()
        if found.minor in minors and (only is None or release in only.args)
    ]
    newest = {release: (found, release) for found, release in pairs}
    return [*newest.values()] if extent == "gate" else pairs


def list_plain_pairs(test: pytest.Item) -> list[tuple[Interpreter, str]]:
    """List the running interpreter, with the releases that fit it or else with the first one that the test is for."""
    running, only = find_running_interpreter(), test.get_closest_marker("releases")
    wanted = list(only.args) if only else list(RELEASES)
    return [(running, release) for release in wanted if running.minor in RELEASES[release]] or [(running, wanted[0])]


def chooses_sitecustomize(test: pytest.Item) -> bool:
    """Return whether a test names the kinds of node that it is for."""
    return any("sitecustomize" in str(mark.args[0]) for mark in test.iter_markers("parametrize"))


def is_plain(item: pytest.Item) -> bool:
    """Return whether a plain run has a test."""
    values = get_values(item)
    return (
        item.get_closest_marker("matrix") is None
        and values.get("interpreter", find_running_interpreter()) == find_running_interpreter()
        and ("release" not in values or (values["interpreter"], values["release"]) in list_plain_pairs(item))
        and bool(values.get("sitecustomize", True) or chooses_sitecustomize(item))
    )


def is_in_gate(item: pytest.Item) -> bool:
    """Return whether the gate has a test: nothing of a plain run, and on each of several Pythons one kind of node."""
    values, enough = get_values(item), find_enough(item)
    if is_plain(item) or "sitecustomize" not in values or chooses_sitecustomize(item):
        return not is_plain(item)
    is_alone = enough is not None and enough.name == "one_python"
    return is_alone or bool(values["sitecustomize"]) != (values["interpreter"].name == OLDEST)


def get_values(item: pytest.Item) -> dict[str, Any]:
    """Return the values that a test is run with."""
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


CHOOSE: dict[str | None, Callable[[pytest.Item], bool]] = {None: is_plain, "gate": is_in_gate, "matrix": lambda _: True}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests that were asked for, put them in order, and note which tests run the real thing."""
    is_chosen = CHOOSE[config.option.extent]
    chosen = [item for item in items if is_chosen(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = sorted(chosen, key=lambda item: [folder != item.path.parent.name for folder in FIRST])
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
