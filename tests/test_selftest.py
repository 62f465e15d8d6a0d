"""The self-test on nodes: what it finds with the shim, without it, and with faults in it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch import __version__
from tests.lab.disks import disk_in_memory
from tests.lab.hooks import IN_PATH_HOOKS, before_path, place_hook, provide_stand_ins
from tests.lab.missing import need_root
from tests.lab.node import OFF, Node, Notebook
from tests.lab.picture import SELFTEST, ask_selftest, draw_selftest
from tests.lab.selftests import (
    FRESH,
    HERE,
    NOT_IN_A_COMMAND,
    OF_PYTHON,
    OF_THE_SHIM,
    OF_THE_SHIM_IN_A_NOTEBOOK,
    OF_THE_SHIM_IN_A_WORKSPACE,
    OF_THE_SHIM_ON_A_MOUNT,
    OWN,
    read,
    select,
    select_layers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.lab.interpreters import Interpreter

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.one_python,
    pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""]),
]

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
IN_NOTEBOOK = "import json, dbx_patch; print(json.dumps(dbx_patch.selftest({folder!r}).to_json(), indent=1))"


@pytest.fixture
def scratch(installed: Node) -> Iterator[Path]:
    """The folder for temporary files, which the self-test has to leave empty."""
    folder = installed.root / "tmp"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)
    yield folder
    assert list(folder.iterdir()) == []


def run(
    notebook: Notebook,
    *words: str,
    environ: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    tmp: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the self-test as a command in a notebook's environment."""
    more = notebook.environ | {"TMPDIR": str(tmp or notebook.node.root / "tmp")} | dict(environ or {})
    command = [*before, notebook.python, "-m", "dbx_patch", "selftest", *words]
    return notebook.node.run(command, more, check=False)


def list_layers(notebook: Notebook) -> list[str]:
    """Return the layers of a notebook as they are on a cluster; the last folder is none by its name."""
    paths = [path.removeprefix(str(notebook.node.root)) for path in notebook.layers[:-1]]
    return sorted([f"{OWN}lib/{notebook.node.version}/site-packages", *paths[1:]])


@pytest.mark.core
def test_passes_with_the_shim_and_leaves_every_byte_as_it_was(notebook: Notebook, scratch: Path) -> None:
    before = notebook.node.snapshot()

    done = run(notebook, "--json")

    result = read(done.stdout)
    assert notebook.node.snapshot() == before, scratch
    assert (done.returncode, result["passed"], select(result, "failed"), result["left"]) == (0, True, set(), [])
    assert select(result, "passed") == OF_THE_SHIM | OF_PYTHON
    assert select(result, "not applicable") == OF_THE_SHIM_ON_A_MOUNT | NOT_IN_A_COMMAND
    assert select_layers(result, "passed") == list_layers(notebook)
    assert all(row["seconds"] > 0 for row in result["promises"] if row["state"] == "passed")
    assert {row["mount_calls"] for row in result["promises"]} == {None}  # nothing is on a mount here
    assert result["live"].startswith(
        f"Fresh interpreters: dbx-patch {__version__} is live (slot 2).\nShim: /databricks/"
    )
    assert str(notebook.node.root) not in done.stdout
    assert result["fingerprint"]["shim"]["live"] is True
    said = done.stderr.splitlines()
    assert said[4] == f"  {scratch}"  # before the first row
    assert sum(line[:1] in "✓✗\N{EN DASH}" for line in said) == len(result["promises"]) + 1


def test_picture_in_the_documentation_is_this_result(notebook: Notebook, scratch: Path) -> None:
    del scratch
    picture = draw_selftest(ask_selftest(notebook))

    assert picture == SELFTEST.read_text("utf-8"), "run `python -m tests.lab.picture`, and look at the picture"


def test_result_is_written_to_a_file(notebook: Notebook, scratch: Path, tmp_path: Path) -> None:
    del scratch
    done = run(notebook, "--output", str(tmp_path / "result.json"))
    refused = run(notebook, "--output", str(tmp_path / "no/such/folder"))

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["passed"] is True
    assert refused.returncode == 1
    assert f"Could not write {tmp_path}/no/such/folder.\nNo such file or directory.\nFix: " in refused.stderr


def test_without_the_shim_what_is_the_shims_fails_and_nothing_else(notebook: Notebook, scratch: Path) -> None:
    del scratch
    done = run(notebook, "--json", environ=OFF)

    result = read(done.stdout)
    assert (done.returncode, result["passed"]) == (1, False)
    assert select(result, "failed") == OF_THE_SHIM
    assert select(result, "passed") == OF_PYTHON
    assert select_layers(result, "passed") == [layer for layer in list_layers(notebook) if layer.startswith(OWN)]
    assert select_layers(result, "failed") == [layer for layer in list_layers(notebook) if not layer.startswith(OWN)]
    assert "is not live" in result["live"]


@pytest.mark.parametrize("environ", [{}, OFF], ids=["on", "off"])
def test_user_without_rights_tries_what_it_can(notebook: Notebook, scratch: Path, environ: dict[str, str]) -> None:
    need_root("run as a user without rights")
    notebook.node.open_to_all()

    done = run(notebook, "--json", environ=environ, before=AS_NOBODY)

    result = read(done.stdout)
    assert (done.returncode, result["left"]) == (bool(environ), [])
    assert select(result, "failed" if environ else "passed") - OF_PYTHON == OF_THE_SHIM
    assert select_layers(result, "not applicable") == list_layers(notebook)
    assert len(result["folders"]) == 1, scratch
    reasons = {
        row["detail"] for row in result["promises"] if row["promise"] == "path style" and row["process"] == FRESH
    }
    assert reasons == {"" if not environ else "it raised ModuleNotFoundError", "this user can't write it"}


def test_read_only_layer_is_left_out_with_the_reason(notebook: Notebook, scratch: Path) -> None:
    """Even for root."""
    layer = notebook.node.layer(notebook.node.cluster_libraries)
    with disk_in_memory(layer, "ro"):
        done = run(notebook, "--json")

    result = read(done.stdout)
    assert (done.returncode, select(result, "failed")) == (0, set()), scratch
    assert select_layers(result, "not applicable") == [str(layer).removeprefix(str(notebook.node.root))]
    assert f"  {layer}" not in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("number", "rows"), [(signal.SIGINT, 0), (signal.SIGINT, 14), (signal.SIGTERM, 5), (signal.SIGTERM, 20)]
)
def test_interrupt_removes_everything(notebook: Notebook, scratch: Path, number: signal.Signals, rows: int) -> None:
    """Between two rows, or while the next one is tried. The second signal, which a person may send, changes nothing."""
    node = notebook.node
    before = node.snapshot()
    process = subprocess.Popen(
        [notebook.python, "-m", "dbx_patch", "selftest"],
        env=node.environ() | notebook.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += line.startswith("✓")
        if (rows and seen == rows) or (not rows and "promise" in line):
            break
    process.send_signal(number)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert node.snapshot() == before
    assert (process.returncode, "Traceback" in errors) == (128 + number, False)


def test_full_disk_is_a_reason_and_no_failure(notebook: Notebook, tmp_path: Path) -> None:
    """The folder for temporary files has room for some files, and then for none."""
    tmp = tmp_path / "small"
    with disk_in_memory(tmp, "size=16k"):
        done = run(notebook, "--json", tmp=tmp)
        assert list(tmp.iterdir()) == []

    result = read(done.stdout)
    assert {row["state"] for row in result["promises"]} <= {"passed", "not applicable"}
    assert "No space left on device" in done.stderr


def test_without_a_folder_for_temporary_files_nothing_starts(notebook: Notebook, tmp_path: Path) -> None:
    need_root("run as a user without rights")
    notebook.node.open_to_all()
    code = "import tempfile, sys; tempfile.tempdir = '/proc'; sys.argv[1:] = ['selftest']\n"
    code += "from dbx_patch._cli import main; sys.exit(main())"

    done = notebook.node.run([*AS_NOBODY, notebook.python, "-c", code], notebook.environ, check=False)

    assert done.returncode == 1, tmp_path
    assert done.stderr.splitlines()[-1] == "Fix: name a folder that can be written in TMPDIR."
    assert "Traceback" not in done.stderr


@pytest.mark.core
@pytest.mark.parametrize("way", ["shim", "patch_dbx", "none"])
def test_notebook_tries_its_own_process(notebook: Notebook, scratch: Path, way: str) -> None:
    """Also where the shim runs in this process only. Nothing of the projects stays in it."""
    node = notebook.node
    folder = node.project("selftest")
    folder.mkdir(exist_ok=True)
    prepare = "import os, dbx_patch; os.environ.pop('DBX_PATCH_DISABLE', 0); dbx_patch.patch_dbx(); " * (
        way == "patch_dbx"
    )
    prepare += "os.environ['DBX_PATCH_DISABLE'] = '1'\n" * (way == "patch_dbx")
    clean = "\nimport sys; known = [sys.path, [*sys.modules], sys.meta_path, sys.path_importer_cache]\n"
    clean += "live = sys.modules.get('dbx_patch_sitecustomize')\n"
    clean += "known += [vars(part) for part in live.loaded.values()] if live else []\n"
    clean += "assert not ['dbx_patch_selftest_' for each in known if 'dbx_patch_selftest_' in str(each)], known"
    environ = {"TMPDIR": str(scratch)} | ({} if way == "shim" else OFF)

    done = notebook.run(prepare + IN_NOTEBOOK.format(folder=str(folder)) + clean, environ, check=True)

    assert list(folder.iterdir()) == []
    folder.rmdir()
    result = read(done.stdout)
    everywhere = OF_THE_SHIM | OF_THE_SHIM_IN_A_WORKSPACE | OF_THE_SHIM_IN_A_NOTEBOOK
    if way != "patch_dbx":
        assert select(result, "passed" if way == "shim" else "failed") - OF_PYTHON == everywhere
        return
    assert select(result, "failed") == set()
    assert {row["process"] for row in result["promises"] if row["state"] == "passed"} == {HERE}
    assert select(result, "not applicable") == {
        *((name, FRESH) for name in ("start", "edit", "byte-code cache", "mount left alone")),
        ("UDF", HERE),
    }


# Faults in the shim

EDITABLES, FINDERS, HOOKS = "_editables", "_finders", "_hooks"
WORKSPACE_HERE = ("workspace: library code", HERE)
NO_CHECK = "sys.modules['_frozen_importlib_external']._validate_timestamp_pyc = lambda *_: None"
HIDING = """\
            update_namespaces()
        if spec:
            get = spec.loader.get_code
            spec.loader.get_code = lambda name: [code := get(name), shim.hide_file(code)][0]
"""
FAULTS: dict[str, tuple[str, str, str, set[tuple[str, str]]]] = {
    "path lines are ignored": (
        EDITABLES,
        "        root = line  #",
        "        root = ''  #",
        {("path style", FRESH), ("path style", HERE), ("workspace: path style", FRESH)},
    ),
    "finders are not run": (
        FINDERS,
        "        if run_line(editable, is_same):",
        "        if True:",
        {("finder style", FRESH), ("finder style", HERE), ("workspace: finder style", FRESH)},
    ),
    "hooks are not patched": (HOOKS, "globals()[how](find_function(module, name))", "pass", {WORKSPACE_HERE}),
    "hooks are not watched": (
        HOOKS,
        "            if (folder, package) in packages or offers(folder, package):",
        "            if False:",
        {WORKSPACE_HERE},
    ),
    "roots come last": (
        EDITABLES,
        "        order[at:at] = new",
        "        order += new",
        {("order above a copy", FRESH)},
    ),
    "roots come first": (
        EDITABLES,
        "        order[at:at] = new",
        "        order[0:0] = new",
        {("order above a copy", FRESH)},
    ),
    "finders come last": (
        FINDERS,
        "        sys.meta_path.insert(at, ordered)",
        "        sys.meta_path.append(ordered)",
        {("order above a copy", FRESH)},
    ),
    "finders win over the layers above": (
        FINDERS,
        "            above = find_above(layer, fullname, path)\n            if above is None:\n                places",
        "            above = None\n            if above is None:\n                places",
        {("order above a copy", FRESH)},
    ),
    "absent folders are not asked again": (
        FINDERS,
        "        if self.is_absent and monotonic() < self.ask_again_at:",
        "        if self.is_absent:",
        {("late folder", FRESH), ("workspace: late folder", FRESH)},
    ),
    "new installs are not noticed": (
        "",
        "    if time.monotonic() < ask_again_at and sys.path == known_path:",
        "    if known_path:",
        {("install while running", FRESH)},
    ),
    "new installs are noticed once": (
        EDITABLES,
        '        found = shim.load("finders").find_new(found)',
        "        found = []",
        {("install while running", FRESH)},
    ),
    "dist-packages are no layers": (
        "",
        '.endswith(("/site-packages", "/dist-packages"))',
        '.endswith("/site-packages")',
        {("path style", FRESH), ("finder style", FRESH)},
    ),
    "world-writable files are honored": (
        EDITABLES,
        "        if status.st_mode & 0o002:",
        "        if False:",
        {("nothing else", FRESH)},
    ),
    "every line is run": (
        EDITABLES,
        "    if imports:\n",
        "    if imports:\n        exec(line)\n",
        {("nothing else", FRESH)},
    ),
    "starts print": (
        "",
        "        stuck.clear()\n",
        "        stuck.clear()\n        print('started')\n",
        {("start", FRESH)},
    ),
    "packages have no folder": (
        FINDERS,
        "            update_namespaces()\n        return spec",
        "            update_namespaces()\n        if spec: spec.submodule_search_locations = None\n        return spec",
        {("submodule", FRESH)},
    ),
    "modules have no source": (
        FINDERS,
        "            update_namespaces()\n        return spec",
        HIDING + "        return spec",
        {("inspect.getsource", FRESH)},
    ),
    "byte code is not validated": (
        FINDERS,
        "            finder.__class__ = RootFinder",
        "            finder.__class__ = RootFinder\n            " + NO_CHECK,
        {("edit", FRESH)},
    ),
}
"""For each fault: the shim's file, what is replaced in it, by what, and the rows that have to show it."""


@pytest.fixture(scope="module")
def hooked(
    interpreter: Interpreter,
    sitecustomize: bool,  # noqa: FBT001
    wheelhouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Notebook]:
    """A notebook of a node with the shim and a stand-in for Databricks' hook, for tests that break the shim."""
    root = tmp_path_factory.mktemp("faulty").resolve() / "node"
    node = Node(root, interpreter, wheelhouse, sitecustomize=sitecustomize).build()
    node.install_dbx_patch()
    node.install_shim()
    node.project("selftest").mkdir(parents=True)
    provide_stand_ins(node)
    yield node.make_notebook()
    shutil.rmtree(root)


def run_hooked(notebook: Notebook) -> dict[str, Any]:
    """Run the self-test in a process that has the hook."""
    node = notebook.node
    hook = place_hook(node, "dbruntime.wsfs_import_hook", "path-hook")
    code = hook + IN_NOTEBOOK.format(folder=str(node.project("selftest")))
    path = before_path(notebook, node.root / "databricks/stand-ins")
    return read(notebook.run(code, {"PYTHONPATH": path}).stdout)


def test_library_code_passes_behind_the_hook(hooked: Notebook) -> None:
    assert IN_PATH_HOOKS in place_hook(hooked.node, "dbruntime.wsfs_import_hook", "path-hook")
    assert select(run_hooked(hooked), "failed") == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_the_shim_is_seen(hooked: Notebook, fault: str) -> None:
    part, old, new, rows = FAULTS[fault]
    layer = hooked.node.layer(hooked.node.runtime)
    [file] = [
        found for found in layer.glob(f"dbx_patch_sitecustomize{part}*.py") if part or "_sitecustomize." in found.name
    ]
    text, status = file.read_text(), file.stat()
    assert text.count(old) == 1
    try:
        file.write_text(text.replace(old, new))
        result = run_hooked(hooked)
    finally:
        file.write_text(text)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    failed = {(row["promise"], row["process"]) for row in result["promises"] if row["state"] == "failed"}
    assert rows <= failed
    assert not result["passed"]
