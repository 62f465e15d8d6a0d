"""Behind Databricks' own worker code: the published `pyspark.worker_util` of 14.3, fed by its own serializers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.hooks import before_path
from tests.lab.node import OFF
from tests.lab.wheels import fetch_py4j, unpack_pyspark

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.node import Node, Notebook

# From 16.4 on the module imports one that is not in the wheel.
pytestmark = [
    pytest.mark.releases("14.3"),
    pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""]),
]

WORKER = """\
import io, os, sys
from pyspark.worker_util import setup_spark_files
from pyspark.serializers import write_int, write_with_length
ROOT, OTHER, PREFIX = {root!r}, {other!r}, {prefix!r}
os.environ.update(PYTHON_NOTEBOOK_PATH="/Workspace/Users/someone@example.com/notebooks", WSFS_TEST_DIR=PREFIX)

def serve(*sent):
    stream = io.BytesIO()
    for text in ("isolated_", "/virtualenv", PREFIX + "/spark-files"):
        write_with_length(text.encode(), stream)
    write_int(len(sent), stream)
    for path in sent:
        write_with_length(path.encode(), stream)
    stream.seek(0)
    setup_spark_files(stream)
    assert not stream.read()

"""


@pytest.fixture(scope="session")
def spark(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Databricks' `pyspark`, and with what it imports."""
    folder = tmp_path_factory.mktemp("worker")
    unpack_pyspark(wheel, folder)
    return fetch_py4j(folder)


class Worker:
    """A worker's interpreter: the runtime's, which has the editable install in its own layer."""

    def __init__(self, notebook: Notebook, spark: Path) -> None:
        self.notebook = notebook
        self.root = str(notebook.node.project("testx") / "src")
        self.path = {"PYTHONPATH": before_path(notebook, spark)}

    def run(self, code: str, environ: Mapping[str, str] | None = None) -> str:
        """Run code behind the worker's own; return what it printed."""
        node = self.notebook.node
        start = WORKER.format(root=self.root, other=str(node.project("other")), prefix=str(node.root))
        done = node.run([node.python, "-c", start + code], self.path | dict(environ or {}), check=False)
        assert done.returncode == 0 or "ModuleNotFoundError" in done.stderr, done.stderr
        return done.stdout.strip()


@pytest.fixture
def worker(installed: Node, spark: Path) -> Worker:
    installed.project("notebooks").mkdir(exist_ok=True)
    return Worker(installed.make_notebook(), spark)


def test_root_of_the_worker_s_own_layer_survives_the_clean_up(worker: Worker) -> None:
    code = """
layer = sys.path[sys.path.index(ROOT) - 1]
sys.path.append(OTHER)  # left by the function before
serve()
print(sys.path[sys.path.index(ROOT) - 1] == layer, sys.path.count(ROOT), OTHER in sys.path)
serve(ROOT.removeprefix(PREFIX), OTHER.removeprefix(PREFIX))
print(sys.path[sys.path.index(ROOT) - 1] == layer, sys.path.count(ROOT), sys.path[-1] == OTHER)
import testx
print(testx.__file__)
"""
    assert worker.run(code).splitlines() == ["True 1 False", "True 1 True", f"{worker.root}/testx/__init__.py"]


def test_without_us_the_clean_up_takes_the_root(worker: Worker) -> None:
    code = "print(ROOT in sys.path)\nserve()\nprint(ROOT in sys.path)\nimport testx"

    assert worker.run(code, OFF).splitlines() == ["True", "False"]


def test_library_on_the_worker_imports_an_editable_module(worker: Worker) -> None:
    """The worker's code puts the real hook on the notebook's folder; here that is the project's own."""
    layer = worker.notebook.node.layer(worker.notebook.node.runtime)
    layer.joinpath("w_library.py").write_text("def load(name):\n    return __import__(name)\n")
    code = """
folder = "/Workspace/Users/someone@example.com/testx/src"
os.environ["PYTHON_NOTEBOOK_PATH"] = folder
sys.path[:] = [entry for entry in sys.path if entry != ROOT]
serve()
print(type(sys.path_importer_cache[ROOT]).__module__)
import w_library
print(w_library.load("testx").__file__)
"""
    file = f"{worker.root}/testx/__init__.py"

    assert worker.run(code).splitlines() == ["pyspark.wsfs_import_hook", file]
    assert worker.run(code, OFF).splitlines() == ["pyspark.wsfs_import_hook"]
