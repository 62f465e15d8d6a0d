"""Projects that work on imports pass their own tests with the shim as they do without it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.place import Place, environ
from tests.conformance.results import Results, find_failures_of_shim, read_junit
from tests.lab.missing import missing
from tests.lab.node import Notebook
from tests.lab.projects import FOR_ALL
from tests.lab.templates import make_once
from tests.lab.wheels import FetchError, pip


@dataclass(frozen=True)
class Suite:
    """A project, pinned because its tests may move, and which of its sdist's tests are run."""

    project: str
    version: str
    tests: tuple[str, ...]
    path: str = ""
    """A folder of the sdist that the tests need on the path."""


SUITES = {
    suite.project: suite
    for suite in (
        # From 3.0 on, its sdist has no tests. The other class runs the same ones with an older protocol.
        Suite(
            "cloudpickle", "2.2.1", ("tests/cloudpickle_test.py::CloudPickleTest",), path="tests/cloudpickle_testpkg"
        ),
        Suite("editables", "0.5", ("tests",)),
        Suite("importlib_metadata", "8.5.0", ("tests",)),
        # The tests of later ones need a `test.support` that 3.12.1 does not have.
        Suite("importlib_resources", "6.1.1", ("importlib_resources/tests",)),
        Suite("ipython", "8.30.0", ("IPython/extensions/tests/test_autoreload.py",)),
        Suite("wrapt", "1.17.0", ("tests/test_post_import_hooks.py",)),
    )
}
NEEDED = ("pytest==8.3.4", "jaraco.test==5.5.1", "pyfakefs==5.7.3", "testpath==0.6.0")
"""What runs the tests, and what they import."""
FOR_3_10 = ("exceptiongroup", "tomli", "typing-extensions")
"""What some of them need until 3.10 is dropped, whichever Python fetches them."""
COMPILED = "psutil==6.1.1"
"""What cloudpickle's tests import as well; one wheel serves every CPython."""
BACKENDS = ("flit_core<4", "setuptools<81", "setuptools-scm<9")
"""What pip needs to download their sdists."""


@dataclass(frozen=True)
class Fetched:
    """A folder with the sdists, and with what runs their tests."""

    folder: Path

    @property
    def sdists(self) -> Path:
        return self.folder / "sdists"

    @property
    def packages(self) -> Path:
        """The projects, pytest and what the tests import, for the path of any Python."""
        return self.folder / "packages"


def fetch(folder: Path) -> None:
    """Download all of it."""
    fetched = Fetched(folder)
    projects = [f"{suite.project}=={suite.version}" for suite in SUITES.values()]
    pip("install", "--quiet", *FOR_ALL, "--no-compile", "--target", fetched.packages, *projects, *NEEDED, *FOR_3_10)
    abi3 = ("--python-version=3.10", "--implementation=cp", "--abi=abi3", "--only-binary=:all:")
    pip("install", "--quiet", *abi3, "--no-compile", "--target", folder / "compiled", COMPILED)
    shutil.copytree(folder / "compiled", fetched.packages, dirs_exist_ok=True)
    pip("install", "--quiet", *FOR_ALL, "--no-compile", "--target", folder / "backends", *BACKENDS)
    options = ("--quiet", "--no-deps", "--no-build-isolation", f"--no-binary={','.join(SUITES)}")
    environ = {"PYTHONPATH": str(folder / "backends")}
    pip("download", *options, "--dest", fetched.sdists, *projects, environ=environ)


@pytest.fixture(scope="session")
def fetched(wheelhouse: Path) -> Fetched:
    """The projects; fetched once for all test processes."""
    try:
        return Fetched(make_once(wheelhouse.with_name("third-party"), fetch))
    except FetchError as error:
        missing(f"the projects whose tests are run: {error}")


@pytest.mark.matrix
@pytest.mark.pythons("3.12")
@pytest.mark.real("tests of third-party projects")
@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_projects_pass_their_own_tests(place: Place, suite: Suite, fetched: Fetched, tmp_path: Path) -> None:
    def run(*, shim: bool) -> Results:
        notebook = place.make_notebook(shim=shim, packages=fetched.packages)
        return run_tests(notebook, suite, fetched, tmp_path / f"shim-{shim}")

    with_shim = run(shim=True)

    assert with_shim.passed, with_shim.failed
    failures = find_failures_of_shim(with_shim, lambda: run(shim=False))
    assert not failures, "\n".join(f"{name}\n{text}" for name, text in failures.items())


def run_tests(notebook: Notebook, suite: Suite, fetched: Fetched, folder: Path) -> Results:
    """Unpack a project's sdist in an empty folder, and run its tests by pytest without the project's settings."""
    folder.mkdir()
    (archive,) = fetched.sdists.glob(f"{suite.project}-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    sources = folder / archive.name.removesuffix(".tar.gz")
    results, settings = folder / "results.xml", folder / "pytest.ini"
    settings.write_text("[pytest]\n")
    # A test pickles a stream that pytest would replace.
    options = ("--capture=no", "-p", "no:cacheprovider", "-c", settings, "--rootdir", sources, "--junit-xml", results)
    command = ["env", f"--chdir={sources}", notebook.python, "-m", "pytest", *options, *suite.tests]
    path = {"PYTHONPATH": str(sources / suite.path)} if suite.path else {}
    return read_junit(results, notebook.node.run(command, environ(folder) | path, check=False))
