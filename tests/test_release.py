"""What is released: built, installed and tested from itself, by workflows that can be trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dbx_patch import __version__
from tests.lab.wheels import REPOSITORY, list_sources
from tests.release import find_obstacle, list_releases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))


def run(*command: object, cwd: Path, **environ: str) -> str:
    """Run a command; return what it printed. It must succeed."""
    words = [str(word) for word in command]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "COV_"))}
    done = subprocess.run(words, cwd=cwd, env=plain | environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and the wheel, built as a release is: the wheel from the sdist."""
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


def test_what_is_built_passes_the_check(dist: Path) -> None:
    names = sorted(file.name for file in dist.iterdir())

    assert names == [f"dbx_patch-{__version__}-py3-none-any.whl", f"dbx_patch-{__version__}.tar.gz"]
    said = run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)
    assert said.count("PASSED") == 2


def test_sdist_alone_installs_and_passes_tests(dist: Path, tmp_path: Path) -> None:
    """All tests are collected, and those that need no node are run."""
    with tarfile.open(dist / f"dbx_patch-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    run(sys.executable, "-m", "venv", ".venv", cwd=folder)
    python = folder / ".venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", ".[test]", cwd=folder)

    collected = run(python, "-m", "pytest", "--collect-only", "-q", cwd=folder).splitlines()
    passed = run(python, "-m", "pytest", "-q", "tests/test_repository.py", "tests/test_cli.py", cwd=folder)

    ours = run(sys.executable, "-m", "pytest", "--collect-only", "-q", cwd=REPOSITORY).splitlines()
    assert collected[-1].split(" in ")[0] == ours[-1].split(" in ")[0]
    assert " failed" not in passed


def list_steps(workflow: Path) -> Iterator[dict[str, Any]]:
    """List the steps of a workflow's jobs."""
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[workflow.stem for workflow in WORKFLOWS])
def test_workflow_takes_no_right_that_it_does_not_need_and_no_action_that_may_change(workflow: Path) -> None:
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
        assert "${{" not in step.get("run", "")  # a branch's name would be run


def test_each_action_has_one_version() -> None:
    used = {step["uses"] for workflow in WORKFLOWS for step in list_steps(workflow) if "uses" in step}

    assert len({action.partition("@")[0] for action in used}) == len(used)
    assert len(WORKFLOWS) == 3


@pytest.mark.parametrize(
    ("tag", "changelog", "obstacle"),
    [
        ("v1.0", "## [Unreleased]\n\n## [1.0] - 2027-01-31\n\n## [0.9] - 2026-01-31\n", None),
        ("v1.1", "## [1.0] - 2027-01-31\n", "the tag is v1.1, and the code's version 1.0"),
        ("1.0", "## [1.0] - 2027-01-31\n", "the tag is 1.0, and the code's version 1.0"),
        ("v1.0", "## [Unreleased]\n", "CHANGELOG.md has no section for 1.0 at its top"),
        ("v1.0", "## [0.9] - 2026-01-31\n", "CHANGELOG.md has no section for 1.0 at its top"),
    ],
)
def test_tag_is_released_with_its_version_and_its_changes(tag: str, changelog: str, obstacle: str | None) -> None:
    assert find_obstacle(tag, "1.0", changelog) == obstacle


@pytest.mark.parametrize(
    "changelog", ["## [1.0]\n", "## [0.9] - 2026-01-31\n## [1.0] - 2027-01-31\n", "## [x] - 2026-01-31"]
)
def test_changelog_that_is_not_in_order_is_refused(changelog: str) -> None:
    with pytest.raises(ValueError, match=r"the newest version comes first|Invalid version"):
        list_releases(changelog)


def test_changelog_is_in_order() -> None:
    list_releases((REPOSITORY / "CHANGELOG.md").read_text())
