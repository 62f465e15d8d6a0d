"""Sessions, script tasks, wheel tasks and jobs in environments that only pip can change.

The mount can be read when pip installs. It can't when the interpreter starts, and can again before the first import.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dbx_patch._html import PASSED
from tests.lab.kernel import read_cells
from tests.lab.node import OFF
from tests.lab.projects import HATCHLING, SETUPTOOLS, Backends, Project
from tests.lab.selftests import (
    OF_PYTHON,
    OF_THE_SHIM,
    OF_THE_SHIM_IN_A_NOTEBOOK,
    OF_THE_SHIM_ON_A_MOUNT,
    OWN,
    select,
    select_layers,
)
from tests.lab.wheels import REPOSITORY
from tests.lab.workspace import Workspace
from tests.lab.workspace.console import Console, ConsoleError
from tests.lab.workspace.demonstration import IMPORT_SOON
from tests.lab.workspace.kernel import WorkspaceKernel, provide_kernels
from tests.lab.workspace.serverless import (
    OFFLINE,
    USER,
    VOLUME,
    Environment,
    make_base_environment,
    make_environment,
    provide_serverless,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.interpreters import Interpreter

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.pythons("3.12"),
    pytest.mark.releases("17.3"),
    pytest.mark.real("workspace mounts"),
]

EXAMPLE = REPOSITORY / "docs/examples/serverless-project"
SELFTESTS = REPOSITORY / "docs/examples/selftest-bundle"
WIDGETS = """\
from types import SimpleNamespace
dbutils = SimpleNamespace(widgets=SimpleNamespace(get={}.get))
"""
"""Stands in for `dbutils`, which gives a notebook the parameters of its task."""
MAIN = "def main():\n    from {package} import module\n    print(module.__file__)\n"
ENTRY_POINT = '[project.scripts]\nrun = "{package}.task:main"\n'
BY_PATH = Project(
    "by-path",
    HATCHLING,
    ENTRY_POINT.format(package="by_path"),
    files={"src/{package}/task.py".format(package="by_path"): MAIN},
)
"""As Databricks' template has it: hatchling, and a `src` folder."""
BY_FINDER = Project("by_finder", SETUPTOOLS, source="")
"""What the finder of setuptools serves: the package is in the project's folder."""
SHIPPED = Project(
    "shipped",
    HATCHLING,
    ENTRY_POINT.format(package="shipped"),
    files={"src/shipped/task.py": "def main():\n    from by_path import module\n    print(module.__file__)\n"},
)
"""A project that is installed as a wheel, and imports another one that is editable."""
NOT_FOUND = "ModuleNotFoundError: No module named '{}'"
SCRIPT = """\
assert "__file__" not in globals()
from by_path import module
print(module.__file__)
"""
LIVE = "import sys; print('dbx_patch_sitecustomize' in sys.modules)"
A_SECOND_LATER = "import time; time.sleep(1)"
"""A start looks in the roots for modules that are nowhere. One that could not be read then is absent for a second."""


@dataclass(frozen=True)
class Lab:
    """The node, and the lines that an environment's dependencies are made of."""

    workspace: Workspace
    wheel: str
    """The start-up wheel."""
    editable: tuple[str, ...]
    """The projects."""

    def place_of(self, project: Project) -> str:
        """Return the file of a project's module."""
        return f"{project.package_folder(self.workspace.node)}/module.py"


@pytest.fixture(scope="module")
def bare(
    mountable: None, interpreter: Interpreter, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A node on which root has not installed dbx-patch."""
    del mountable
    folder = tmp_path_factory.mktemp("serverless").resolve()
    with Workspace(folder, interpreter, wheelhouse) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def lab(bare: Workspace, backends: Backends, real_hook: Path) -> Lab:
    """The node with an index, the start-up wheel, projects, and the published hook for kernels."""
    provide_kernels(bare, real_hook)
    wheel = provide_serverless(bare, backends)
    node = bare.node
    for project in (BY_PATH, BY_FINDER, SHIPPED):
        project.write(node.past_the_mount)
    script = node.project("tasks") / "script.py"
    bare.outside(script).parent.mkdir()
    node.write(script, SCRIPT)
    return Lab(bare, wheel, tuple(f"--editable {project.folder(node)}" for project in (BY_PATH, BY_FINDER)))


@pytest.fixture(scope="module")
def before(lab: Lab) -> Environment:
    """An environment whose dependencies are those of Databricks' template."""
    environment = make_environment(lab.workspace)
    environment.install(*lab.editable)
    return environment


@pytest.fixture(scope="module")
def after(lab: Lab) -> Environment:
    """An environment with the start-up wheel as first dependency."""
    environment = make_environment(lab.workspace)
    environment.install(lab.wheel, *lab.editable, str(SHIPPED.folder(lab.workspace.node)))
    return environment


@contextmanager
def late_mount(environment: Environment) -> Iterator[WorkspaceKernel]:
    """Start a session while the mount can't be read; it has been readable for a second afterwards."""
    workspace = environment.workspace
    workspace.mount.break_with("EACCES")
    with WorkspaceKernel(workspace, notebook=environment, user=USER) as kernel:
        workspace.mount.heal()
        assert kernel.run(A_SECOND_LATER).error == ""
        yield kernel


def load(project: Project) -> str:
    """Write the cell that imports a project and prints where it is."""
    return f"from {project.package} import module; print(module.__file__)"


def run_script(path: Path | str) -> str:
    """Write what a script task runs in its long-lived shell."""
    return f"path = {str(path)!r}\nexec(compile(open(path).read(), path, 'exec'), {{'__name__': '__main__'}})"


def run_entry_point(distribution: str, name: str = "run") -> str:
    """Write what a wheel task runs in its long-lived shell."""
    load = f"importlib.metadata.distribution({distribution!r}).entry_points.select(name={name!r})"
    return f"import importlib.metadata\n[point] = {load}\npoint.load()()"


# What it is


def test_user_can_write_the_environment_only(lab: Lab, after: Environment) -> None:
    node = lab.workspace.node
    folders = [
        node.layer(node.runtime),
        node.layer(node.cluster_libraries),
        Path("/usr/lib", node.version),
        Path("/etc", node.version),
        VOLUME,
        Path("/root"),
        Path("/local_disk0"),
    ]
    code = f"import json, os; print(json.dumps([os.access(path, os.W_OK) for path in {[*map(str, folders)]}]))"

    assert json.loads(after.run(code, user=USER, check=True).stdout) == [False] * len(folders)
    assert after.run("open(__import__('sysconfig').get_path('purelib') + '/file', 'w')", user=USER).returncode == 0


def test_install_brings_the_wheel_and_nothing_that_the_runtime_has(lab: Lab, after: Environment) -> None:
    layer = lab.workspace.outside(lab.workspace.node.layer(after.environment))

    assert sorted(path.name.partition("-")[0] for path in layer.glob("*.dist-info")) == [
        "by_finder",
        "by_path",
        "dbx_patch",
        "shipped",
    ]


# Before


@pytest.mark.parametrize("is_late", [False, True], ids=["in-time", "late"])
def test_late_mount_is_what_hides_the_project(lab: Lab, before: Environment, after: Environment, is_late: bool) -> None:  # noqa: FBT001
    """In a process that has nothing of a kernel's."""
    code = "from by_path import module; answer = module.__file__"
    for environment in (before, after):
        if is_late:
            lab.workspace.mount.break_with("EACCES")
        with Console(lab.workspace, notebook=environment, user=USER) as console:
            console.run("pass")  # it has started
            lab.workspace.mount.heal()
            console.run(A_SECOND_LATER)
            if is_late and environment is before:
                with pytest.raises(ConsoleError, match=NOT_FOUND.format("by_path")):
                    console.run(code)
            else:
                assert console.run(code) == lab.place_of(BY_PATH)


def test_project_fails_without_the_wheel(lab: Lab, before: Environment) -> None:
    """As users report. Python itself finds the one that has a finder: `site` does not look for folders there."""
    script = lab.workspace.node.project("tasks") / "script.py"
    with late_mount(before) as kernel:
        for task in (load(BY_PATH), run_script(script), run_entry_point("by-path")):
            assert kernel.run(task).error == NOT_FOUND.format("by_path")
        assert kernel.run(load(BY_FINDER)).text == f"{lab.place_of(BY_FINDER)}\n"
        assert kernel.run(LIVE).text == "False\n"


# After


def test_notebook_imports_the_projects_once_the_mount_is_there(lab: Lab, after: Environment) -> None:
    with late_mount(after) as kernel:
        for project in (BY_PATH, BY_FINDER):
            assert kernel.run(load(project)).text == f"{lab.place_of(project)}\n"


def test_notebook_imports_a_project_that_it_has_missed(lab: Lab, after: Environment) -> None:
    """A cell that failed because the mount was away works when it is run again, at most a second later."""
    with late_mount(after) as kernel:
        with lab.workspace.mount.broken("EACCES"):
            assert kernel.run(load(BY_PATH)).error == NOT_FOUND.format("by_path")
        assert kernel.run(IMPORT_SOON.format(name="by_path.module")).error == ""


def test_script_task_imports_the_project(lab: Lab, after: Environment) -> None:
    with late_mount(after) as kernel:
        output = kernel.run(run_script(lab.workspace.node.project("tasks") / "script.py"))
        assert output.text == f"{lab.place_of(BY_PATH)}\n"


@pytest.mark.parametrize("distribution", ["shipped", "by-path"])
def test_wheel_task_imports_the_project(lab: Lab, after: Environment, distribution: str) -> None:
    """Its entry point is in an installed wheel, or in the editable project itself."""
    with late_mount(after) as kernel:
        assert kernel.run(run_entry_point(distribution)).text == f"{lab.place_of(BY_PATH)}\n"


def test_every_task_of_a_job_imports_the_project(lab: Lab) -> None:
    """Each run has an environment of its own, in which one task's process follows the other."""
    script = lab.workspace.node.project("tasks") / "script.py"
    for _ in range(2):
        environment = make_environment(lab.workspace)
        environment.install(lab.wheel, lab.editable[0])
        for task in (load(BY_PATH), run_script(script), run_entry_point("by-path")):
            with late_mount(environment) as kernel:
                assert kernel.run(task).text == f"{lab.place_of(BY_PATH)}\n"


# Base environments


@pytest.fixture(scope="module")
def bases(lab: Lab) -> dict[str, Path]:
    """The layers of two base environments with the projects, by where the start-up wheel is."""
    return {
        "in-session": make_base_environment(lab.workspace, "without", *lab.editable),
        "in-base": make_base_environment(lab.workspace, "with", lab.wheel, *lab.editable),
    }


@pytest.mark.parametrize("added", ["at-start", "later"])
@pytest.mark.parametrize("place", ["in-session", "in-base"])
def test_projects_of_the_base_environment_are_imported(
    lab: Lab, bases: dict[str, Path], place: str, added: str
) -> None:
    """`site.addsitedir` reads its `.pth` files while the mount is away, before the shim has started or after."""
    environment = make_environment(lab.workspace, *([bases[place]] if added == "at-start" else []))
    if place == "in-session":
        environment.install(lab.wheel)

    lab.workspace.mount.break_with("EACCES")
    with WorkspaceKernel(lab.workspace, notebook=environment, user=USER) as kernel:
        if added == "later":
            assert kernel.run(f"import site; site.addsitedir({str(bases[place])!r})").error == ""
        lab.workspace.mount.heal()
        assert kernel.run(A_SECOND_LATER).error == ""
        for project in (BY_PATH, BY_FINDER):
            assert kernel.run(load(project)).text == f"{lab.place_of(project)}\n"
        assert kernel.run(LIVE).text == "True\n"
        finders = "print([getattr(finder, '__name__', '') for finder in sys.meta_path].count('_EditableFinder'))"
        assert kernel.run(finders).text == "1\n"  # its line is not run again


# The quick start

QUICK_START = ("/Workspace/Users/you@example.com/testx", "/Workspace/Users/someone@example.com/quick")
"""The project's folder in the notebook, and here."""


@pytest.fixture(scope="module")
def quick(lab: Lab) -> str:
    """The sample project, which the user can write; return what the notebook prints."""
    project = lab.workspace.node.copy_project("testx", "quick")
    lab.workspace.give(USER, project)
    for wheel in lab.workspace.node.wheelhouse.glob("dbx_patch-*.whl"):
        shutil.copy(wheel, lab.workspace.outside(VOLUME))
    return f"function1 of {project}/src/testx/functions.py\n"


@pytest.mark.parametrize("has_wheel", [False, True], ids=["wheel-in-a-cell", "start-up-wheel"])
def test_quick_start_runs_to_its_end(lab: Lab, quick: str, has_wheel: bool) -> None:  # noqa: FBT001
    environment = make_environment(lab.workspace)
    if has_wheel:
        environment.install(lab.wheel)
    with WorkspaceKernel(lab.workspace, OFFLINE, notebook=environment, user=USER) as kernel:
        cells = kernel.run_notebook("quick_start", dict([QUICK_START]), leave_out=has_wheel)

    assert [cell.text for cell in cells].count(quick) == 2
    assert [cell.died for cell in cells].count(True) == 1
    assert cells[-1].updates[-1].startswith(f"{PASSED} Self-test")


# The self-test


@pytest.mark.parametrize("environ", [{}, OFF], ids=["on", "off"])
def test_selftest_proves_the_wheel_to_the_user(lab: Lab, after: Environment, environ: dict[str, str]) -> None:
    """The environment's own layer is the only one that the user can write, and Python opens that one itself."""
    folder = lab.workspace.node.project("selftest")
    outside = lab.workspace.outside(folder)
    outside.mkdir(exist_ok=True)
    outside.chmod(0o777)
    with WorkspaceKernel(lab.workspace, environ, notebook=after, user=USER) as kernel:
        output = kernel.run(f"import json, dbx_patch; print(json.dumps(dbx_patch.selftest({str(folder)!r}).to_json()))")

    assert output.error == ""
    result = json.loads(output.text[output.text.index("{") :])
    assert ([*outside.iterdir()], [*lab.workspace.outside(after.environment / "tmp").glob("*selftest*")]) == ([], [])
    ours = OF_THE_SHIM | OF_THE_SHIM_ON_A_MOUNT | OF_THE_SHIM_IN_A_NOTEBOOK
    assert select(result, "failed") == (ours if environ else set())
    assert select(result, "passed") == (OF_PYTHON if environ else ours | OF_PYTHON)
    [own] = select_layers(result, "passed")
    assert own.startswith(OWN)
    assert len(select_layers(result, "not applicable")) == 4


def test_selftest_bundle_runs(lab: Lab) -> None:
    """Its notebook, script task and wheel task, with the dependencies that it names. The pipeline is not run."""
    folder = lab.workspace.node.project("selftest_bundle")
    shutil.copytree(SELFTESTS, lab.workspace.outside(folder))
    bundle = yaml.safe_load((SELFTESTS / "databricks.yml").read_text())
    jobs = bundle["resources"]["jobs"]
    values = {f"${{var.{name}}}": str(made["default"]) for name, made in bundle["variables"].items()}
    (cell,) = read_cells(SELFTESTS / "notebooks/serverless.ipynb")
    environment = make_environment(lab.workspace)
    values["${var.results}"] = f"{environment.environment}/tmp"

    def find(name: str, kind: str) -> dict[str, Any]:
        (task,) = jobs[name]["tasks"]
        if "environment_key" in task:
            (spec,) = [each["spec"] for each in jobs[name]["environments"]]
            assert [resolve(line, values) for line in spec["dependencies"]] == [lab.wheel]
        settings: dict[str, Any] = json.loads(resolve(json.dumps(task[kind]), values))
        return settings

    environment.install(lab.wheel)
    with late_mount(environment) as kernel:
        parameters = find("serverless_notebook", "notebook_task")["base_parameters"]
        assert kernel.run(WIDGETS.format(parameters)).error == ""
        output = kernel.run(cell)
        assert output.error == ""
        assert "Everything that it wrote was removed." in output.html[-1]
    with late_mount(environment) as kernel:
        task = find("serverless_script", "spark_python_task")
        words = f"import sys; sys.argv = {['', *task['parameters']]}\n"
        assert kernel.run(words + run_script(folder / task["python_file"])).error == ""
    with late_mount(environment) as kernel:
        task = find("serverless_wheel", "python_wheel_task")
        words = f"import sys; sys.argv = {['', *task['parameters']]}\n"
        assert kernel.run(words + run_entry_point(task["package_name"], task["entry_point"])).error == ""

    for name in ("serverless_notebook", "serverless_script", "serverless_wheel"):
        result = json.loads(lab.workspace.outside(Path(values["${var.results}"], f"{name}.json")).read_text())
        assert result["passed"], result
        assert {row["state"] for row in result["promises"]} == {"passed", "not applicable"}


# The example


def test_example_runs(lab: Lab) -> None:
    """Its notebook, script task and wheel task, each with the dependencies that it names. The pipeline is not run."""
    node = lab.workspace.node
    project = node.project("orders")
    shutil.copytree(EXAMPLE, lab.workspace.outside(project))
    bundle = yaml.safe_load((EXAMPLE / "databricks.yml").read_text())
    values = {f"${{var.{name}}}": str(made["default"]) for name, made in bundle["variables"].items()}
    values["${workspace.file_path}"] = str(project)
    job = bundle["resources"]["jobs"]["nightly"]
    tasks = {task["task_key"]: task for task in job["tasks"]}
    environments = {each["environment_key"]: each["spec"]["dependencies"] for each in job["environments"]}
    file = EXAMPLE / tasks["notebook"]["notebook_task"]["notebook_path"]
    notebook, cells = json.loads(file.read_text()), read_cells(file)
    own = notebook["metadata"]["application/vnd.databricks.v1+notebook"]["environmentMetadata"]["dependencies"]
    wanted = f"119.0 from {project}/src/orders/prices.py\n"

    environment = make_environment(lab.workspace)
    environment.install(*own, folder=project / "notebooks")
    with late_mount(environment) as kernel:
        assert [kernel.run(cell).text for cell in cells] == [wanted]

    environment = make_environment(lab.workspace)
    lines = environments[tasks["script"]["environment_key"]]
    assert tasks["wheel"]["environment_key"] == tasks["script"]["environment_key"]
    assert bundle["resources"]["pipelines"]["orders"]["environment"]["dependencies"] == lines
    environment.install(*(resolve(line, values) for line in lines))
    with late_mount(environment) as kernel:
        assert kernel.run(run_script(project / tasks["script"]["spark_python_task"]["python_file"])).text == wanted
    with late_mount(environment) as kernel:
        task = tasks["wheel"]["python_wheel_task"]
        output = kernel.run(run_entry_point(task["package_name"], task["entry_point"]))
        assert output.text == f"119.0 from {project}/src/orders/report.py\n"


def resolve(line: str, values: dict[str, str]) -> str:
    """Write a bundle's variables as their values."""
    for name, value in values.items():
        line = line.replace(name, value)
    return line
