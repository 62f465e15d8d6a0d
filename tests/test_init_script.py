"""The cluster init script: run for real, by several shells, on a node for a driver and for a worker."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dbx_patch.installer._init_script import DEPENDENCIES, SECONDS_FOR_PIP, render_init_script
from packaging.requirements import Requirement

from dbx_patch import __version__
from tests.lab.trace import require
from tests.lab.wheels import LOWEST, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.lab.node import Node

LINE = re.compile(r"dbx-patch: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)")
ODD = 'it\'s a "folder" $(touch ran) `touch ran` ; #%20 [x]\\ gr\u00fc\u00dfe\nin two lines'
WITHOUT = "the cluster starts without it"
FAILS = "the cluster does not start without it (--strict)"
ONE_NODE = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
DRIVER = {"DB_IS_DRIVER": "TRUE", "DB_CLUSTER_ID": "1234-567890-abcdefgh", "DB_CONTAINER_IP": "10.0.0.1"}
WORKER = DRIVER | {"DB_IS_DRIVER": "FALSE"}


def print_script(*options: str, environ: Mapping[str, str] | None = None) -> str:
    """Have the command line print an init script."""
    command = [sys.executable, "-m", "dbx_patch", "init-script", *options]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, check=True, env=os.environ | dict(environ or {})
    )
    assert done.stderr == ""
    return done.stdout


def run_script(
    node: Node, script: str, environ: Mapping[str, str], shell: Sequence[object] = ("sh",)
) -> tuple[int, list[str]]:
    """Run an init script on a node; return its exit code, and its log without prefix and time, which each line has."""
    file = node.root / "dbx-patch.sh"
    file.write_text(script, "utf-8")
    done = node.run([*shell, file], environ, check=False)
    file.unlink()
    lines = [LINE.fullmatch(line) for line in [*done.stdout.splitlines(), *done.stderr.splitlines()]]
    assert all(lines), done.stdout + done.stderr
    return done.returncode, [line[1] for line in lines if line]


def find_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("dbx_patch-*.whl")
    return wheel


def make_environment(node: Node, folder: Path, *options: str) -> Path:
    """Make an environment beside a node that others share, as a place for failures; return its Python."""
    node.run([node.base, "-m", "venv", "--without-pip", *options, folder])
    return folder / "bin/python"


@pytest.mark.parametrize(
    ("environ", "role", "shell"),
    [
        pytest.param(DRIVER, "driver", ["sh"], id="driver"),
        pytest.param(WORKER, "worker", ["bash", "--posix", "-eu", "-o", "pipefail"], id="worker"),
    ],
)
def test_makes_editable_installs_work_on_each_node_offline(
    node: Node, environ: dict[str, str], role: str, shell: list[str]
) -> None:
    node.install_editable(node.copy_project("testx"))
    node.pip("install", "--quiet", *LOWEST)  # about what DBR 13.3 LTS has
    before = node.pip("freeze").splitlines()
    notebook = node.make_notebook()
    assert "ModuleNotFoundError" in notebook.run("import testx").stderr
    # The settings of a cluster whose index is out of reach, and which would have pip refuse or move a lone wheel.
    environ = environ | {
        "PIP_INDEX_URL": "https://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "https://127.0.0.1:9/links",
        "PIP_REQUIRE_HASHES": "1",
        "PIP_TARGET": str(node.root / "elsewhere"),
        "DATABRICKS_ROOT_VIRTUALENV_ENV": str(node.runtime),
    }
    script = print_script("--wheel", str(find_wheel(node.wheelhouse)), "--strict")

    code, log = run_script(node, script, environ, shell)

    assert code == 0, log
    assert log[0] == f"dbx-patch {__version__} for {node.python}, on a {role}"
    assert log[-1].startswith(f"dbx-patch {__version__} is live in {node.python} ")
    assert notebook.run("import testx; print(testx.function1())").stdout.startswith("function1 of ")
    after = node.pip("freeze").splitlines()
    assert [line for line in after if not line.startswith("dbx-patch")] == before
    assert len(after) == len(before) + 1

    installed = node.snapshot()
    code, log = run_script(node, script, environ, shell)

    assert code == 0, log
    assert "the package is there already" in log
    assert any("already installed" in line and "nothing was changed" in line for line in log)
    assert node.snapshot() == installed


@ONE_NODE
def test_a_version_comes_from_the_index_that_the_cluster_names(node: Node, tmp_path: Path) -> None:
    """And the runtime's other packages stay what they are, though the cluster's settings of pip ask for the newest."""
    node.pip("install", "--quiet", *LOWEST)
    page = tmp_path / "simple/dbx-patch/index.html"
    page.parent.mkdir(parents=True)
    wheel = find_wheel(node.wheelhouse)
    page.write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    before = node.pip("freeze").splitlines()
    newest = {"PIP_UPGRADE": "1", "PIP_UPGRADE_STRATEGY": "eager", "PIP_FIND_LINKS": str(node.wheelhouse)}
    script = render_init_script(__version__, root=str(node.root), strict=True)

    code, log = run_script(node, script, newest | {"PIP_INDEX_URL": (tmp_path / "simple").as_uri()})

    assert code == 0, log
    assert node.pip("freeze").splitlines() == sorted([*before, f"dbx-patch=={__version__}"], key=str.lower)


@ONE_NODE
def test_another_project_of_the_same_name_and_version_is_never_run(node: Node, tmp_path: Path) -> None:
    """Python's own package index has one: it is removed if pip brings it, and replaced if it was there before."""
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
    from_wheel = render_init_script("", wheel=str(find_wheel(node.wheelhouse)), root=str(node.root), strict=True)

    code, log = run_script(node, from_index, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)})

    assert code == 1
    assert any(line.startswith(f"error: dbx-patch=={__version__} is another project's") for line in log), log
    assert node.pip("freeze") == before

    node.pip("install", "--quiet", foreign)
    code, log = run_script(node, from_wheel, {})

    assert code == 0, log
    assert not (node.root / "ran").exists()


@ONE_NODE
def test_what_the_package_needs_and_the_runtime_lacks_is_found_beside_the_wheel(node: Node) -> None:
    assert "platformdirs" not in node.pip("freeze", "--all")
    script = render_init_script("", wheel=str(find_wheel(node.wheelhouse)), root=str(node.root), strict=True)
    (node.root / "databricks/python").unlink()  # `databricks/python3` is asked next

    code, log = run_script(node, script, {})

    assert code == 0, log
    assert log[0].endswith(f"for {node.root}/databricks/python3/bin/python, on a worker")


@ONE_NODE
def test_paths_of_every_kind(node: Node) -> None:
    """The wheel's and the interpreter's; nothing in them is run or taken apart, and no tool of that name on PATH is."""
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
    script = print_script("--wheel", str(find_wheel(volume)), "--python", str(python), "--strict")

    code, log = run_script(node, script, {"PATH": str(tools)})

    assert code == 0, log
    assert not list(node.root.rglob("ran"))
    status = node.run([python, "-m", "dbx_patch", "status"])
    assert str(python.parents[1]) in status.stdout


@ONE_NODE
def test_every_user_may_read_what_only_root_may_write(node: Node) -> None:
    script = render_init_script("", wheel=str(find_wheel(node.wheelhouse)), root=str(node.root), strict=True)
    before = set(node.root.rglob("*"))

    code, log = run_script(node, f"umask 077\n{script}", {})

    assert code == 0, log
    receipts = node.root / ".local"  # root's own, who alone may read them
    new = [path for path in node.root.rglob("*") if path not in before and not path.is_relative_to(receipts)]
    assert any(path.name == "_init_script.py" for path in new)
    for path in new:
        wanted = 0o755 if path.is_dir() or path.parent.name == "bin" else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@ONE_NODE
@pytest.mark.pythons("3.12")
class TestFailures:
    """The cluster starts all the same, unless it was told not to; the log says what failed."""

    def assert_fails(self, node: Node, reason: str, script: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """See a script that is strict fail, and the same one let the cluster start when it is not."""
        assert "STRICT=yes\n" in script
        lenient = script.replace("STRICT=yes\n", "STRICT=''\n")
        code, log = run_script(node, script, environ or {})
        assert (code, log[-1]) == (1, f"dbx-patch is not installed; {FAILS}")
        assert any(line.startswith("error: ") and reason in line for line in log), log
        for shell in (["sh", "-eu"], ["bash", "--posix", "-eu"]):
            code, log = run_script(node, lenient, environ or {}, shell)
            assert (code, log[-1]) == (0, f"dbx-patch is not installed; {WITHOUT}")
            assert any(line.startswith("error: ") and reason in line for line in log), log
        return log

    def test_no_python(self, installed: Node, tmp_path: Path) -> None:
        script = render_init_script(__version__, root=str(tmp_path), strict=True)
        named = {"DATABRICKS_ROOT_VIRTUALENV_ENV": str(tmp_path / "named")}

        log = self.assert_fails(installed, "no Python is at any of: ", script, named)

        assert f"{tmp_path}/named/bin/python {tmp_path}/databricks/python/bin/python" in "\n".join(log)

    def test_no_log(self, installed: Node, tmp_path: Path) -> None:
        """That nothing can be written to it is no reason not to start either."""
        script = tmp_path / "dbx-patch.sh"
        script.write_text(render_init_script(__version__, root=str(tmp_path)))

        for shell in ("sh -eu", "bash --posix -eu -o pipefail"):
            assert installed.run(["sh", "-c", f"{shell} '{script}' >&- 2>&-"], check=False).returncode == 0

    def test_a_python_that_does_not_start(self, installed: Node, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n")
        python.chmod(0o755)
        script = render_init_script(__version__, python=str(python), strict=True)

        log = self.assert_fails(installed, f"{python} does not start", script)

        assert "a library is missing" in log

    def test_no_wheel(self, installed: Node, tmp_path: Path) -> None:
        python = make_environment(installed, tmp_path / "environment")
        wheel = tmp_path / "dbx_patch-0.1.0-py3-none-any.whl"
        script = render_init_script("", wheel=str(wheel), python=str(python), strict=True)

        self.assert_fails(installed, f"there is no wheel that can be read at {wheel}", script)

    def test_no_pip(self, installed: Node, tmp_path: Path) -> None:
        python = make_environment(installed, tmp_path / "environment")
        script = render_init_script("", wheel=str(find_wheel(installed.wheelhouse)), python=str(python), strict=True)

        log = self.assert_fails(installed, "pip could not install", script)

        assert any(line.endswith("No module named pip") for line in log)

    def test_a_wheel_that_is_none(self, installed: Node, tmp_path: Path) -> None:
        wheel = tmp_path / "dbx_patch-99-py3-none-any.whl"
        wheel.write_bytes(b"<html>not found</html>")
        script = render_init_script("", wheel=str(wheel), root=str(installed.root), strict=True)

        self.assert_fails(installed, f"pip could not install {wheel.as_uri()}", script)

    def test_a_pip_that_hangs(self, installed: Node, tmp_path: Path) -> None:
        require("timeout")
        wheel = tmp_path / "dbx_patch-99-py3-none-any.whl"
        os.mkfifo(wheel)  # to open it is to wait for somebody who writes
        script = render_init_script("", wheel=str(wheel), root=str(installed.root), strict=True)
        limit = f"SECONDS_FOR_PIP={SECONDS_FOR_PIP}\n"
        assert limit in script

        self.assert_fails(installed, "pip was stopped after 2 seconds", script.replace(limit, "SECONDS_FOR_PIP=2\n"))

    def test_an_installer_that_fails(self, node: Node) -> None:
        node.install_dbx_patch()
        (node.root / "usr/lib" / node.version / "venv/__main__.py").unlink()
        script = render_init_script(__version__, root=str(node.root), strict=True)

        log = self.assert_fails(node, "the installer failed", script)

        assert any("can't make a notebook environment" in line for line in log)


@ONE_NODE
def test_turned_off_by_the_cluster_is_no_failure(installed: Node) -> None:
    script = render_init_script(__version__, root=str(installed.root), strict=True)

    code, log = run_script(installed, script, {"DBX_PATCH_DISABLE": "1"})

    assert code == 0, log
    assert "turned off by DBX_PATCH_DISABLE" in log[-1]


OPTIONS = [(), ("--strict",), ("--wheel", f"/Volumes/{ODD}/dbx_patch-0.1.0-py3-none-any.whl", "--python", f"/{ODD}")]


@pytest.mark.parametrize("options", OPTIONS, ids=["", "strict", "odd paths"])
class TestPrinted:
    def test_shellcheck_finds_nothing(self, options: tuple[str, ...]) -> None:
        command = [require("shellcheck"), "--norc", "--shell=sh", "-"]

        done = subprocess.run(
            command, input=print_script(*options), capture_output=True, encoding="utf-8", timeout=60, check=False
        )

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("shell", ["dash", "bash"])
    def test_shells_read_it(self, options: tuple[str, ...], shell: str) -> None:
        done = subprocess.run(
            [require(shell), "-n"],
            input=print_script(*options),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")

    def test_holds_nothing_of_the_environment_it_was_printed_in(self, options: tuple[str, ...]) -> None:
        secrets = dict.fromkeys(("PIP_INDEX_URL", "DATABRICKS_TOKEN", "SPARK_USER"), "top-secret")

        assert print_script(*options, environ=secrets) == print_script(*options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--version", "1.0; reboot"], "Invalid version: '1.0; reboot'"),
        (["--wheel", "dbx_patch-0.1.0-py3-none-any.whl"], "not an absolute path: dbx_patch-0.1.0-py3-none-any.whl"),
        (["--wheel", "/Volumes/other-0.1.0-py3-none-any.whl"], "not a wheel of dbx-patch: "),
        (["--wheel", "/Volumes/dbx_patch.zip"], "Invalid wheel filename"),
        (["--python", "python3"], "not an absolute path: python3"),
        (["--version", "0.1.0", "--wheel", "/dbx_patch-0.1.0-py3-none-any.whl"], "not allowed with argument --version"),
    ],
)
def test_what_no_node_could_use_is_wrong_usage(options: list[str], message: str) -> None:
    command = [sys.executable, "-m", "dbx_patch", "init-script", *options]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_asks_for_what_the_package_asks_for() -> None:
    wanted = [Requirement(line) for line in requires("dbx-patch") or ()]
    needed = {requirement.name: requirement for requirement in wanted if requirement.marker is None}

    assert {name: Requirement(line) for name, line in DEPENDENCIES.items()} == needed


def test_commands_of_the_readme_print_one() -> None:
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("dbx-patch init-script ")]
    folder = Path(sys.executable).parent

    assert commands
    for command in commands:
        before_redirection = command.partition(" > ")[0]
        done = subprocess.run(
            ["sh", "-c", before_redirection],
            env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.startswith("#!/bin/sh\n")
