"""Tests editable installs in the Python workers of two executors, on a real Spark.

Without the shim, a worker does not find an editable package in three cases: its interpreter has the install's layer as
a plain entry of its path; the project's folder was absent when the interpreter started; or Databricks' own code removes
the root, or refuses it. These tests are about those cases.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.missing import missing
from tests.lab.node import OFF, Node
from tests.lab.spark import Spark, install_spark, lay_out_workers_path, submit_arguments
from tests.lab.wheels import FetchError, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = [pytest.mark.matrix, pytest.mark.real("Spark")]

WAYS = ("udf", "pandas_udf", "mapInPandas")
"""The ways in which a job can run Python: see `tests/lab/spark/driver.py`."""
QUIET = {"spark.ui.enabled": "false", "spark.task.maxFailures": "1"}
SELFTEST = """
import json, dbx_patch
from dbx_patch._selftest import _promises
from pyspark.sql import SparkSession
session = SparkSession.builder.getOrCreate()
_promises.SHARED = ({root!r},)
print(json.dumps(dbx_patch.selftest({folder!r}).to_json()))
"""
NOT_FOUND = "No module named 'testx'"


@dataclass
class Workers:
    """New workers of one interpreter. Spark starts a new process for each environment, and forks workers from it."""

    spark: Spark
    python: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        return self.spark.node

    def call(self, name: str = "testx", way: str = "udf") -> str:
        """Call a package's function in a new worker on each executor, and return the outcome, the same on both."""
        answers = self.spark.run(name, way, self.python, self.environ)
        assert len({answer.executor for answer in answers}) == 2
        assert {answer.python for answer in answers} == {str(self.python)}
        (outcome,) = {answer.outcome for answer in answers}
        return outcome

    def call_in_each_way(self) -> dict[str, str]:
        """Call the function of `testx` in each way that Spark has to run Python."""
        return {way: self.call(way=way) for way in WAYS}


def build(folder: Path, interpreter: Interpreter, wheelhouse: Path, databricks_own: Path | None = None) -> Node:
    """Build a node with Spark, and with `testx` editable in the runtime's layer. The shim is not installed yet."""
    node = Node(folder.resolve() / "node", interpreter, wheelhouse, sitecustomize=True).build()
    try:
        install_spark(node, databricks_own)
    except FetchError as error:
        missing(f"Spark or pandas: {error}")
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    return node


@pytest.fixture(scope="module")
def spark(interpreter: Interpreter, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    """A running Spark, on a node without the shim."""
    node = build(tmp_path_factory.mktemp("spark"), interpreter, wheelhouse)
    lay_out_workers_path(node)
    with Spark(node.make_notebook()) as spark:
        yield spark
    shutil.rmtree(node.root)


def source(node: Node, name: str = "testx") -> Path:
    """Return the file whose function returns where it is."""
    return node.project(name) / "src" / name / "functions.py"


@pytest.mark.pythons("3.12")
def test_workers_that_start_after_the_shim_is_installed_import_editables(spark: Spark) -> None:
    """Spark itself has started before. The workers run the cluster libraries' Python, as they do on DBR 17.3.

    How its path is laid out is a conclusion from what workers can import there.
    """
    node, python = spark.node, spark.node.cluster_libraries / "bin/python"
    found = f"function1 of {source(node)}"
    assert Workers(spark, python).call_in_each_way() == dict.fromkeys(WAYS, NOT_FOUND)

    node.install_shim()
    workers = Workers(spark, python, {"STARTED": "after the install"})
    assert workers.call_in_each_way() == dict.fromkeys(WAYS, found)

    # New workers are forks of a process that runs already.
    assert workers.call("testy") == "No module named 'testy'"
    node.install_editable(node.copy_project("testy"))
    assert workers.call("testy") == f"function1 of {source(node, 'testy')}"

    source(node).write_text("def function1():\n    return 'edited'\n")
    assert workers.call_in_each_way() == dict.fromkeys(WAYS, "edited")

    # The runtime's own Python, as in the container images: `site` opens the layer, and drops an absent folder.
    live = Workers(spark, node.python, {"STARTED": "while the folder was absent"})
    without = Workers(spark, node.python, OFF)
    away = node.project("testx").rename(node.root / "away")
    assert (live.call(), without.call()) == (NOT_FOUND, NOT_FOUND)
    away.rename(node.project("testx"))
    assert (live.call(), without.call()) == ("edited", NOT_FOUND)


@pytest.mark.pythons("3.12")
@pytest.mark.parametrize("environ", [{}, OFF], ids=["on", "off"])
def test_selftest_tries_a_udf(spark: Spark, environ: dict[str, str]) -> None:
    """In the session of its own process. What executors can read is below the node's root here."""
    node = spark.node
    node.install_shim()
    local = spark.environ | {"PYSPARK_SUBMIT_ARGS": submit_arguments({"spark.master": "local[1]", **QUIET})}
    notebook = node.make_notebook()

    done = notebook.run(SELFTEST.format(root=f"{node.root}/", folder=str(node.workspace)), local | environ, check=True)

    rows = json.loads(done.stdout.splitlines()[-1])["promises"]
    [row] = [row for row in rows if row["promise"] == "UDF"]
    assert (row["state"], row["detail"]) == (("failed", "it raised PythonException") if environ else ("passed", ""))


@pytest.mark.releases("14.3")
def test_databricks_set_up_of_a_worker_keeps_editables(
    interpreter: Interpreter, wheelhouse: Path, wheel: Path, tmp_path: Path
) -> None:
    """The published `setup_spark_files` runs in a worker before a job's function does.

    Apache's worker calls a function with that name at that place. From 16.4 on, the published module imports one that
    is not in the wheel.
    """
    node = build(tmp_path, interpreter, wheelhouse, unpack_pyspark(wheel, tmp_path))
    node.install_shim()
    node.project("notebooks").mkdir()
    found = f"function1 of {source(node)}"
    with Spark(node.make_notebook(), daemon="databricks_daemon") as spark:

        def call(notebook_folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
            folder = {"PYTHON_NOTEBOOK_PATH": str(notebook_folder).removeprefix(str(node.root))}
            prefix = {"WSFS_TEST_DIR": str(node.root)}
            return Workers(spark, node.python, {**folder, **prefix, **environ}).call_in_each_way()

        # It removes the root from the path of the runtime's own Python.
        assert call(node.project("notebooks"), OFF) == dict.fromkeys(WAYS, NOT_FOUND)
        assert call(node.project("notebooks"), {}) == dict.fromkeys(WAYS, found)

        # It puts the workspace hook on the notebook's folder. Here that is the project's, and pandas is library code.
        refused = {"udf": found, "pandas_udf": NOT_FOUND, "mapInPandas": NOT_FOUND}
        assert call(node.project("testx") / "src", OFF) == refused
        assert call(node.project("testx") / "src", {}) == dict.fromkeys(WAYS, found)
    shutil.rmtree(node.root)
