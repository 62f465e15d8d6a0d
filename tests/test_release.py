"""A release is built, installed and tested from what it holds, by workflows with no more rights than they need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dbx_patch import __version__
from dbx_patch._cli import main
from tests.lab.next_pythons import MINORS as NEXT_MINORS
from tests.lab.wheels import REPOSITORY, list_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))
TEMPLATES = [file for file in sorted(REPOSITORY.glob(".github/ISSUE_TEMPLATE/*.yml")) if file.stem != "config"]


def run(*command: object, cwd: Path, **environ: str) -> str:
    """Run a command, which must succeed; return what it printed."""
    words = [str(word) for word in command]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}
    done = subprocess.run(words, cwd=cwd, env=plain | environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and of the wheel, which is built from the sdist, as for a release."""
    folder = tmp_path_factory.mktemp("release")
    clone = folder / "clone"
    for name in list_sources():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, clone / name)
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main")
    run(*git, "init", "--quiet", cwd=clone)
    run(*git, "add", "--all", cwd=clone)
    run(*git, "commit", "--quiet", "--message=all", cwd=clone)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=clone)
    return folder / "dist"


@pytest.mark.matrix
def test_sdist_and_wheel_pass_the_check_of_twine(dist: Path) -> None:
    names = sorted(file.name for file in dist.iterdir())

    assert names == [f"dbx_patch-{__version__}-py3-none-any.whl", f"dbx_patch-{__version__}.tar.gz"]
    printed = run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)
    assert printed.count("PASSED") == 2


@pytest.mark.matrix
def test_sdist_installs_and_passes_tests_by_itself(dist: Path, tmp_path: Path) -> None:
    """It has every test of the repository; those that need no node are run."""
    with tarfile.open(dist / f"dbx_patch-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    run(sys.executable, "-m", "venv", ".venv", cwd=folder)
    python = folder / ".venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", ".[test]", cwd=folder)

    collected = run(python, "-m", "pytest", "--collect-only", "-q", "--matrix", cwd=folder).splitlines()
    # Its own root for temporary folders: pytest would make the one of this run private, which other users' tests need.
    tests = ["-q", "tests/unit", "tests/test_repository.py"]
    passed = run(python, "-m", "pytest", *tests, cwd=folder, PYTEST_DEBUG_TEMPROOT=str(tmp_path))

    ours = run(sys.executable, "-m", "pytest", "--collect-only", "-q", "--matrix", cwd=REPOSITORY).splitlines()
    assert collected[-1].split(" in ")[0] == ours[-1].split(" in ")[0]
    assert re.match(r"\d+ passed", passed.splitlines()[-1])


# Workflows


def list_steps(workflow: Path) -> Iterator[dict[str, Any]]:
    """List the steps of all jobs of a workflow."""
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[workflow.stem for workflow in WORKFLOWS])
def test_workflow_has_the_rights_it_needs_and_actions_that_cannot_change(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text())

    assert content["permissions"] == {}
    for job in content["jobs"].values():
        assert job["timeout-minutes"]
        rights = {name for name, right in job["permissions"].items() if right == "write"}
        assert rights <= {"id-token", "pages"}
        assert not rights or job["environment"]
    for step in list_steps(workflow):
        if "uses" in step:
            _, _, commit = step["uses"].partition("@")
            assert len(commit) == 40
            assert set(commit) <= set("0123456789abcdef")
            assert f"{step['uses']} # v" in workflow.read_text()
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")  # the name of a branch would be run as code


def test_each_action_has_one_version() -> None:
    used = {step["uses"] for workflow in WORKFLOWS for step in list_steps(workflow) if "uses" in step}

    assert len({action.partition("@")[0] for action in used}) == len(used)
    assert len(WORKFLOWS) == 3


def test_matrix_of_the_workflow_is_the_pythons_that_the_package_names() -> None:
    classifiers = metadata("dbx-patch").get_all("Classifier") or []
    named = [line.rpartition(" ")[2] for line in classifiers if line.startswith("Programming Language :: Python :: 3.")]
    jobs = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())["jobs"]

    # The gate runs the core of the tests on the next Pythons.
    assert [*jobs["python"]["strategy"]["matrix"]["python"], *(f"3.{minor}" for minor in NEXT_MINORS)] == named


def test_workflow_lints_as_the_gate_does() -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())["jobs"]
    gate = (REPOSITORY / ".ci/run").read_text().splitlines()

    assert [line for line in gate if line.endswith(" .ci/lint")]
    assert ".ci/lint" in [step.get("run") for step in jobs["lint"]["steps"]]
    programs = ("ruff", "mypy", "shellcheck", "zizmor")
    elsewhere = [*gate, *(step.get("run", "") for job in jobs.values() for step in job["steps"])]
    assert [line for line in elsewhere if re.search(rf"(^|/)({'|'.join(programs)}) ", line)] == []


def test_workflow_runs_the_test_command_of_the_readme_with_the_matrix() -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())["jobs"]
    readme = (REPOSITORY / "README.md").read_text().splitlines()
    commands = [line for line in readme if line.startswith("python3 -m venv") and " -m pytest" in line]

    assert len(commands) == 1
    assert [step["run"] for step in jobs["python"]["steps"] if "pytest" in step.get("run", "")] == [
        f'sudo env "PATH=$PATH" CI=true sh -ec "{commands[0]} --matrix"'
    ]


# Templates for issues


@pytest.mark.parametrize("template", TEMPLATES, ids=[template.stem for template in TEMPLATES])
def test_issue_template_is_a_form_of_github(template: Path) -> None:
    form = yaml.safe_load(template.read_text())

    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "title", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field["type"] != "dropdown" and field["validations"]["required"] for field in fields)


def test_bug_report_asks_for_what_the_tools_print() -> None:
    text = (REPOSITORY / ".github/ISSUE_TEMPLATE/bug.yml").read_text()

    for command in ("dbx-patch doctor --json MODULE", "dbx-patch fingerprint"):
        assert f"`{command}`" in text
        assert main([*command.split()[1:], "--help"]) == 0
