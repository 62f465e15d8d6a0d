"""The doctor, asked on nodes where imports really fail; the commands that it returns are run, and fix them.

Its checks and their order are tested with made-up facts in `unit/test_doctor_checks.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from jsonschema import validate

from dbx_patch._doctor import Cause
from tests.lab.missing import need_root
from tests.lab.node import OFF
from tests.lab.picture import DOCTOR, ask_doctor, draw_diagnosis
from tests.lab.trace import require
from tests.lab.wheels import REPOSITORY
from tests.test_hooks import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.lab.node import Node, Notebook

pytestmark = [pytest.mark.one_python, pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])]

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
ASK = """
import json, dbx_patch
print(json.dumps({{name: dbx_patch.doctor(name).to_json() for name in {!r}}}))
"""
SCHEMA = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text())

Found = dict[str, Any]
"""A diagnosis, as JSON."""


class Patient:
    """A notebook in which a project should be importable."""

    def __init__(self, notebook: Notebook, name: str = "testx") -> None:
        self.notebook = notebook
        self.node = notebook.node
        self.name = name
        self.project = self.node.project(name)
        self.root = self.project / "src"
        self.layer = Path(notebook.layers[2])

    def pth(self, name: str = "") -> Path:
        """Return the `.pth` file of a project."""
        (pth,) = self.layer.glob(f"*{name or self.name}*.pth")
        return pth

    def finder(self, name: str = "") -> Path:
        """Return the module of a project's finder."""
        (finder,) = self.layer.glob(f"__editable___{name or self.name}_*_finder.py")
        return finder

    def find_part(self, part: str) -> Path:
        """Return a file of the shim that runs in the notebook."""
        shim = "import sys; print(sys.modules['dbx_patch_sitecustomize'].__spec__.origin)"
        file = Path(self.notebook.run(shim, check=True).stdout.strip())
        (found,) = file.parent.glob(f"{file.stem}_{part}_*.py")
        return found

    def ask(
        self,
        module: str = "",
        *,
        before: str = "",
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Found:
        """Ask about one module in a fresh interpreter; see `ask_all`."""
        name = module or self.name
        found = self.ask_all([name], before=before, environ=environ, prefix=prefix, options=options)
        return found[name]

    def ask_all(
        self,
        modules: Iterable[str],
        *,
        before: str = "",
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> dict[str, Found]:
        """Ask about several modules in one fresh interpreter.

        `before` is code that runs first, `prefix` is the command that runs Python, `options` are Python's.
        """
        command = [*prefix, self.notebook.python, *options, "-c", before + ASK.format(list(modules))]
        reports = json.loads(
            self.node.run(command, self.notebook.environ | dict(environ or {})).stdout.splitlines()[-1]
        )
        for report in reports.values():
            validate(report, SCHEMA)
        return {found["module"]: found for report in reports.values() for found in report["diagnoses"]}

    def fix(self, *commands: str) -> None:
        """Run in one shell the commands that the doctor has returned."""
        self.node.run(["sh", "-e", "-c", "\n".join(commands)], self.notebook.environ | self.pip_options)

    @property
    def pip_options(self) -> dict[str, str]:
        """What lets a plain `pip install` work without a package index."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.node.wheelhouse),
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: use what is installed
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }


def ask_shell(
    node: Node, *arguments: str, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the report of `dbx-patch doctor` in a shell of the node, as JSON."""
    scratch = node.root / "tmp"
    if not scratch.exists():
        scratch.mkdir()
        scratch.chmod(0o1777)
    command = [*prefix, node.python, "-m", "dbx_patch", "doctor", "--json", *arguments]
    done = node.run(command, {"TMPDIR": str(scratch), **(environ or {})}, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    validate(report, SCHEMA)
    assert done.returncode == (0 if report["healthy"] else 1)
    assert list(scratch.iterdir()) == []
    return report


@pytest.fixture
def well(installed: Node) -> Patient:
    """A notebook on a shared node, where `testx` is importable."""
    return Patient(installed.make_notebook())


@pytest.fixture
def sick(installed: Node) -> Iterator[Patient]:
    """A second project beside `testx`, for a test to break."""
    installed.install_editable(installed.copy_project("sickx"))
    yield Patient(installed.make_notebook(), "sickx")
    shutil.rmtree(installed.project("sickx"), ignore_errors=True)
    for environment in (installed.runtime, installed.cluster_libraries):
        for left in installed.layer(environment).glob("*sickx*"):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@pytest.fixture
def unpatched(node: Node) -> Patient:
    """A notebook on a fresh node with `testx` and the package, where the shim is not installed."""
    node.install_editable(node.copy_project("testx"))
    node.install_dbx_patch()
    return Patient(node.make_notebook())


@pytest.fixture
def patched(unpatched: Patient) -> Patient:
    """The same, with the shim installed."""
    unpatched.node.install_shim()
    return unpatched


def flatten(project: Path) -> None:
    """Give a project a flat layout, which setuptools installs with a finder."""
    (package,) = (project / "src").glob("*")
    package.rename(project / package.name)
    (project / "src").rmdir()


# Where nothing is wrong


def test_report_on_a_module_that_is_importable(well: Patient) -> None:
    found = well.ask_all(["testx", "testx.functions", "json"])

    assert {name: (found["healthy"], found["cause"], found["command"]) for name, found in found.items()} == {
        "testx": (True, "driver only", ""),
        "testx.functions": (True, "driver only", ""),
        "json": (True, "healthy", ""),
    }
    testx = found["testx"]
    assert testx["summary"] == f"importable from {well.root}/testx/__init__.py"
    assert testx["evidence"] == [
        f"{well.project} is on the driver only, so executors can't import it; move it below /Workspace or /Volumes"
    ]
    assert found["json"]["summary"].endswith("/json/__init__.py, which is not an editable install")
    steps = testx["steps"]
    assert steps[0] == {
        "kind": "finder",
        "place": "dbx-patch",
        "state": "passes",
        "detail": "looks for new installs",
        "ends": False,
    }
    assert steps[-1] == {
        "kind": "root",
        "place": str(well.root),
        "state": "found",
        "detail": f"{well.root}/testx/__init__.py",
        "ends": False,
    }
    assert [step["place"] for step in steps if step["kind"] == "layer"] == well.notebook.layers[:3]
    assert [step for step in steps if step["state"] == "stops"] == []


def test_projects_in_one_namespace_are_told_apart(patched: Patient) -> None:
    """Each contributes a package to it: the report on one of these is about its own project."""
    node = patched.node
    projects = [f"{space}-{part}" for space in ("spaced", "level") for part in ("core", "jobs")]
    for name in projects:
        space, _, part = name.partition("-")
        package = node.project(name) / ("src" if space == "spaced" else ".") / space / part
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        find = f'[tool.setuptools.packages.find]\ninclude = ["{space}*"]\n' if space == "level" else ""
        (node.project(name) / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1"\n{find}')
        node.install_editable(node.project(name))
    modules = {name.replace("-", "."): name for name in projects}

    found = patched.ask_all([*modules, "spaced", "level", "spaced.job"])

    assert patched.ask_all(projects) == {name: found[name] for name in modules}
    for module, name in modules.items():
        assert found[module]["healthy"]
        assert found[module]["summary"].startswith(f"importable from {node.project(name)}/")
    assert (found["spaced"]["healthy"], found["level"]["healthy"]) == (True, True)
    assert found["spaced"]["evidence"][0] == f"also in: {node.project('spaced-jobs')}/src/spaced"
    assert found["spaced.job"]["summary"].endswith(" has no spaced.job; did you mean spaced.jobs?")

    for name in ("spaced-jobs", "level-jobs"):
        node.project(name).rename(node.project(name).with_name(f"{name}-moved"))
    found = patched.ask_all(modules)
    assert {module: each["cause"] for module, each in found.items() if not each["healthy"]} == {
        "spaced.jobs": "folder absent",
        "level.jobs": "folder absent",
    }
    for module in ("spaced.jobs", "level.jobs"):
        assert found[module]["evidence"][0].startswith(f"missing: {node.project(modules[module])}")
    by_project = patched.ask_all(["spaced-jobs", "level-jobs"])
    assert [each["cause"] for each in by_project.values()] == ["folder absent"] * 2


def test_command_line_prints_the_report_and_exits_with_the_result(well: Patient) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [well.notebook.python, "-m", "dbx_patch", "doctor", *arguments]
        return well.node.run(command, well.notebook.environ, check=False)

    assert (run("testx").returncode, run().returncode) == (0, 0)
    found = run("testz")
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.splitlines() == [
        "✓ submodule  ✓ cache  ✓ mounts  ✓ .pth files  ✓ folders  ✗ import",
        f"testz: nothing on sys.path of {well.notebook.python} has it; did you mean testx?",
        f"  Fix: {well.notebook.python} -m pip install -e <the folder of its project>",
    ]
    as_json = run("testz", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["diagnoses"][0]["cause"]) == (1, "not installed")
    wrong = run("test z")
    assert wrong.returncode == 2
    assert "'test z' is neither a module's name nor the name of a project" in wrong.stderr


def test_any_name_is_answered_and_odd_path_entries_do_no_harm(well: Patient) -> None:
    odd = "import sys, pathlib; sys.path[1:1] = ['', 7, None, pathlib.Path('/x'), '__editable__.x-1.finder']\n"
    names = ["", " ", "a b", "..", ".a", "a.", "a-b", "\0", "a" * 100_000, "é", "class", "testx"]
    code = f"""
import json, dbx_patch
answers = {{}}
for name in {names!r}:
    try:
        answers[name] = dbx_patch.doctor(name).healthy
    except ValueError as error:
        answers[name] = "neither a module's name" in str(error)
print(json.dumps(answers))
"""
    answers = json.loads(well.notebook.run(odd + code, check=True).stdout)

    modules = {"a" * 100_000: False, "é": False, "class": False, "testx": True, "": True}
    assert answers == dict.fromkeys(names, True) | modules


def test_nothing_is_imported_and_nothing_is_changed(sick: Patient) -> None:
    (sick.root / "sickx/__init__.py").write_text("raise SystemExit('imported')")
    before = sick.node.snapshot()
    code = """
import json, sys
from dbx_patch import doctor
def look():
    return {
        "path": list(sys.path),
        "meta_path": list(sys.meta_path),
        "path_hooks": list(sys.path_hooks),
        "path_importer_cache": sorted(sys.path_importer_cache),
    }
state = look()
for module in ("", "sickx", "sickx.functions", "nothing_of_that_name"):
    doctor(module)
now = look()
changed = [name for name in state if state[name] != now[name]]
print(json.dumps({"changed": changed, "imported": "sickx" in sys.modules}))
"""
    seen = json.loads(sick.notebook.run(code, check=True).stdout)

    assert seen == {"changed": [], "imported": False}
    assert sick.node.snapshot() == before


# What is wrong with the shim, or with the process


def test_shim_that_is_not_installed_is_installed_by_the_command(unpatched: Patient) -> None:
    doctor = [unpatched.notebook.python, "-m", "dbx_patch", "doctor"]

    found = unpatched.ask()

    assert (found["cause"], found["summary"]) == ("shim not installed", "the start-up shim is not installed here")
    assert found["evidence"] == [f"Python does not read this .pth file: {unpatched.pth()}"]
    stops = next(step for step in found["steps"] if step["state"] == "stops")
    assert (stops["place"], stops["detail"]) == (
        str(unpatched.root),
        f"not on sys.path, but named in {unpatched.pth()}",
    )
    assert [check["name"] for check in found["checks"] if check["state"] == "failed"] == ["shim"]

    # In a shell of the runtime's interpreter, where the module is importable, the verdict is the notebook's.
    shell = ask_shell(unpatched.node, "testx")
    assert (shell["judged"], shell["healthy"], shell["python"]) == ("notebook", False, str(unpatched.node.python))
    in_shell, here = shell["diagnoses"][0], shell["here"]
    assert (in_shell["cause"], in_shell["evidence"]) == (found["cause"], found["evidence"])
    assert [(found["module"], found["cause"]) for found in here] == [("testx", "driver only")]
    own = f"<notebook>/lib/{unpatched.node.version}/site-packages"
    assert {step["place"] for step in in_shell["steps"]} <= {own, *(step["place"] for step in found["steps"])}
    assert "dbx-patch-" not in json.dumps(shell)  # the folder in which it was asked
    asked_here = ask_shell(unpatched.node, "testx", "--here")
    assert tuple(asked_here[name] for name in ("judged", "healthy", "note", "here")) == (
        "this interpreter",
        True,
        "",
        [],
    )

    unpatched.fix(in_shell["command"])
    assert unpatched.ask()["healthy"] is True
    fixed = ask_shell(unpatched.node, "testx")
    assert (fixed["judged"], fixed["healthy"], fixed["here"]) == ("notebook", True, [])

    unpatched.node.pip("uninstall", "--quiet", "--yes", "testx")
    alone = unpatched.node.run(doctor, unpatched.notebook.environ)
    assert alone.stdout == "this process: no layer on sys.path has an editable install, and nothing is wrong\n"
    unpatched.fix(f"{unpatched.node.python} -m dbx_patch.uninstall")
    without_shim = unpatched.node.run(doctor, unpatched.notebook.environ, check=False)
    assert without_shim.returncode == 1
    assert "\nthis process: the start-up shim is not installed here\n" in without_shim.stdout


@pytest.mark.matrix
def test_picture_in_the_documentation_is_this_report(unpatched: Patient) -> None:
    picture = draw_diagnosis(ask_doctor(unpatched.notebook))

    assert picture == DOCTOR.read_text("utf-8"), "run `python -m tests.lab.picture`, and look at the picture"
    assert len(picture.encode()) < 60_000


@pytest.mark.matrix
def test_shim_that_is_shadowed_broken_or_replaced(patched: Patient) -> None:
    # A sitecustomize was installed later, and comes first.
    foreign = patched.node.root / "usr/lib" / patched.node.version / "sitecustomize.py"
    foreign.touch()
    found = patched.ask()
    assert (found["cause"], found["evidence"][0]) == ("shim not live", f"shadowed by: {foreign}")
    patched.fix(found["command"])
    assert patched.ask()["healthy"] is True

    # A part was deleted.
    part = patched.find_part("editables")
    part.unlink()
    shutil.rmtree(part.parent / "__pycache__", ignore_errors=True)
    found = patched.ask()
    assert (found["cause"], found["evidence"][0].split(":")[0]) == ("shim broken", str(part))
    patched.fix(found["command"])
    assert patched.ask()["healthy"] is True

    # Another version was installed after the process had started, and the project is broken as well.
    part = patched.find_part("hooks")
    folder = patched.node.root / "changed"
    folder.mkdir()
    folder.joinpath("sys_path_init.py").write_text("def patch_sys_path_with_developer_paths(): pass")
    (patched.root / "testx").rename(patched.root / "testy")
    update = f"""
import pathlib, re, sys
part = pathlib.Path({str(part)!r})
part.rename(part.with_name("dbx_patch_sitecustomize_hooks_another.py"))
shim = pathlib.Path(sys.modules["dbx_patch_sitecustomize"].__spec__.origin)
shim.write_text(re.sub("BUILD = .*", "BUILD = '_another'", shim.read_text(), 1))
sys.path.insert(0, {str(folder)!r})
import sys_path_init
"""
    found = patched.ask(before=update)
    assert (found["cause"], found["evidence"][0].split(":")[0]) == ("started before", str(part))


@pytest.mark.matrix
def test_process_that_started_before_the_shim_was_installed(unpatched: Patient) -> None:
    install = [str(unpatched.node.python), "-m", "dbx_patch.install"]

    found = unpatched.ask(before=f"import subprocess; subprocess.run({install!r}, check=True, capture_output=True)")

    assert (found["cause"], found["summary"]) == (
        "started before",
        "this process started before the shim was installed",
    )


def test_process_in_which_the_shim_was_turned_off_or_stopped_or_never_started(well: Patient) -> None:
    remove = "import dbx_patch; dbx_patch.remove_all_patches();"
    path = {"PYTHONPATH": ":".join(well.notebook.layers)}

    off = well.ask(environ=OFF)
    removed = well.ask(before=remove)
    without_site = well.ask(environ=path, options=["-S"])

    assert (off["cause"], off["command"]) == ("shim turned off", "unset DBX_PATCH_DISABLE")
    assert removed["cause"] == "patches removed"
    assert well.ask(before=remove + removed["command"])["healthy"] is True
    assert without_site["cause"] == "started without site"


# What is wrong with a project


PROJECTS = ("absentx", "againx", "beforex", "blindx", "copyx", "distx", "filex", "movedx", "offx", "raisex", "renamedx")
OF_FLAT_LAYOUT = ("flatx", "flatmovedx", "lacksx", "linex")
REFUSED = ("linkx", "nulx", "openx")


class Ward(Patient):
    """A fresh node with a project for each way in which an import can fail; nothing is broken yet."""

    def __init__(self, node: Node) -> None:
        projects = [node.copy_project(name) for name in (*PROJECTS, *OF_FLAT_LAYOUT, *REFUSED, "namesx", "strictx")]
        for name in OF_FLAT_LAYOUT:
            flatten(node.project(name))
        names = node.project("namesx") / "src"
        (names / "namesx").rename(names / "dlt")
        for name in ("json", "tabnanny", "dbruntime"):
            shutil.copytree(names / "dlt", names / name)
        strict = projects.pop()
        install = ("install", "--quiet", "--no-deps", "--no-build-isolation")
        node.pip(*install, *(word for project in projects for word in ("-e", str(project))))
        node.pip(*install, "--config-settings", "editable_mode=strict", "-e", strict)
        node.install_dbx_patch()
        node.install_shim()
        super().__init__(node.make_notebook())
        self.above = Path(self.notebook.layers[1])
        """The layer above the one with the projects."""
        self.beside_notebook = node.root / "databricks/driver/filex.py"
        self.open_folder = node.root / "open"
        self.old = node.root / "old"

    def root_of(self, name: str) -> Path:
        """Return the root of a project."""
        return self.node.project(name) / "src"

    def line_of(self, name: str) -> str:
        """Return the line of a project's `.pth` file, as the doctor shows it."""
        return f"{self.pth(name)}, line 1: {self.root_of(name)}"

    def break_folders(self) -> None:
        """Move two projects, rename a package, and delete a tree of links."""
        self.node.project("absentx").rename(self.node.project("absentx2"))
        self.node.project("flatmovedx").rename(self.node.project("elsewhere"))
        (self.root_of("renamedx") / "renamedx").rename(self.root_of("renamedx") / "renamedy")
        shutil.rmtree(self.node.project("strictx") / "build")

    def break_finders(self) -> None:
        """Have one finder raise, and another one lack a package."""
        finder = self.finder("linex")
        raising = "def install():\n    raise OSError('out of order')"
        finder.write_text(finder.read_text().replace("def install():", raising))
        finder = self.finder("lacksx")
        finder.write_text(finder.read_text().replace("import sys\n", "import sys\nimport a_helper\n", 1))

    def shadow(self) -> None:
        """Put other copies first on the path: a distribution, a folder, and a file beside the notebook."""
        target = f"--target={self.above}"
        distx = self.node.project("distx")
        self.node.pip("install", "--quiet", "--no-deps", "--no-build-isolation", target, distx)
        shutil.copytree(self.root_of("copyx") / "copyx", self.above / "copyx")
        self.beside_notebook.touch()

    def break_pth_files(self) -> None:
        """Make `.pth` files that are not read: writable, in a writable folder, or no text."""
        self.open_folder.mkdir()
        self.open_folder.chmod(0o777)
        pth = self.pth("linkx")
        pth.symlink_to(pth.rename(self.open_folder / pth.name))
        self.pth("nulx").write_bytes(b"\0")
        self.pth("openx").chmod(0o666)

    def break_process(self) -> str:
        """Return code that breaks the process that runs it.

        It imports a copy from elsewhere, installs a project again, removes a root, and adds bad finders.
        """
        theirs = self.node.root / "theirs"
        for module in (self.old / "beforex.py", theirs / "dbruntime.py"):
            module.parent.mkdir()
            module.touch()
        second = self.node.copy_project("againx", "second")
        moved = self.node.copy_project("movedx", "moved")
        again = [str(self.node.python), "-m", "pip", "install", "-q", "-e", str(second), "-e", str(moved)]
        return f"""
import os, shutil, subprocess, sys
from importlib.machinery import FileFinder
sys.path.insert(0, {str(self.old)!r})
import againx, beforex, filex
sys.path[0] = {str(theirs)!r}
shutil.rmtree({str(self.node.project("movedx"))!r})
subprocess.run({again!r}, env={{**os.environ, **{self.pip_options!r}}}, check=True)
sys.path.remove({str(self.root_of("offx"))!r})
class Broken:
    def find_spec(self, name, *_):
        if name == "raisex":
            raise OSError("out of order")
sys.meta_path.insert(1, Broken())
class Blind(FileFinder):
    def find_spec(self, *_):
        return None
sys.path_importer_cache[{str(self.root_of("blindx"))!r}] = Blind({str(self.root_of("blindx"))!r})
"""


@pytest.mark.matrix
def test_each_project_that_fails_has_its_diagnosis_and_the_command_fixes_it(node: Node) -> None:
    ward = Ward(node)
    ward.break_folders()
    ward.break_finders()
    ward.shadow()
    ward.break_pth_files()
    before = ward.break_process()

    # One process is asked about all that is installed, and about the projects whose .pth files are not read.
    found = ward.ask_all(["", *REFUSED], before=before)

    assert {name: found["cause"] for name, found in found.items()} == {
        "": "refused",  # of three files, one is reported for the process as a whole
        "absentx": "folder absent",
        "againx": "imported before",
        "beforex": "imported before",
        "blindx": "unknown",
        "copyx": "shadowed",
        "dbruntime": "shadowed",
        "distx": "shadowed",
        "dlt": "name taken",
        "filex": "shadowed",  # it has been imported as well, but a restart would not help
        "flatmovedx": "folder absent",
        "flatx": "executors lack its finder",
        "json": "shadowed",
        "lacksx": "start-up line failed",
        "linex": "start-up line failed",
        "linkx": "refused",
        "movedx": "driver only",  # what it had not imported, a process imports from the new folder
        "nulx": "refused",
        "offx": "off the path",
        "openx": "refused",
        "raisex": "finder failed",
        "renamedx": "no such module",
        "strictx": "links missing",
        "tabnanny": "shadowed",
    }
    assert {name for name, found in found.items() if found["healthy"]} == {"dlt", "flatx", "movedx"}
    check_evidence(ward, found)

    commands = {name: found["command"] for name, found in found.items() if found["command"]}
    python, environment = ward.notebook.python, ward.above.parents[2]
    assert commands == {
        "": f"chmod o-w {ward.open_folder}",
        "absentx": f"{python} -m pip install -e <the folder of absentx>",
        "blindx": f"{python} -m dbx_patch fingerprint",
        "copyx": f"mv {ward.above}/copyx {ward.above}/copyx.old",
        "distx": f"{python} -m pip --python {environment} uninstall --yes distx",
        "filex": f"mv {ward.beside_notebook} {ward.beside_notebook}.old",
        "flatmovedx": f"{python} -m pip install -e <the folder of flatmovedx>",
        "lacksx": f"{python} -m pip install a_helper",
        "linex": f"{python} -m pip install -e {node.project('linex')}",
        "linkx": f"chmod o-w {ward.open_folder}",
        "nulx": f"{python} -m pip install -e <the folder of its project>",
        "openx": f"chmod o-w {ward.pth('openx')}",
        "renamedx": f"{python} -m pip install -e {node.project('renamedx')}",
        "strictx": f"{python} -m pip install -e {node.project('strictx')}",
    }
    # The commands run as they are. What was wrong with the process only is fixed in a new one.
    by_command = ("copyx", "distx", "filex", "linex", "linkx", "openx", "strictx")
    by_restart = ("againx", "beforex", "blindx", "movedx", "offx", "raisex")
    ward.fix(*(commands[name] for name in by_command), commands["renamedx"])
    fixed = ward.ask_all([*by_command, *by_restart, "renamedy"])
    assert {name: found["healthy"] for name, found in fixed.items()} == dict.fromkeys(fixed, True)


def check_evidence(ward: Ward, found: dict[str, Found]) -> None:
    """Check what the diagnoses show, besides their causes."""
    evidence = {name: found["evidence"] for name, found in found.items()}
    assert evidence["absentx"] == [
        f"missing: {ward.root_of('absentx')}",
        f"exists: {ward.node.project('absentx').parent}",
        f"similar name: {ward.node.project('absentx2')}",
        ward.line_of("absentx"),
    ]
    assert evidence["flatmovedx"][0] == f"missing: {ward.node.project('flatmovedx')}"
    assert evidence["againx"][0] == f"imported from: {ward.root_of('againx')}/againx/__init__.py"
    assert evidence["beforex"] == [f"imported from: {ward.old}/beforex.py", ward.line_of("beforex")]
    assert evidence["blindx"] == [ward.line_of("blindx")]
    assert evidence["distx"][0] == f"imported from: {ward.above}/distx/__init__.py"
    assert evidence["filex"][0] == f"imported from: {ward.beside_notebook}"
    assert evidence["lacksx"][-1] == "ModuleNotFoundError: No module named 'a_helper'"
    assert evidence["linex"][-1] == "OSError: out of order"
    assert evidence["nulx"][0].startswith(f"{ward.pth('nulx')}: ")
    assert evidence["raisex"] == ["OSError('out of order')"]
    assert evidence["renamedx"] == [ward.line_of("renamedx")]
    assert found["renamedx"]["summary"].endswith("; did you mean renamedy?")
    assert found["offx"]["summary"] == f"{ward.root_of('offx')} was removed from sys.path"
    assert found["raisex"]["steps"][-1]["place"] == "__main__.Broken"
    assert found["distx"]["steps"][-1]["detail"] == f"another copy: {ward.above}/distx/__init__.py"
    stops = next(step for step in found["absentx"]["steps"] if step["state"] == "stops")
    assert (stops["place"], stops["detail"]) == (str(ward.root_of("absentx")), "missing or unreadable")


def test_folder_of_which_python_remembers_an_older_listing(sick: Patient) -> None:
    """A change within one tick of the clock leaves the folder's modification time, by which Python lists it again."""
    before = f"""
import os, pathlib
late = pathlib.Path({str(sick.root / "sickx/late.py")!r})
late.unlink(missing_ok=True)
import sickx.functions
listed_at = late.parent.stat().st_mtime_ns
late.touch()
os.utime(late.parent, ns=(listed_at, listed_at))
"""
    try_it = "import sickx.late\n"

    found = sick.ask("sickx.late", before=before)

    assert (found["cause"], found["evidence"]) == ("stale cache", [f"remembered: {sick.root}/sickx"])
    assert sick.notebook.run(before + try_it).stderr.endswith("ModuleNotFoundError: No module named 'sickx.late'\n")
    assert sick.notebook.run(f"{before}{found['command']}\n{try_it}").returncode == 0


@pytest.mark.matrix
def test_finder_that_was_removed_from_the_meta_path(sick: Patient) -> None:
    flatten(sick.project)
    sick.node.install_editable(sick.project)
    remove = "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path if {}]\n"
    its_own = remove.format("'editable' not in repr(finder)")
    ours = remove.format("type(finder).__name__ != 'function'")

    for before in (its_own, ours + its_own):
        found = sick.ask(before=before)

        assert (found["cause"], found["summary"]) == ("off the path", "its finder was removed from sys.meta_path")


@pytest.mark.matrix
def test_user_without_permission_is_told_what_to_change(sick: Patient) -> None:
    need_root("become another user")
    sick.node.open_to_all()

    sick.project.chmod(0o700)
    folder = sick.ask(prefix=AS_NOBODY)
    sick.fix(folder["command"])
    sick.pth().chmod(0o600)
    pth = sick.ask(prefix=AS_NOBODY)
    sick.fix(pth["command"])

    assert (folder["cause"], folder["command"]) == ("folder unreadable", f"chmod a+rx {sick.project}")
    assert folder["evidence"][:2] == [f"{sick.root}: Permission denied", f"no permission for: {sick.project}"]
    assert (pth["cause"], pth["command"]) == ("unreadable", f"chmod a+r {sick.pth()}")
    assert sick.ask(prefix=AS_NOBODY)["healthy"] is True


@pytest.mark.matrix
def test_folder_of_a_mount_that_returns_an_error(sick: Patient) -> None:
    calls = "newfstatat,stat,lstat,statx,openat,getdents64"
    fault = ("-qq", "-f", "-o", "/dev/null", f"--trace-path={sick.root}", f"--inject={calls}:error=EIO")

    found = sick.ask(prefix=[require("strace"), *fault])

    assert (found["cause"], found["command"]) == ("folder unreadable", "")
    assert found["evidence"][0] == f"{sick.root}: Input/output error"


@pytest.mark.matrix
def test_layer_that_is_world_writable(sick: Patient) -> None:
    layer = Path(sick.notebook.layers[1])
    for file in sick.layer.glob("*sickx*"):
        file.rename(layer / file.name)
    layer.chmod(0o777)
    try:
        found = sick.ask()
        sick.fix(found["command"])
        assert sick.ask()["healthy"] is True
    finally:
        layer.chmod(0o755)

    assert (found["cause"], found["command"]) == ("refused", f"chmod o-w {layer}")
    assert found["evidence"][0] == f"world-writable: {layer}"


@pytest.mark.matrix
def test_project_is_known_by_its_name_as_well(sick: Patient) -> None:
    pyproject = sick.project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"sickx"', '"The.Sick-Project"'))
    sick.node.install_editable(sick.project)
    try:
        found = sick.ask_all(["the-sick-project"])
    finally:
        sick.node.pip("uninstall", "--quiet", "--yes", "the-sick-project")

    assert list(found) == ["sickx"]


# What is wrong with Databricks' hooks


@pytest.mark.matrix
def test_hook_that_was_imported_before_the_shim_could_patch_it(well: Patient) -> None:
    lab = Lab(well.notebook)
    before = f"""
import sys
watcher, sys.meta_path[:] = sys.meta_path[0], sys.meta_path[1:]
from dbruntime.wsfs_import_hook import WsfsImportHook
sys.meta_path.insert(0, watcher)
sys.path_importer_cache[{str(well.root)!r}] = WsfsImportHook({str(well.root)!r}, test_prefix={str(well.node.root)!r})
"""
    path = {"PYTHONPATH": f"{lab.folder}:{well.notebook.environ['PYTHONPATH']}", "WSFS_TEST_DIR": str(well.node.root)}

    found = well.ask(before=before, environ=path)

    assert (found["cause"], found["command"]) == ("hook incompatible", "import dbx_patch; dbx_patch.patch_dbx()")
    assert found["summary"] == "one of Databricks' hooks was imported before the shim could patch it"
    assert found["evidence"][0] == (
        f"root {well.root}: dbruntime.wsfs_import_hook.WsfsImportHook refuses it to library code"
    )
    assert well.ask(before=before + found["command"], environ=path)["healthy"] is True


@pytest.mark.matrix
def test_hook_of_an_unknown_shape(well: Patient) -> None:
    folder = well.node.root / "changed/dbruntime"
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("__init__.py").touch()
    folder.joinpath("wsfs_import_hook.py").write_text(
        "class WsfsImportHook:\n    def __init__(self, path):\n        pass\n    find_spec = len\n"
    )
    before = f"""
import sys
from dbruntime.wsfs_import_hook import WsfsImportHook
class Hook(WsfsImportHook):
    def find_spec(self, name, target=None):
        return None
sys.path_importer_cache[{str(well.root)!r}] = Hook("")
"""
    found = well.ask(before=before, environ={"PYTHONPATH": str(folder.parent)})

    assert found["cause"] == "hook incompatible"
    assert found["command"].endswith(" -m dbx_patch fingerprint")
    hook = "dbruntime.wsfs_import_hook.WsfsImportHook.find_spec: incompatible"
    assert [line for line in found["evidence"] if line.startswith(hook)]
    assert (found["steps"][0]["kind"], found["steps"][0]["state"]) == ("hook", "stops")


# What a shell's doctor says of notebooks


OF_A_PROCESS = {
    "finder failed",
    "hook incompatible",
    "imported before",
    "off the path",
    "patches removed",
    "stale cache",
    "started before",
    "started without site",
    "unknown",
}
"""The causes that a running process has, and a new notebook does not."""
OF_A_MOUNT = {"mount away", "mount not answering", "no credential", "path not sent"}
"""The causes that need a mount. tests/workspace/ has one; while it does not answer, no notebook is made."""


@pytest.mark.matrix
def test_verdict_of_a_shell_is_the_notebook_s_for_each_cause(node: Node) -> None:
    """But for causes that only a running process can have: these are the process's own."""
    ward = Ward(node)
    seen: list[str] = []

    def compare(*names: str, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> None:
        in_notebook = {
            name: found["cause"] for name, found in ward.ask_all(names, environ=environ, prefix=prefix).items()
        }
        reports = [ask_shell(node, name, environ=environ, prefix=prefix) for name in names]
        assert {report["judged"] for report in reports} == {"notebook"}
        in_shell = {found["module"]: found["cause"] for report in reports for found in report["diagnoses"]}
        assert in_shell == in_notebook
        seen.extend(in_notebook.values())

    only_in_shells = node.root / f".local/lib/{node.version}/site-packages/of_the_user_site.py"
    only_in_shells.parent.mkdir(parents=True)
    only_in_shells.touch()
    compare("absentx.nothing", "csv", "of_the_user_site", "nothing_of_that_name")
    ward.break_folders()
    ward.break_finders()
    ward.shadow()
    ward.break_pth_files()
    compare("", *REFUSED)
    compare("absentx", environ=OFF)

    # What low-privileged users meet.
    need_root("become another user")
    node.open_to_all()
    node.project("copyx").chmod(0o700)
    node.project("offx").chmod(0o700)
    ward.pth("blindx").chmod(0o600)
    compare("offx", "blindx", prefix=AS_NOBODY)

    # A layer, the shim's start, and its files.
    ward.layer.resolve().chmod(0o777)
    compare("offx")
    ward.layer.resolve().chmod(0o755)
    foreign = node.root / "usr/lib" / node.version / "sitecustomize.py"
    foreign.touch()
    compare("offx")
    foreign.unlink()
    part = ward.find_part("editables")
    part.unlink()
    shutil.rmtree(part.parent / "__pycache__", ignore_errors=True)
    compare("offx")
    node.run([node.python, "-m", "dbx_patch.uninstall"])
    compare("offx")

    assert set(seen) == {*get_args(Cause)} - OF_A_PROCESS - OF_A_MOUNT


def test_shell_outside_a_node_and_a_notebook_s_own_judge_themselves(well: Patient) -> None:
    own = well.node.run([well.notebook.python, "-m", "dbx_patch", "doctor", "--json", "testx"], well.notebook.environ)
    elsewhere = subprocess.run(
        [sys.executable, "-m", "dbx_patch", "doctor", "json"], capture_output=True, text=True, check=True
    )

    report = json.loads(own.stdout)
    assert (report["judged"], report["python"], report["note"]) == (
        "this interpreter",
        str(well.notebook.python),
        "",
    )
    assert elsewhere.stdout.startswith("json: importable from ")
    assert elsewhere.stderr.startswith("Note: this is no Databricks node: ")
    assert elsewhere.stderr.endswith("; this interpreter was judged, and notebooks were not.\n")
