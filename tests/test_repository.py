"""The repository has the layout of its design, and its README's commands work."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest

from dbx_patch._doctor._report import Cause
from tests.lab.wheels import REPOSITORY, list_sources
from tests.layering import ROOMS, list_imports

SHIM_FILES = sorted(REPOSITORY.glob("sitecustomize_template/*sitecustomize*.py"))
IN_AN_SDIST = {"dbx_patch.egg-info", "setup.cfg"}
"""What setuptools adds to an sdist."""
FOR_AN_ERROR = {"traceback"}
"""Loaded where there is an error to describe."""
LOADED_BY_SITE = {"sys", "os", "posix", "time", "_imp", "_thread", "_frozen_importlib", "_frozen_importlib_external"}


def test_top_level_is_the_one_of_the_design() -> None:
    top = {name.partition("/")[0] for name in list_sources()} - IN_AN_SDIST

    rooms = {"src", "installer", "sitecustomize_template", "tests", "docs"}
    assert {name for name in top if not name.startswith(".")} == rooms | {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
    }


def test_wheel_holds_what_runs_and_nothing_else(wheelhouse: Path) -> None:
    (wheel,) = wheelhouse.glob("dbx_patch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]

    expected = {"dbx_patch/py.typed"}
    for room in ROOMS:
        folder = REPOSITORY / room.folder
        files = [file for kind in ("*.py", "*.sh") for file in folder.rglob(kind)]
        expected |= {f"{room.package.replace('.', '/')}/{file.relative_to(folder)}" for file in files}
    assert set(names) == expected
    # A fifth of it is what a person sees, the doctor's report and the tables, and a tenth the self-test.
    assert wheel.stat().st_size < 200_000


@pytest.mark.parametrize("file", SHIM_FILES, ids=[file.stem for file in SHIM_FILES])
def test_shim_parses_on_python_3_9_and_imports_only_what_site_has_loaded(file: Path) -> None:
    ast.parse(file.read_text("utf-8"), feature_version=(3, 9))

    imports = list_imports(file.read_text("utf-8"))
    at_run_time = {module.partition(".")[0] for module, for_types in imports if not for_types}

    assert "sys" in at_run_time
    assert at_run_time <= LOADED_BY_SITE | FOR_AN_ERROR


def test_gate_runs_the_test_command_of_the_readme() -> None:
    commands = [
        line for line in (REPOSITORY / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")
    ]
    gate = (REPOSITORY / ".ci/run").read_text().splitlines()

    tests = [command for command in commands if shlex.split(command)[-3:-1] == ["pytest", "-n"]]
    assert len(commands) == 2
    assert [line for line in gate if line in tests] == tests != []


@pytest.mark.matrix
def test_demonstration_of_the_readme_shows_the_main_job() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab"], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("ModuleNotFoundError: No module named 'testx'") == 2
    assert done.stdout.count("function1 of /Workspace/") == 1


def test_every_cause_of_the_doctor_is_in_its_schema_in_the_docs_and_in_a_test() -> None:
    causes = list_strings(Cause)
    schema = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text())
    page = (REPOSITORY / "docs/troubleshooting.md").read_text()
    tests = "".join(
        (REPOSITORY / "tests" / file).read_text() for file in ("test_doctor.py", "workspace/test_commands.py")
    )

    assert schema["$defs"]["diagnosis"]["properties"]["cause"]["enum"] == causes
    assert [cause for cause in causes if f"`{cause}`" not in page] == []
    assert [cause for cause in causes if f'"{cause}"' not in tests] == []


def list_strings(kind: Any) -> list[str]:
    """List the strings of nested literals."""
    return [text for part in get_args(kind) for text in ([part] if isinstance(part, str) else list_strings(part))]
