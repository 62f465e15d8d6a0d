"""Tests editable installs behind Databricks' own worker code: the published `pyspark.worker_util` of 14.3."""

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
    pytest.mark.releases("14.3"),  # from 16.4 on, the module imports one that is not in the wheel
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
]

WORKER = """\
import io, json, os, sys
from pyspark.worker_util import setup_spark_files
from pyspark.serializers import write_int, write_with_length
ROOT, OTHER, PREFIX = {root!r}, {other!r}, {prefix!r}
os.environ.update(PYTHON_NOTEBOOK_PATH="/Workspace/Users/someone@example.com/notebooks", WSFS_TEST_DIR=PREFIX)

def set_up(*sent):
    stream = io.BytesIO()
    for text in ("isolated_", "/virtualenv", PREFIX + "/spark-files"):
        write_with_length(text.encode(), stream)
    write_int(len(sent), stream)
    for path in sent:
        write_with_length(path.encode(), stream)
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


@pytest.fixture(scope="session")
def spark(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Databricks' `pyspark`, and with the package that it imports."""
    folder = tmp_path_factory.mktemp("worker")
    unpack_pyspark(wheel, folder)
    return fetch_py4j(folder)


class Worker:
    """A worker's interpreter: the runtime's, which has the editable install in its own layer."""

    def __init__(self, notebook: Notebook, spark: Path) -> None:
        self.notebook = notebook
        self.root = str(notebook.node.project("testx") / "src")
        self.path = {"PYTHONPATH": before_path(notebook, spark)}

    def ask(self, code: str, environ: Mapping[str, str] | None = None) -> Any:
        """Run code after the worker's own, and return its answer."""
        node = self.notebook.node
        start = WORKER.format(root=self.root, other=str(node.project("other")), prefix=str(node.root))
        return json.loads(node.run([node.python, "-c", start + code], self.path | dict(environ or {})).stdout)


@pytest.fixture
def worker(installed: Node, spark: Path) -> Worker:
    installed.project("notebooks").mkdir(exist_ok=True)
    layer = installed.layer(installed.runtime)
    layer.joinpath("w_library.py").write_text("def load(name):\n    return __import__(name)\n")
    return Worker(installed.make_notebook(), spark)


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
