"""The cluster init script, run by several shells on a node. tests/unit/test_init_script_text.py tests its text."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dbx_patch import __version__
from dbx_patch.installer import NAME_IS_TAKEN, Wheel, read_wheel, render_init_script
from tests.lab.trace import require
from tests.lab.wheels import LOWEST, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.lab.node import Node

    Run = Callable[[str, Sequence[str]], tuple[int, list[str]]]
    """Runs a script by a shell; returns its exit code and its log."""

LINE = re.compile(r"dbx-patch: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)")
ODD = 'it\'s a "folder" $(touch ran) `touch ran` ; #%20 [x]\\ gr\u00fc\u00dfe\nin two lines'
STARTS = "dbx-patch is not installed; the cluster starts without it."
STRICT = "dbx-patch is not installed; the cluster does not start without it (--strict)."
ONE_NODE = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
DRIVER = {"DB_IS_DRIVER": "TRUE", "DB_CLUSTER_ID": "1234-567890-abcdefgh", "DB_CONTAINER_IP": "10.0.0.1"}
WORKER = DRIVER | {"DB_IS_DRIVER": "FALSE"}
BASH = ("bash", "--posix", "-eu", "-o", "pipefail")


def print_script(*options: str) -> str:
    """Return the init script that the command line prints."""
    command = [sys.executable, "-m", "dbx_patch", "init-script", *options]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stderr == (f"warning: {NAME_IS_TAKEN}\n" if "--version" in options else "")
    return done.stdout


def pin(wheel: Path) -> Wheel:
    """Return a wheel with its digest, as `--wheel` reads it."""
    return read_wheel(str(wheel))[0]


def read_log(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a script has logged, without the prefix and the time that each line has to have."""
    lines = [LINE.fullmatch(line) for line in [*done.stdout.splitlines(), *done.stderr.splitlines()]]
    assert all(lines), done.stdout + done.stderr
    return [line[1] for line in lines if line]


def run_script(
    node: Node, script: str, environ: Mapping[str, str] | None = None, shell: Sequence[object] = ("sh",)
) -> tuple[int, list[str]]:
    """Run an init script on a node; return its exit code and its log."""
    file = node.root / "dbx-patch.sh"
    file.write_text(script, "utf-8")
    done = node.run([*shell, file], environ, check=False)
    file.unlink()
    return done.returncode, read_log(done)


def find_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("dbx_patch-*.whl")
    return wheel


def write_source_distribution(folder: Path, setup: str) -> None:
    """Write a source distribution of a project with our name and version, whose `setup.py` runs code."""
    name = f"dbx_patch-{__version__}"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: dbx-patch\nVersion: {__version__}\n",
        "setup.py": f"{setup}from setuptools import setup\nsetup(name='dbx-patch', version='{__version__}')\n",
    }
    folder.mkdir()
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            (folder / file).write_text(text)
            archive.add(folder / file, f"{name}/{file}")


def make_environment(node: Node, folder: Path, *options: str) -> Path:
    """Make an environment beside a shared node, where an install can fail; return its Python."""
    node.run([node.base, "-m", "venv", "--without-pip", *options, folder])
    return folder / "bin/python"


@pytest.mark.matrix
def test_makes_editable_installs_work_on_each_node_offline(node: Node) -> None:
    node.install_editable(node.copy_project("testx"))
    node.pip("install", "--quiet", *LOWEST)  # about what DBR 13.3 LTS has
    before = node.pip("freeze").splitlines()
    notebook = node.make_notebook()
    assert "ModuleNotFoundError" in notebook.run("import testx").stderr
    # A cluster whose index is out of reach, with settings that make pip refuse a wheel or install it elsewhere.
    settings = {
        "PIP_INDEX_URL": "https://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "https://127.0.0.1:9/links",
        "PIP_REQUIRE_HASHES": "1",
        "PIP_TARGET": str(node.root / "elsewhere"),
        "DATABRICKS_ROOT_VIRTUALENV_ENV": str(node.runtime),
    }
    script = print_script("--wheel", str(find_wheel(node.wheelhouse)), "--strict")

    code, log = run_script(node, script, settings | DRIVER)

    assert code == 0, log
    assert log[0] == f"Installing dbx-patch {__version__} for {node.python} on a driver."
    assert f"{__version__} is live in {node.python}" in log[-1]
    assert notebook.run("import testx; print(testx.function1())").stdout.startswith("function1 of ")
    after = node.pip("freeze").splitlines()
    assert [line for line in after if not line.startswith("dbx-patch")] == before
    assert len(after) == len(before) + 1

    installed = node.snapshot()
    code, log = run_script(node, script, settings | WORKER, BASH)

    assert code == 0, log
    assert log[0] == f"Installing dbx-patch {__version__} for {node.python} on a worker."
    assert "The package is already installed." in log
    assert node.snapshot() == installed


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.oldest_and_newest
def test_a_version_comes_from_the_index_that_the_cluster_names(node: Node, tmp_path: Path) -> None:
    """The runtime's other packages keep their versions, even if the cluster's settings ask pip for the newest."""
    node.pip("install", "--quiet", *LOWEST)
    page = tmp_path / "simple/dbx-patch/index.html"
    page.parent.mkdir(parents=True)
    wheel = find_wheel(node.wheelhouse)
    page.write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    before = node.pip("freeze").splitlines()
    newest = {"PIP_UPGRADE": "1", "PIP_UPGRADE_STRATEGY": "eager", "PIP_FIND_LINKS": str(node.wheelhouse)}
    script = render_init_script(__version__, root=str(node.root), strict=True)

    code, log = run_script(node, script, newest | {"PIP_INDEX_URL": (tmp_path / "simple").as_uri()}, BASH)

    assert code == 0, log
    assert node.pip("freeze").splitlines() == sorted([*before, f"dbx-patch=={__version__}"], key=str.lower)


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.one_python
def test_another_project_of_the_same_name_and_version_is_never_run(node: Node, tmp_path: Path) -> None:
    """PyPI has one. It is removed if pip installs it, and replaced if it was there before."""
    foreign = tmp_path / f"dbx_patch-{__version__}-py3-none-any.whl"
    info = f"dbx_patch-{__version__}.dist-info"
    files = {
        "dbx_patch/__init__.py": "open('ran', 'w')\n",
        "dbx_patch/install.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: dbx-patch\nVersion: {__version__}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(foreign, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    node.pip("install", "--quiet", *LOWEST)
    before = node.pip("freeze")
    from_index = render_init_script(__version__, root=str(node.root), strict=True)
    from_wheel = render_init_script(wheel=pin(find_wheel(node.wheelhouse)), root=str(node.root), strict=True)

    code, log = run_script(node, from_index, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)})

    assert code == 1
    assert f"error: dbx-patch=={__version__} is another project in this cluster's package index." in log
    assert node.pip("freeze") == before

    # A source distribution: its build would run code. 0 means no isolation, in which setuptools is found.
    source = tmp_path / "source"
    write_source_distribution(source, f"open({str(node.root / 'ran')!r}, 'w')\n")
    sources = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(source), "PIP_NO_BUILD_ISOLATION": "0"}
    code, log = run_script(node, from_index, sources)

    assert code == 1
    assert any(line.startswith(f"error: pip could not install dbx-patch=={__version__} ") for line in log), log
    assert not (node.root / "ran").exists()

    node.pip("install", "--quiet", foreign)
    code, log = run_script(node, from_wheel)

    assert code == 0, log
    assert not (node.root / "ran").exists()


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.oldest_and_newest
def test_missing_requirements_are_found_beside_the_wheel_and_every_user_can_read_all(node: Node) -> None:
    assert "platformdirs" not in node.pip("freeze", "--all")
    script = render_init_script(wheel=pin(find_wheel(node.wheelhouse)), root=str(node.root), strict=True)
    (node.root / "databricks/python").unlink()  # then `databricks/python3` is used
    before = set(node.root.rglob("*"))

    code, log = run_script(node, f"umask 077\n{script}")

    assert code == 0, log
    assert log[0].endswith(f"for {node.root}/databricks/python3/bin/python on a worker.")
    receipts = node.root / ".local"  # for root alone
    new = [path for path in node.root.rglob("*") if path not in before and not path.is_relative_to(receipts)]
    assert {"init_script.sh", "platformdirs"} <= {path.name for path in new}
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in new}
    assert modes == {path: 0o755 if path.is_dir() or path.parent.name == "bin" else 0o644 for path in new}


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.oldest_and_newest
def test_paths_of_every_kind(node: Node) -> None:
    """No part of a path is run, and none of the tools on PATH or in the current folder that are named like ours."""
    volume = node.root / "Volumes" / ODD
    shutil.copytree(node.wheelhouse, volume)
    python = node.root / ODD / "bin/python"
    node.run([node.python, "-m", "venv", "--system-site-packages", "--without-pip", python.parent.parent])
    tools = node.root / "tools"
    tools.mkdir()
    for tool in ("sh", "date", "head"):
        (tools / tool).symlink_to(require(tool))
    for impostor in ("pip", "python", "python3"):
        (tools / impostor).write_text("#!/bin/sh\ntouch ran\nexit 1\n")
        (tools / impostor).chmod(0o755)
    (node.root / "pip").mkdir()  # in the folder that the script is run in
    for module in ("__init__", "__main__"):
        (node.root / f"pip/{module}.py").write_text("open('ran', 'w')")
    shutil.copytree(node.layer(node.runtime) / "pip", node.layer(python.parents[1]) / "pip")
    # Not strict: a notebook's layers are lines of a `.pth` file, and no line has a folder with a newline in its name.
    script = print_script("--wheel", str(find_wheel(volume)), "--python", str(python))

    code, log = run_script(node, script, {"PATH": str(tools)})

    assert code == 0, log
    assert not list(node.root.rglob("ran"))
    status = json.loads(node.run([python, "-m", "dbx_patch", "status", "--json"]).stdout)
    assert (status["live"], status["python"]) == (True, str(python))


# Failures: the cluster starts all the same, unless the script is strict, and the log has the reason and the fix


def assert_fails(run: Run, script: str, error: str) -> list[str]:
    """Check that a strict script stops the cluster, and that the same script does not if it isn't strict."""
    assert "STRICT=yes\n" in script
    lenient = script.replace("STRICT=yes\n", "STRICT=''\n")
    log: list[str] = []
    for text, shell, ending in (
        (script, ["sh"], (1, STRICT)),
        (lenient, ["sh", "-eu"], (0, STARTS)),
        (lenient, BASH, (0, STARTS)),
    ):
        code, log = run(text, shell)
        assert (code, log[-1]) == ending
        assert log[-2].startswith("Fix: ")
        assert any(line.startswith(f"error: {error}") for line in log), log
    return log


class TestFailuresWithoutANode:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Run:
        def run(script: str, shell: Sequence[str]) -> tuple[int, list[str]]:
            environ = os.environ | {"DATABRICKS_ROOT_VIRTUALENV_ENV": f"{tmp_path}/named"}
            file = tmp_path / "dbx-patch.sh"
            file.write_text(script, "utf-8")
            done = subprocess.run(
                [*shell, file], env=environ, capture_output=True, encoding="utf-8", timeout=60, check=False
            )
            return done.returncode, read_log(done)

        return run

    def test_no_python(self, run: Run, tmp_path: Path) -> None:
        script = render_init_script(__version__, root=str(tmp_path), strict=True)

        log = assert_fails(run, script, "No Python was found at any of: ")

        assert f"{tmp_path}/named/bin/python {tmp_path}/databricks/python/bin/python" in log[0]

    def test_a_python_that_does_not_start(self, run: Run, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n")
        python.chmod(0o755)
        script = render_init_script(__version__, python=str(python), strict=True)

        assert "a library is missing" in assert_fails(run, script, f"{python} does not start.")

    @pytest.mark.parametrize("shell", ["sh -eu", "bash --posix -eu -o pipefail"])
    def test_no_log(self, shell: str, tmp_path: Path) -> None:
        """A log that can't be written to doesn't keep the cluster from starting."""
        script = tmp_path / "dbx-patch.sh"
        script.write_text(render_init_script(__version__, root=str(tmp_path)))

        done = subprocess.run(["sh", "-c", f"{shell} '{script}' >&- 2>&-"], timeout=60, check=False)

        assert done.returncode == 0


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.one_python
class TestFailuresOnANode:
    @pytest.fixture
    def run(self, installed: Node) -> Run:
        return lambda script, shell: run_script(installed, script, {}, shell)

    def test_no_wheel(self, run: Run, installed: Node, tmp_path: Path) -> None:
        python = make_environment(installed, tmp_path / "environment")
        wheel = tmp_path / "dbx_patch-0.2.0-py3-none-any.whl"
        script = render_init_script(wheel=Wheel(str(wheel), "0" * 64), python=str(python), strict=True)

        assert_fails(run, script, f"There is no readable wheel at {wheel}.")

    def test_another_wheel_of_the_same_name(self, run: Run, installed: Node, tmp_path: Path) -> None:
        """It is never given to pip. If it was exchanged after the script has compared it, pip refuses it."""
        python = make_environment(installed, tmp_path / "environment", "--system-site-packages")
        wheel = Path(shutil.copy(find_wheel(installed.wheelhouse), tmp_path))
        layer = installed.layer(tmp_path / "environment")
        shutil.copytree(installed.layer(installed.runtime) / "pip", layer / "pip")
        before = {*layer.iterdir()}
        expected = pin(wheel)
        with wheel.open("ab") as file:  # still a wheel: pip reads an archive from its end
            file.write(b"a comment")
        found = pin(wheel).sha256
        script = render_init_script(wheel=expected, python=str(python), strict=True)

        log = assert_fails(run, script, f"{wheel} is not the wheel that this script was printed for.")

        assert f"Its sha256 is {found}." in log
        assert f"This script only installs the one with the sha256 {expected.sha256}." in log
        assert script.count(f"SHA256={expected.sha256}\n") == 1
        late = script.replace(f"SHA256={expected.sha256}\n", f"SHA256={found}\n")
        log = assert_fails(run, late, f"pip could not install {wheel.as_uri()}#sha256={expected.sha256}")
        assert any("DO NOT MATCH THE HASHES" in line for line in log), log
        assert {*layer.iterdir()} == before

    def test_no_pip(self, run: Run, installed: Node, tmp_path: Path) -> None:
        python = make_environment(installed, tmp_path / "environment")
        script = render_init_script(wheel=pin(find_wheel(installed.wheelhouse)), python=str(python), strict=True)

        log = assert_fails(run, script, "pip could not install ")

        assert any(line.endswith("No module named pip") for line in log)

    def test_a_file_that_is_no_wheel(self, run: Run, installed: Node, tmp_path: Path) -> None:
        wheel = tmp_path / "dbx_patch-99-py3-none-any.whl"
        wheel.write_bytes(b"<html>not found</html>")
        script = render_init_script(wheel=pin(wheel), root=str(installed.root), strict=True)

        assert_fails(run, script, f"pip could not install {wheel.as_uri()}")

    def test_a_wheel_and_a_pip_that_hang(self, installed: Node, tmp_path: Path) -> None:
        require("timeout")
        wheel = tmp_path / "dbx_patch-99-py3-none-any.whl"
        os.mkfifo(wheel)  # to open it is to wait for a writer
        links = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
        by_path = render_init_script(wheel=Wheel(str(wheel), "0" * 64), root=str(installed.root), strict=True)
        by_version = render_init_script("99", root=str(installed.root), strict=True)
        for script, what in ((by_path, "Reading the wheel"), (by_version, "pip")):
            assert script.count("\nSECONDS_FOR_PIP=300\n") == 1
            short = script.replace("SECONDS_FOR_PIP=300", "SECONDS_FOR_PIP=2")

            assert_fails(
                lambda text, shell: run_script(installed, text, links, shell), short, f"{what} was stopped after 2 "
            )


@ONE_NODE
@pytest.mark.matrix
@pytest.mark.one_python
def test_an_installer_that_fails(node: Node) -> None:
    node.install_dbx_patch()
    (node.root / "usr/lib" / node.version / "venv/__main__.py").unlink()
    script = render_init_script(__version__, root=str(node.root), strict=True)

    log = assert_fails(lambda text, shell: run_script(node, text, {}, shell), script, "The installer failed.")

    assert any("No module named venv.__main__" in line for line in log), log  # the installer's own reason


@ONE_NODE
@pytest.mark.one_python
def test_where_notebooks_are_not_reached_the_log_says_so_and_a_strict_script_fails(node: Node) -> None:
    node.install_dbx_patch()
    library = node.root / "usr/lib" / node.version
    (library / "sitecustomize.py").write_text("theirs = 1\n")
    os.link(library / "sitecustomize.py", library / "other_name.py")
    layer = node.layer(node.runtime)

    code, log = run_script(node, render_init_script(__version__, root=str(node.root), strict=True))

    reason = f"{library}/sitecustomize.py has more than one hard link."
    assert (code, log[-1]) == (1, STRICT)
    assert [
        line for line in ("Notebooks can't be reached, and `--strict` asks for that.", reason) if line not in log
    ] == []
    assert [*layer.glob("*dbx_patch*.p*")] == []

    for shell in (("sh",), BASH):
        code, log = run_script(node, render_init_script(__version__, root=str(node.root)), shell=shell)

        assert code == 0
        assert "Notebooks are not reached: they start without the shim." in log
        assert f"  {reason}" in log
        assert log[-1] == f"dbx-patch {__version__} runs in {node.python} (slot 3), but notebooks are not reached."


@pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
@pytest.mark.one_python
def test_a_shim_that_the_cluster_turns_off_is_no_failure(installed: Node) -> None:
    script = render_init_script(__version__, root=str(installed.root), strict=True)

    code, log = run_script(installed, script, {"DBX_PATCH_DISABLE": "1"})

    assert code == 0, log
    assert "DBX_PATCH_DISABLE" in log[-1]


# Tools that read the script


@pytest.fixture(params=["as in the repository", "version", "strict", "odd paths"])
def text(request: pytest.FixtureRequest) -> str:
    if request.param == "as in the repository":
        return (REPOSITORY / "installer/init_script.sh").read_text("utf-8")
    if request.param == "odd paths":
        wheel = f"/Volumes/{ODD}/dbx_patch-0.2.0-py3-none-any.whl"
        return print_script("--wheel", wheel, "--sha256", "0" * 64, "--python", f"/{ODD}")
    return print_script("--version", __version__, *(["--strict"] if request.param == "strict" else []))


@pytest.mark.parametrize("command", ["shellcheck --norc --shell=sh -", "dash -n", "bash -n"])
def test_shellcheck_and_shells_find_nothing(text: str, command: str) -> None:
    tool, *options = command.split()

    done = subprocess.run(
        [require(tool), *options], input=text, capture_output=True, encoding="utf-8", timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
