"""The cluster init script, run as root on a node made of the layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.trace import require

if TYPE_CHECKING:
    import subprocess

    from tests.lab.node import Node

pytestmark = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])
DRIVER = {"DB_IS_DRIVER": "TRUE", "DB_CLUSTER_ID": "1123-094500-abc", "DB_CONTAINER_IP": "10.0.0.1"}
WORKER = DRIVER | {"DB_IS_DRIVER": "FALSE"}
ALIVE = "import sys; print('dbx_patch_sitecustomize' in sys.modules)"


def make_script(node: Node, installed: Node, *options: object) -> Path:
    """Have the command of an installed package print a script for a node."""
    command = [installed.python, "-m", "dbx_patch", "init-script", *options]
    script = node.root / "init.sh"
    script.write_text(installed.run(command).stdout)
    return script


def run(node: Node, script: Path, environ: dict[str, str], shell: str = "sh") -> subprocess.CompletedProcess[str]:
    """Run a script as a cluster does."""
    root = {"DATABRICKS_ROOT_VIRTUALENV_ENV": str(node.runtime)}
    return node.run([shell, script], environ | root, check=False)


@pytest.fixture
def wheel(wheelhouse: Path, node: Node) -> Path:
    """The wheel in a volume, whose name the shell must not take apart."""
    volume = node.root / 'Volumes/it\'s a $(volume) "of" `mine`'
    volume.mkdir(parents=True)
    (found,) = wheelhouse.glob("dbx_patch-*.whl")
    return Path(shutil.copy(found, volume))


@pytest.mark.parametrize("environ", [DRIVER, WORKER], ids=["driver", "worker"])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_installs_from_a_wheel_and_again_harmlessly(
    node: Node, installed: Node, wheel: Path, environ: dict[str, str], shell: str
) -> None:
    node.pip("install", "--quiet", "packaging", "platformdirs")
    before = set(node.pip("freeze", "--all").splitlines())
    script = make_script(node, installed, "--wheel", wheel)

    first, second = run(node, script, environ, shell), run(node, script, environ, shell)

    for done, expected in ((first, "Installed dbx-patch"), (second, "is already installed")):
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
        assert all(" dbx-patch: " in line for line in done.stdout.splitlines())
    assert {line.partition(" @ ")[0] for line in set(node.pip("freeze", "--all").splitlines()) - before} == {
        "dbx-patch"
    }
    assert before <= set(node.pip("freeze", "--all").splitlines())
    assert node.make_notebook().run(ALIVE).stdout == "True\n"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("fault", ["no wheel", "no pip", "no python", "no proof"])
def test_never_fails_the_launch_but_if_asked_to(
    node: Node,
    installed: Node,
    wheel: Path,
    fault: str,
    strict: bool,  # noqa: FBT001
) -> None:
    options = ["--wheel", wheel, *(["--strict"] if strict else [])]
    if fault == "no python":
        options += ["--python", node.root / "absent"]
    script = make_script(node, installed, *options)
    node.pip("install", "--quiet", "packaging", "platformdirs")
    if fault == "no wheel":
        wheel.unlink()
    elif fault == "no pip":
        shutil.rmtree(node.layer(node.runtime) / "pip")
    elif fault == "no proof":
        (node.root / "usr/lib" / node.version / "venv/__main__.py").unlink()

    done = run(node, script, DRIVER)

    assert done.returncode == int(strict)
    last = done.stdout.splitlines()[-1]
    assert last.endswith("--strict." if strict else "The cluster starts without dbx-patch.")
    assert node.run([node.python, "-c", ALIVE]).stdout == "False\n"


def test_version_is_checked_and_excludes_a_wheel(installed: Node) -> None:
    for wrong in (["--version", "1; rm -rf /"], ["--version", "1", "--wheel", "x"]):
        done = installed.dbx_patch("dbx_patch", "init-script", *wrong)
        assert (done.returncode, done.stdout) == (2, "")
    assert "version=1.2\n" in installed.dbx_patch("dbx_patch", "init-script", "--version", "1.2").stdout


def test_script_has_no_fault_that_shellcheck_knows(node: Node, installed: Node) -> None:
    for options in (["--version", "1.2"], ["--wheel", "/Volumes/it's/a.whl", "--strict"]):
        script = make_script(node, installed, *options)
        node.run([require("shellcheck"), "--shell=sh", "--severity=style", script])
