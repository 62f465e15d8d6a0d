"""On a real Spark: editable installs in the Python workers of two executors.

A worker is dead without us where its interpreter has the install's layer as a plain entry of its path, where the
project's folder was absent as that interpreter started, and where Databricks' own code takes the root away or refuses
it. It is alive without us in the layer that `site` opens, with the folder there: no test is about that.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import missing
from tests.lab.node import OFF, Node
from tests.lab.spark import Spark, install_spark, lay_out_workers_path
from tests.lab.wheels import FetchError, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.interpreters import Interpreter

pytestmark = pytest.mark.real("Spark")

WAYS = ("udf", "pandas_udf", "mapInPandas")
DEAD = "No module named 'testx'"


@dataclass
class Workers:
    """The workers that a test starts: interpreters of one environment, which no other test has started."""

    spark: Spark
    python: Path
    environ: Mapping[str, str]
    before: dict[str, str] = field(default_factory=dict)
    """What workers said before the shim was installed, by each way."""

    @property
    def node(self) -> Node:
        return self.spark.node

    def say(self, name: str = "testx", way: str = "udf", environ: Mapping[str, str] | None = None) -> str:
        """Have a new worker on each executor import a package, and return what both say of it."""
        answers = self.spark.run(name, way, self.python, {**self.environ, **(environ or {})})
        assert len({answer.executor for answer in answers}) == 2
        assert {answer.python for answer in answers} == {str(self.python)}
        (said,) = {answer.said for answer in answers}
        return said

    def say_in_each_way(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Have new workers import `testx` in each way that Spark offers to run Python."""
        return {way: self.say(way=way, environ=environ) for way in WAYS}


def build(folder: Path, interpreter: Interpreter, wheelhouse: Path, databricks_own: Path | None = None) -> Node:
    """Build a node with Spark, and with `testx` editable in the runtime's layer; the shim is not installed yet."""
    node = Node(folder.resolve() / "node", interpreter, wheelhouse, sitecustomize=databricks_own is None).build()
    try:
        install_spark(node, databricks_own)
    except FetchError as error:
        missing(f"Spark or pandas: {error}")
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    return node


@pytest.fixture(scope="module")
def running(interpreter: Interpreter, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A Spark whose workers run the cluster libraries' Python; the shim was installed after it had started.

    That Python is what 17.3 was seen to run them by. Its path is an inference from what workers can import.
    """
    node = build(tmp_path_factory.mktemp("spark"), interpreter, wheelhouse)
    lay_out_workers_path(node)
    with Spark(node.make_notebook()) as spark:
        workers = Workers(spark, node.cluster_libraries / "bin/python", {})
        workers.before = workers.say_in_each_way()
        assert node.dbx_patch("dbx_patch.install").returncode == 0
        yield workers
    shutil.rmtree(node.root)


@pytest.fixture
def workers(running: Workers, request: pytest.FixtureRequest) -> Workers:
    """Workers that are started by this test, and so with the shim."""
    return Workers(running.spark, running.python, {"TEST": request.node.name}, running.before)


def source(node: Node, name: str = "testx") -> Path:
    """The file that tells where it is."""
    return node.project(name) / "src" / name / "functions.py"


@pytest.mark.pythons("3.12")
def test_editable_install_is_dead_before_and_alive_after(workers: Workers) -> None:
    assert workers.before == dict.fromkeys(WAYS, DEAD)

    assert workers.say_in_each_way() == dict.fromkeys(WAYS, f"function1 of {source(workers.node)}")


@pytest.mark.pythons("3.12")
def test_change_in_the_source_is_seen_by_new_workers(workers: Workers) -> None:
    before = source(workers.node).read_text()
    assert workers.say() == f"function1 of {source(workers.node)}"

    source(workers.node).write_text("def function1():\n    return 'edited'\n")

    said = workers.say_in_each_way()
    source(workers.node).write_text(before)
    assert said == dict.fromkeys(WAYS, "edited")


@pytest.mark.pythons("3.12")
def test_install_is_seen_by_new_workers_of_an_interpreter_that_runs(workers: Workers) -> None:
    """Spark forks workers from one interpreter, which has started long before."""
    assert workers.say("testy") == "No module named 'testy'"

    workers.node.install_editable(workers.node.copy_project("testy"))

    assert workers.say("testy") == f"function1 of {source(workers.node, 'testy')}"


@pytest.mark.pythons("3.12")
@pytest.mark.parametrize(("environ", "alive"), [(OFF, False), ({}, True)], ids=["without-us", "with-us"])
def test_folder_that_was_absent_as_the_interpreter_started(
    workers: Workers,
    environ: Mapping[str, str],
    alive: bool,  # noqa: FBT001
) -> None:
    """In the layer that `site` opens: the runtime's own Python, as the container images have it."""
    workers.python = workers.node.python
    away = workers.node.project("testx").rename(workers.node.root / "away")
    said = workers.say(environ=environ)

    away.rename(workers.node.project("testx"))

    assert said == DEAD
    assert workers.say(environ=environ) == (f"function1 of {source(workers.node)}" if alive else DEAD)


@pytest.mark.releases("14.3")
def test_behind_databricks_own_set_up_of_a_worker(
    interpreter: Interpreter, wheelhouse: Path, wheel: Path, tmp_path: Path
) -> None:
    """The published `setup_spark_files` runs in a worker before a job's function does.

    The worker is Apache's, which calls a function of that name at that place. From 16.4 on, its module imports one that
    is not in the wheel.
    """
    node = build(tmp_path, interpreter, wheelhouse, unpack_pyspark(wheel, tmp_path))
    assert node.dbx_patch("dbx_patch.install").returncode == 0
    node.project("notebooks").mkdir()
    alive = f"function1 of {source(node)}"
    with Spark(node.make_notebook(), daemon="databricks_daemon") as spark:

        def say(notebook_folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
            told = {"PYTHON_NOTEBOOK_PATH": str(notebook_folder).removeprefix(str(node.root))}
            workers = Workers(spark, node.python, {**told, "WSFS_TEST_DIR": str(node.root), **environ})
            return workers.say_in_each_way()

        # It takes the root from the path of the runtime's own Python.
        assert say(node.project("notebooks"), OFF) == dict.fromkeys(WAYS, DEAD)
        assert say(node.project("notebooks"), {}) == dict.fromkeys(WAYS, alive)

        # Where the project is the notebook's folder, it sets the hook on it, which refuses what pandas calls.
        refused = {"udf": alive, "pandas_udf": DEAD, "mapInPandas": DEAD}
        assert say(node.project("testx") / "src", OFF) == refused
        assert say(node.project("testx") / "src", {}) == dict.fromkeys(WAYS, alive)
    shutil.rmtree(node.root)
