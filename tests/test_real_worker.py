"""Tests editable installs behind Databricks' own worker code: the published `pyspark.worker_util`.

From 16.4 on, that module imports `pyspark.databricks.wsfs.wsfs_path_finder` and calls one function of it, at the end of
the set-up. No wheel has that module, so a function that does nothing stands in for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.hooks import before_path
from tests.lab.node import OFF
from tests.lab.wheels import fetch_py4j, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.releases("14.3", "15.4", "16.4", "17.3", "18.2", "19.3"),  # the wheel of 13.3 lacks the module
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
]

WORKER = """\
import io, json, os, sys
from pyspark.worker_util import setup_spark_files
from pyspark.serializers import write_int, write_with_length
ROOT, OTHER, PREFIX = {root!r}, {other!r}, {prefix!r}
os.environ.update(PYTHON_NOTEBOOK_PATH="/Workspace/Users/someone@example.com/notebooks", WSFS_TEST_DIR=PREFIX)

def set_up(*sent):
    if {by_values}:
        folder = PREFIX + "/spark-files"
        setup_spark_files(folder, list(sent), "isolated_", "/virtualenv", False, False, "driver", False)
        return
    stream = io.BytesIO()
    for text in ("isolated_", "/virtualenv", PREFIX + "/spark-files"):
        write_with_length(text.encode(), stream)
    write_int(len(sent), stream)
    for path in sent:
        write_with_length(path.encode(), stream)
    if {has_drivers}:
        stream.write(bytes(2))
        write_with_length(b"driver", stream)
        stream.write(bytes(1))
    stream.seek(0)
    setup_spark_files(stream)
    assert not stream.read()

def find_file(name, load=__import__):
    sys.modules.pop(name, None)
    try:
        return load(name).__file__
    except ModuleNotFoundError as error:
        return str(error)

def answer(**values):
    print(json.dumps(values))

"""
"""The start of a worker's code: `set_up` sends it what the driver sends, written with Databricks' own serializers."""
WSFS_PATH_FINDER = "databricks/wsfs/wsfs_path_finder.py"
"""The module that the wheels lack."""


@pytest.fixture(scope="session")
def spark(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Databricks' `pyspark`, and with the package that it imports."""
    folder = tmp_path_factory.mktemp("worker")
    lacking = unpack_pyspark(wheel, folder) / WSFS_PATH_FINDER
    assert not lacking.exists()
    lacking.parent.mkdir()
    lacking.write_text("def register_wsfs_path_finder():\n    pass\n")
    return fetch_py4j(folder)


class Worker:
    """A worker's interpreter: the runtime's, which has the editable install in its own layer."""

    def __init__(self, notebook: Notebook, spark: Path, release: str) -> None:
        self.notebook = notebook
        self.release = int(release.partition(".")[0])
        self.root = str(notebook.node.project("testx") / "src")
        self.path = {"PYTHONPATH": before_path(notebook, spark)}

    def ask(self, code: str, environ: Mapping[str, str] | None = None) -> Any:
        """Run code after the worker's own, and return its answer, which is the same for each way to call the set-up.

        Since 19.0 it takes the values that its caller has read, or the stream that has them, as before.
        """
        node = self.notebook.node
        answers = []
        for by_values in (False, True)[: 1 + (self.release >= 19)]:
            start = WORKER.format(
                root=self.root,
                other=str(node.project("other")),
                prefix=str(node.root),
                by_values=by_values,
                has_drivers=self.release >= 16,
            )
            done = node.run([node.python, "-c", start + code], self.path | dict(environ or {}))
            answers.append(json.loads(done.stdout))
        assert answers[1:] in ([], answers[:1])
        return answers[0]


@pytest.fixture
def worker(installed: Node, spark: Path, release: str) -> Worker:
    installed.project("notebooks").mkdir(exist_ok=True)
    layer = installed.layer(installed.runtime)
    layer.joinpath("w_library.py").write_text("def load(name):\n    return __import__(name)\n")
    return Worker(installed.make_notebook(), spark, release)


def test_root_of_the_worker_s_own_layer_survives_the_set_up(worker: Worker) -> None:
    """Without the shim, the set-up removes it."""
    code = """
layer = sys.path[sys.path.index(ROOT) - 1]
sys.path.append(OTHER)  # left by the previous function
def describe():
    place = ROOT in sys.path and sys.path[sys.path.index(ROOT) - 1] == layer
    return dict(root_follows_its_layer=place, roots=sys.path.count(ROOT), other=OTHER in sys.path)
set_up()
nothing_sent = describe()
set_up(ROOT.removeprefix(PREFIX), OTHER.removeprefix(PREFIX))
answer(nothing_sent=nothing_sent, both_sent=describe(), file=find_file("testx"))
"""
    assert worker.ask(code) == {
        "nothing_sent": {"root_follows_its_layer": True, "roots": 1, "other": False},
        "both_sent": {"root_follows_its_layer": True, "roots": 1, "other": True},
        "file": f"{worker.root}/testx/__init__.py",
    }
    code = "before = ROOT in sys.path\nset_up()\nanswer(before=before, after=ROOT in sys.path, file=find_file('testx'))"
    assert worker.ask(code, OFF) == {"before": True, "after": False, "file": "No module named 'testx'"}


def test_library_on_the_worker_imports_an_editable_module(worker: Worker) -> None:
    """The set-up puts the published hook on the notebook's folder, which is the project's own here."""
    code = """
os.environ["PYTHON_NOTEBOOK_PATH"] = "/Workspace/Users/someone@example.com/testx/src"
sys.path[:] = [entry for entry in sys.path if entry != ROOT]
set_up()
import w_library
answer(hook=type(sys.path_importer_cache[ROOT]).__module__, file=find_file("testx", w_library.load))
"""
    hook = {"hook": "pyspark.wsfs_import_hook"}

    assert worker.ask(code) == hook | {"file": f"{worker.root}/testx/__init__.py"}
    assert worker.ask(code, OFF) == hook | {"file": "No module named 'testx'"}
