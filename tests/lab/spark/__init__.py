"""Runs Apache's Spark on a node: a driver in a notebook, two executors, and their Python workers.

Spark comes from PyPI, and is in the folder where Databricks has its own. pandas and pyarrow are in the runtime's layer.
The executors run on this machine, so they see every file of the node.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from platformdirs import user_cache_path

from tests.lab.hooks import before_path
from tests.lab.node import Node, Notebook
from tests.lab.trace import require
from tests.lab.wheels import pip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self  # until 3.10 is dropped: not in `typing` there

HERE = Path(__file__).parent
PYSPARK = "pyspark==4.0.5"
"""The version of DBR 17.3. It needs Java 17 or later, and Python 3.9 to 3.13."""
PY4J = "python/lib/py4j-0.10.9.9-src.zip"
"""The archive that PySpark needs on `sys.path`."""
PANDAS = ("pandas==2.2.3", "numpy==2.1.3", "pyarrow==18.1.0")
"""The packages that Spark uses to move rows, for Python 3.10 to 3.13."""
PATIENCE = 240
"""Seconds after which the start, a job or the end has failed."""
DATABRICKS_OWN = ("worker_util.py", "wsfs_import_hook.py")
"""The files of Databricks' own `pyspark` that `install_spark` can add."""


@dataclass(frozen=True)
class Answer:
    """What a worker reports."""

    outcome: str
    """What the package's `function1` returned, or why the package can't be imported."""
    python: str
    executor: str
    """The executor's folder."""


class Spark:
    """A running Spark."""

    def __init__(self, notebook: Notebook, *, daemon: str = "pyspark.daemon") -> None:
        self.node = notebook.node
        self.folder = self.node.root / "local_disk0/spark"
        self.folder.mkdir()
        self.log = self.folder / "stderr"
        self.command = [notebook.python, HERE / "driver.py"]
        home = self.node.root / "databricks/spark"
        self.environ = self.node.environ() | {
            "PYTHONPATH": before_path(notebook, home / PY4J),
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder),
            "TMPDIR": str(self.folder),
            "JAVA_TOOL_OPTIONS": f"-XX:-UsePerfData -Djava.io.tmpdir={self.folder} -Duser.home={self.node.root}",
            "PYSPARK_PYTHON": str(notebook.python),
            "PYSPARK_SUBMIT_ARGS": submit_arguments(
                {
                    "spark.master": "local-cluster[2,1,1024]",
                    "spark.ui.enabled": "false",
                    "spark.python.daemon.module": daemon,
                    "spark.python.worker.reuse": "false",  # each task has a worker of its own
                    "spark.task.maxFailures": "1",
                    "spark.scheduler.minRegisteredResourcesRatio": "1",  # both executors take part
                    "spark.scheduler.maxRegisteredResourcesWaitingTime": f"{PATIENCE}s",
                }
            ),
        }

    def __enter__(self) -> Self:
        with self.log.open("w") as log:
            self.driver = subprocess.Popen(
                [str(part) for part in self.command],
                env=self.environ,
                cwd=self.node.root / "databricks/driver",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                start_new_session=True,
            )
        try:
            self._read()
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes = find_processes(self.environ["SPARK_HOME"])
        for stream in self._streams():
            stream.close()  # the driver ends at the end of its input
        left = [process for process in processes if not has_ended(process)]
        for process in left:
            os.kill(process, signal.SIGKILL)
        self.driver.wait()
        assert not left, self.log.read_text()

    def run(self, name: str, way: str, python: Path, environ: Mapping[str, str] | None = None) -> list[Answer]:
        """Import a package in a new worker on each executor, in one of the driver's ways. Return both answers.

        An executor forks workers from an interpreter, which it starts for the first job of each environment.
        """
        job = {"name": name, "way": way, "python": str(python), "environ": dict(environ or {})}
        stdin, _ = self._streams()
        stdin.write(json.dumps(job) + "\n")
        stdin.flush()
        return [Answer(*answer) for answer in json.loads(self._read())]

    def _read(self) -> str:
        """Return a line from the driver. If it has ended or hangs, fail with its log."""
        _, stdout = self._streams()
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        line = stdout.readline() if ready else ""
        assert line, self.log.read_text()[-10_000:]
        return line

    def _streams(self) -> tuple[IO[str], IO[str]]:
        assert self.driver.stdin
        assert self.driver.stdout
        return self.driver.stdin, self.driver.stdout


def submit_arguments(options: Mapping[str, str]) -> str:
    """Format options as Spark reads them from the environment."""
    return " ".join([*(f"--conf {name}={value}" for name, value in options.items()), "pyspark-shell"])


def find_processes(mark: str) -> list[int]:
    """Return the processes whose environment contains a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in folder.joinpath("environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # the process has ended, or belongs to another user
            continue
    return found


def has_ended(process: int) -> bool:
    """Wait for a process, which need not be a child. Return whether it has ended in time."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def install_spark(node: Node, databricks_own: Path | None = None) -> None:
    """Fetch Spark and pandas; copy Spark to a node, and install pandas into the runtime's layer.

    `databricks_own` is the folder of Databricks' own `pyspark`: workers then run its code that changes `sys.path`.
    """
    require("java")
    pyspark = (
        fetch_once(PYSPARK, "--target", "install", "--no-deps", "--no-compile", "--no-cache-dir", PYSPARK) / "pyspark"
    )
    home = node.root / "databricks/spark"
    for name in ("bin", "jars"):
        (home / name).symlink_to(pyspark / name)
    # A folder, because Spark would put an archive first on a worker's `sys.path`.
    code = home / "python/pyspark"
    left_out = shutil.ignore_patterns("bin", "data", "examples", "jars", "licenses", "python", "sbin", "tests")
    shutil.copytree(pyspark, code, ignore=left_out)
    shutil.copy(pyspark / PY4J, home / PY4J)
    shutil.copy(HERE / "databricks_daemon.py", home / "python")
    for name in DATABRICKS_OWN if databricks_own else ():
        shutil.copy(Path(str(databricks_own), name), code)

    version = f"3.{node.interpreter.minor}"
    only = (f"--python-version={version}", "--only-binary=:all:")
    wheels = fetch_once("-".join([*PANDAS, version]), "--dest", "download", *only, *PANDAS)
    node.pip("install", "--quiet", f"--find-links={wheels}", *PANDAS)


def lay_out_workers_path(node: Node) -> None:
    """Put the lower layers on the path of the cluster libraries' Python by a `.pth` file, as in a notebook."""
    below = node.make_notebook().layers[2:]
    node.layer(node.cluster_libraries).joinpath("sites.pth").write_text("".join(f"{entry}\n" for entry in below))


def fetch_once(name: str, into: str, *command: str) -> Path:
    """Run a command of pip into a cache folder outside the repository, once. Return the folder. Raises FetchError."""
    cache = user_cache_path("dbx-patch") / "spark"
    folder = cache / name
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            fresh = Path(temporary, name)
            pip(*command, "--quiet", into, fresh)
            with contextlib.suppress(OSError):  # another test process has fetched it first
                fresh.rename(folder)
    return folder
