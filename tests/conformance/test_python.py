"""Python's own tests of imports, start-up and interpreters pass with the shim as they do without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.place import Place, environ, library
from tests.conformance.results import Results, find_failures_of_shim, read_json
from tests.lab.node import Notebook

RUN = Path(__file__).with_name("run_unittest.py")
SUITES = {
    "import": ("test_import",),
    "importlib": ("test_importlib",),
    "inspect": ("test_inspect",),
    "interpreters": ("test__xxsubinterpreters", "test__interpreters", "test__interpchannels", "test_interpreters"),
    "modulefinder": ("test_modulefinder", "test_module", "test_pyclbr", "test_frozen"),
    "pkgutil": ("test_pkgutil",),
    "runpy": ("test_runpy", "test_cmd_line_script"),
    "site": ("test_site",),
    "sys": ("test_sys",),
    "venv": ("test_venv",),
    "trace": ("test_trace", "test_fork1"),
    "zipimport": ("test_zipimport", "test_zipimport_support"),
}
"""Modules of the `test` package; each Python is asked only for those that it has."""


@pytest.mark.matrix
@pytest.mark.oldest_and_newest
@pytest.mark.real("tests of CPython's own")
@pytest.mark.parametrize("suite", SUITES)
def test_python_passes_its_own_tests(python_tests: Place, suite: str, tmp_path: Path) -> None:
    tests = library(python_tests.interpreter) / "test"
    modules = [f"test.{name}" for name in SUITES[suite] if any(tests.glob(f"{name}.py")) or (tests / name).is_dir()]

    def run(*, shim: bool) -> Results:
        return run_tests(python_tests.make_notebook(shim=shim), modules, tmp_path / f"shim-{shim}")

    with_shim = run(shim=True)

    assert with_shim.passed, with_shim.failed
    failures = find_failures_of_shim(with_shim, lambda: run(shim=False))
    assert not failures, "\n".join(f"{name}\n{text}" for name, text in failures.items())


def run_tests(notebook: Notebook, modules: list[str], folder: Path) -> Results:
    """Run modules of Python's tests in an empty folder."""
    folder.mkdir()
    command = ["env", f"--chdir={folder}", notebook.python, RUN, folder / "results.json", *modules]
    return read_json(folder / "results.json", notebook.node.run(command, environ(folder), check=False))
