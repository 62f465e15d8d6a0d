"""The doctor's checks, each given made-up facts, and what the doctor returns as text, HTML and JSON."""

from __future__ import annotations

import html.parser
import importlib
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from importlib.machinery import FileFinder
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from jsonschema import validate

from dbx_patch import _inventory, _mounts, installer
from dbx_patch._doctor import Check, Diagnosis, Report, Step, _commands, _elsewhere, doctor_for_notebooks
from dbx_patch._doctor import _check_install as install_checks
from dbx_patch._doctor import _check_module as module_checks
from dbx_patch._doctor import _check_shim as shim_checks
from dbx_patch._doctor._case import Case, EditableCase
from dbx_patch._doctor._checks import EDITABLE_CHECKS, OTHER_CHECKS, PROCESS_CHECKS, diagnose, find_names
from dbx_patch._doctor._html import MARKS
from dbx_patch._doctor._report import IMPORTABLE, Cause
from dbx_patch._doctor._trace import find_stale_folder
from dbx_patch._finders import LOADERS
from dbx_patch._html import NO_BREAK
from dbx_patch._inventory import EditableInstalls, Verification
from dbx_patch._mounts import MountState, Trouble
from dbx_patch._process import PatchStatus
from dbx_patch._verify import HookStatus
from dbx_patch.sitecustomize_template import template
from tests.lab.wheels import REPOSITORY
from tests.unit.test_inventory import INSTALL

if TYPE_CHECKING:
    from collections.abc import Callable

LAYER = "/env/lib/python3/site-packages"
PTH = f"{LAYER}/__editable__.testx-0.1.0.pth"
SCHEMA = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text())
PASSES = Step("finder", "somebody.Finder", "passes")
RAISES = Step("finder", "somebody.Finder", "stops", "OSError('out of order')", ends=True)
REFUSES = Step("root", "/project/src", "stops", "Hook refuses it to library code")


@pytest.fixture(autouse=True)
def installed_shim(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the installer reports about this interpreter."""
    status = SimpleNamespace(live=True, file="/env/shim.py", shadowed_by=None)
    monkeypatch.setattr(installer, "status", lambda _python: status)
    return status


@pytest.fixture
def case(tmp_path: Path) -> EditableCase:
    """A project that is installed editable, is there, is on the path, and yet is not found."""
    root = tmp_path / "project/src"
    (root / "testx").mkdir(parents=True)
    (root / "testx/__init__.py").touch()
    (root / "testx/functions.py").touch()
    install = replace(INSTALL, project=str(root.parent), layer=LAYER, pth=PTH, importable=False)
    return EditableCase(
        module="testx",
        installs=(install,),
        install=install,
        editables=(
            {"layer": LAYER, "pth": PTH, "line": str(root), "root": str(root), "finder": "", "file": "", "written": 0},
        ),
        lines=(f"{PTH}, line 1: {root}",),
        path=("/driver", "/above", LAYER, str(root), "/below"),
    )


def found_in(case: EditableCase) -> str:
    """Return the file of the editable package."""
    return f"{case.roots[0]}/testx/__init__.py"


def cause_of(case: EditableCase) -> Cause:
    """Return the cause that all checks, in their order, come to."""
    return diagnose(case, EDITABLE_CHECKS).cause


# Each check


def test_no_check_but_the_last_finds_something_where_nothing_is_wrong(case: EditableCase) -> None:
    assert [check.__name__ for _, check in EDITABLE_CHECKS if check(case)] == ["report_unknown"]
    assert [check.__name__ for _, check in OTHER_CHECKS if check(Case(module="nothing"))] == ["report_not_installed"]
    assert [check.__name__ for _, check in PROCESS_CHECKS if check(Case())] == ["report_nothing_installed"]


def test_editable_copy_is_importable_with_what_fails_elsewhere(case: EditableCase) -> None:
    found = module_checks.check_importable(replace(case, found=found_in(case)))

    assert found is not None
    assert (found.cause, found.healthy, found.command) == ("driver only", True, "")
    assert found.summary == f"importable from {found_in(case)}"
    assert found.evidence[0].startswith(f"{case.install.project} is on the driver only")


def test_part_that_a_package_lacks(case: EditableCase) -> None:
    case = replace(case, found=found_in(case))

    missing = module_checks.check_missing_part(replace(case, module="testx.function.more"))

    assert module_checks.check_missing_part(replace(case, module="testx.functions")) is None
    assert missing is not None
    lacks = "the package is found, but has no testx.function; did you mean testx.functions?"
    assert (missing.cause, missing.summary) == ("no such module", lacks)
    assert missing.evidence == (f"package: {found_in(case)}",)


def test_file_that_loads_the_shim_is_never_to_be_moved_away(case: EditableCase) -> None:
    """A project's `sitecustomize` that does not run must get another name, whatever is in the file that does run."""
    install = replace(case.install, names=("sitecustomize",))
    for found in (f"{LAYER}/sitecustomize.py", "/usr/lib/python3/sitecustomize.py", "/below/sitecustomize/__init__.py"):
        report = diagnose(replace(case, module="sitecustomize", install=install, found=found), EDITABLE_CHECKS)

        assert (report.cause, report.command) == ("shadowed", "")
        assert "rename yours" in report.summary
        assert report.evidence[0] == f"imported from: {found}"
    own = f"{case.roots[0]}/sitecustomize.py"
    assert diagnose(replace(case, module="sitecustomize", install=install, found=own), EDITABLE_CHECKS).healthy


@pytest.mark.parametrize("name", ["json", "dbruntime", "sys_path_init", "scripts"])
def test_module_of_python_or_databricks_is_not_to_be_moved(case: EditableCase, name: str) -> None:
    found = module_checks.check_reserved_name(replace(case, module=name, found="/usr/lib/it.py"))

    assert found is not None
    assert (found.cause, found.command) == ("shadowed", "")
    assert found.summary.endswith("rename yours")


def test_copy_that_was_imported_before_is_cured_by_a_restart_unless_it_is_above(case: EditableCase) -> None:
    assert cause_of(replace(case, loaded="/old/testx.py")) == "imported before"
    assert cause_of(replace(case, loaded="/driver/testx.py", found="/driver/testx.py")) == "shadowed"


def test_copy_above_is_shadowing_with_or_without_the_shim(case: EditableCase) -> None:
    above, below = "/above/testx/__init__.py", "/below/testx.py"

    found = module_checks.check_copy_above(replace(case, found=above))

    assert found is not None
    assert (found.cause, found.command) == ("shadowed", "mv /above/testx /above/testx.old")
    assert found.evidence[0] == f"imported from: {above}"
    assert module_checks.check_copy_above(replace(case, found=below)) is None
    assert cause_of(replace(case, found=above, shim="absent", disabled=True)) == "shadowed"
    assert cause_of(replace(case, found=below, shim="absent", disabled=True)) == "shim turned off"
    assert cause_of(replace(case, found=below)) == "shadowed"


@pytest.mark.parametrize(
    ("facts", "cause", "command"),
    [
        ({"shim": "absent", "without_site": True, "disabled": True}, "started without site", ""),
        ({"shim": "absent", "disabled": True}, "shim turned off", "unset DBX_PATCH_DISABLE"),
        ({"shim": "stopped"}, "patches removed", "import dbx_patch; dbx_patch.patch_dbx()"),
        ({"shim": "absent"}, "started before", ""),
    ],
)
def test_process_in_which_the_shim_does_not_run(
    case: EditableCase, facts: dict[str, Any], cause: Cause, command: str
) -> None:
    found = diagnose(replace(case, **facts, read_by_site=False), EDITABLE_CHECKS)

    assert (found.cause, found.command) == (cause, command)
    assert found.evidence[-1] == f"Python does not read this .pth file: {PTH}"
    assert diagnose(Case(**facts), PROCESS_CHECKS).cause == cause


def test_shim_that_is_live_is_not_blamed_for_what_was_set_later(case: EditableCase) -> None:
    assert cause_of(replace(case, shim="live", disabled=True, without_site=True)) == "unknown"


@pytest.mark.parametrize(
    ("status", "cause", "evidence"),
    [
        ({"live": True}, "started before", "shim: /env/shim.py"),
        ({"file": None}, "shim not installed", f"installed by: {PTH}"),
        ({"shadowed_by": "/usr/lib/sitecustomize.py"}, "shim not live", "shadowed by: /usr/lib/sitecustomize.py"),
        ({}, "shim not live", "missing or broken: /env/shim.py"),
    ],
)
def test_installation_that_does_not_reach_this_process(
    case: EditableCase, installed_shim: SimpleNamespace, status: dict[str, Any], cause: Cause, evidence: str
) -> None:
    vars(installed_shim).update({"live": False} | status)

    found = shim_checks.check_installation(replace(case, shim="absent"))

    assert found is not None
    assert (found.cause, found.evidence[0]) == (cause, evidence)


def test_interpreter_that_the_installer_can_not_start(case: EditableCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_python: str) -> None:
        msg = "it does not start\nFix: repair it"
        raise installer.InstallerError(msg)

    monkeypatch.setattr(installer, "status", refuse)

    found = shim_checks.check_installation(replace(case, shim="absent"))

    assert found is not None
    assert (found.cause, found.evidence[:2]) == ("shim not live", ("it does not start", "Fix: repair it"))


EVENTS: tuple[tuple[str, str, Cause], ...] = (
    ("part replaced", "/env/part.py", "started before"),
    ("part unusable", "/env/part.py", "shim broken"),
    ("step failed", "honor_changes", "shim broken"),
    ("import failed", "testx", "shim broken"),
    ("layer refused", LAYER, "refused"),
    ("import line failed", PTH, "start-up line failed"),
)


@pytest.mark.parametrize(("kind", "subject", "cause"), EVENTS)
def test_event_leads_to_its_diagnosis_whatever_its_text_is(
    case: EditableCase, kind: str, subject: str, cause: Cause
) -> None:
    for text in ("the text of today", "something else", ""):
        events: Any = (("root honored", "/elsewhere", "noise"), (kind, subject, text))
        assert cause_of(replace(case, events=events)) == cause


def test_part_that_is_missing_after_an_update_needs_a_restart(case: EditableCase) -> None:
    events: Any = (("part unusable", "/env/part.py", "any words"),)

    assert cause_of(replace(case, events=events, shim_replaced=True)) == "started before"
    assert cause_of(replace(case, shim_replaced=True)) == "unknown"  # the process has all parts that it needs


@pytest.mark.parametrize("kind", ["layer refused", "import line failed"])
def test_event_about_another_install_is_not_this_ones(case: EditableCase, kind: str) -> None:
    events: Any = ((kind, "/elsewhere", "testx " + PTH),)

    assert cause_of(replace(case, events=events)) == "unknown"


def test_project_that_was_imported_and_then_installed_again_elsewhere_needs_a_restart(case: EditableCase) -> None:
    first = "/first/testx/__init__.py"

    assert cause_of(replace(case, loaded=first, found=first)) == "imported before"
    assert cause_of(replace(case, found=found_in(case))) == "driver only"  # it had not been imported


def test_listing_that_python_remembers_is_older_than_the_module(
    case: EditableCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a change within one tick of the clock, or after an outage of the mount."""
    part = Path(found_in(case)).with_name("functions.py")
    package = str(part.parent)
    part.unlink()
    remembered = FileFinder(package, *LOADERS)
    listed_at = part.parent.stat().st_mtime_ns
    assert remembered.find_spec("functions") is None
    part.touch()
    os.utime(package, ns=(listed_at, listed_at))
    monkeypatch.setattr(sys, "path", [*sys.path, case.roots[0]])
    monkeypatch.setattr(sys, "path_importer_cache", {package: remembered, case.roots[0]: None})

    below = find_stale_folder("testx.functions", found_in(case), case.roots)
    top = find_stale_folder("testx", "", case.roots)
    found = diagnose(replace(case, found=found_in(case), module="testx.functions", stale=below), EDITABLE_CHECKS)
    importlib.invalidate_caches()

    assert (below, top) == (package, case.roots[0])
    assert (found.cause, found.evidence) == ("stale cache", (f"remembered: {package}",))
    assert found.command == "import importlib; importlib.invalidate_caches()"
    assert find_stale_folder("testx.functions", found_in(case), case.roots) == ""
    assert find_stale_folder("testx", "", case.roots) == ""
    assert find_stale_folder("testx.absent", found_in(case), case.roots) == ""


def test_start_up_line_that_lacks_a_package_is_cured_by_that_package(case: EditableCase) -> None:
    lacks = "Traceback (most recent call last):\n  …\nModuleNotFoundError: No module named 'a_helper.part'\n"
    events: Any = (("import line failed", PTH, f"import x\n{lacks}"),)

    found = install_checks.check_import_line(replace(case, events=events))

    assert found is not None
    assert found.command.endswith(" -m pip install a_helper")
    assert found.evidence[-1] == "ModuleNotFoundError: No module named 'a_helper.part'"


def test_folder_that_was_renamed_and_tree_of_links_that_was_removed(case: EditableCase) -> None:
    root = Path(case.roots[0])
    root.rename(root.with_name("srcs"))

    absent = install_checks.check_folders(case)
    links = install_checks.check_folders(replace(case, install=replace(case.install, style="link tree")))

    assert absent is not None
    assert absent.cause == "folder absent"
    assert absent.evidence == (
        f"missing: {root}",
        f"exists: {root.parent}",
        f"similar name: {root.with_name('srcs')}",
        *case.lines,
    )
    assert absent.command.endswith(" -m pip install -e <the folder of testx>")
    assert links is not None
    assert (links.cause, links.command) == (
        "links missing",
        f"{sys.executable} -m pip install -e {case.install.project}",
    )


@pytest.fixture
def on_mount(case: EditableCase, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mount point that the project is below, by the kernel's list. It answers."""
    mount = Path(case.roots[0]).parents[1].resolve()
    monkeypatch.setattr(template.load("folders"), "remote_folders", ("", str(mount)))
    monkeypatch.setattr(_mounts, "answers", {str(mount): "answers"})
    return mount


@pytest.mark.parametrize(
    ("state", "cause", "summary"),
    [
        ("does not answer", "mount not answering", "does not answer; an import that asks it waits until it does"),
        (
            "no credential",
            "no credential",
            "refuses this process, which has no credential for it yet; wait, then import again",
        ),
        ("away", "mount away", "is away; wait, then import again"),
    ],
)
def test_mount_that_does_not_answer_as_it_should_explains_everything_but_a_copy_above(
    case: EditableCase, state: MountState, cause: Cause, summary: str
) -> None:
    case = replace(case, troubles=(Trouble("/Workspace/x/src", "/Workspace", state),), shim="absent", disabled=True)

    found = diagnose(case, EDITABLE_CHECKS)

    assert (found.cause, found.summary, found.command) == (cause, f"the mount /Workspace {summary}", "")
    assert found.evidence == ("folder: /Workspace/x/src", *case.lines)
    assert cause_of(replace(case, loaded=found_in(case), found=found_in(case))) == cause  # its parts are on the mount
    assert cause_of(replace(case, found="/above/testx.py")) == "shadowed"


def test_entries_that_were_not_searched_explain_what_is_not_found(case: EditableCase) -> None:
    away = Trouble("/Volumes/a", "/Volumes", "away")
    silent = Trouble("/Workspace/x", "/Workspace", "does not answer")
    note = "the mount /Workspace does not answer, and was not searched"
    case = replace(case, unsearched=(away, silent))

    found = diagnose(case, EDITABLE_CHECKS)
    other = diagnose(Case(module="other", unsearched=(away,)), OTHER_CHECKS)
    healthy = diagnose(Case(module="json", found="/lib/json.py", unsearched=(away, silent)), OTHER_CHECKS)

    assert found.cause == "mount not answering"
    assert found.evidence == ("not searched: /Volumes/a", "not searched: /Workspace/x", *case.lines)
    assert (other.cause, other.evidence) == ("mount away", ("not searched: /Volumes/a",))
    assert (healthy.cause, healthy.evidence) == ("healthy", (note,))
    assert cause_of(replace(case, found=found_in(case))) == "driver only"
    assert cause_of(replace(case, shim="stopped")) == "patches removed"
    assert cause_of(replace(case, shim="absent")) == "mount not answering"  # a new interpreter may not start either
    assert cause_of(replace(case, shim="absent", unsearched=(away,))) == "started before"
    assert diagnose(Case(unsearched=(silent,)), PROCESS_CHECKS).cause == "mount not answering"


def test_nothing_on_a_mount_is_to_be_changed_or_installed_again(
    case: EditableCase, on_mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(case.roots[0])
    refusing = {"": root.parent}
    monkeypatch.setattr(install_checks, "find_refusing", lambda _folder: refusing[""])
    raised: list[OSError] = [PermissionError(13, "Permission denied")]

    def fail(_folder: str) -> list[str]:
        raise raised[0]

    with monkeypatch.context() as patch:
        patch.setattr("os.listdir", fail)
        below = install_checks.check_folders(case)
        refusing[""] = on_mount
        whole = install_checks.check_folders(case)
        refusing[""] = on_mount.parent
        above = install_checks.check_folders(case)
        raised[0] = OSError(5, "Input/output error")
        error = install_checks.check_folders(case)
    shutil.rmtree(root.parent)
    (on_mount / "another").mkdir()
    absent = install_checks.check_folders(case)
    (on_mount / "another").rmdir()
    empty = install_checks.check_folders(case)

    every = {"below": below, "whole": whole, "above": above, "error": error, "absent": absent, "empty": empty}
    assert {name: found.cause for name, found in every.items() if found} == {
        "below": "folder unreadable",
        "whole": "no credential",
        "above": "no credential",
        "error": "mount away",
        "absent": "folder absent",
        "empty": "no credential",
    }
    commands = {name: found.command for name, found in every.items() if found and found.command}
    assert [*commands] == ["absent"]


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (PermissionError(13, "Permission denied"), "this user has no permission to read the project's folder"),
        (OSError(5, "Input/output error"), "the file system returns an error for the project's folder"),
    ],
)
def test_folder_that_can_not_be_listed(
    case: EditableCase, monkeypatch: pytest.MonkeyPatch, error: OSError, summary: str
) -> None:
    def refuse(_folder: str) -> list[str]:
        raise error

    monkeypatch.setattr("os.listdir", refuse)

    found = install_checks.check_folders(case)

    assert found is not None
    assert (found.cause, found.evidence[0]) == ("folder unreadable", f"{case.roots[0]}: {error.strerror}")
    assert found.summary.startswith(summary)


def test_install_whose_names_are_not_known_is_examined_for_a_missing_folder(
    case: EditableCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless = replace(case.install, names=(), project="/nowhere/testx")
    monkeypatch.setattr(install_checks, "read_lines", lambda _install: ())

    found = diagnose(Case(module="test_x", installs=(nameless,)), OTHER_CHECKS)

    assert (found.cause, found.evidence[0]) == ("folder absent", "missing: /nowhere/testx")


def test_root_and_finder_that_were_removed(case: EditableCase) -> None:
    root = install_checks.check_root_removed(replace(case, path=("/driver", LAYER)))
    finder = install_checks.check_finder_removed(replace(case, lost_finder=True))

    assert root is not None
    assert (root.cause, root.summary) == ("off the path", f"{case.roots[0]} was removed from sys.path")
    assert finder is not None
    assert (finder.cause, finder.summary) == ("off the path", "its finder was removed from sys.meta_path")


@pytest.mark.parametrize(
    ("make", "cause", "command"),
    [
        (lambda pth: pth.chmod(0o666), "refused", "chmod o-w {}"),
        (lambda pth: pth.write_bytes(b"\0"), "refused", "-m pip install -e <the folder of its project>"),
        (lambda pth: (pth.unlink(), pth.mkdir()), "refused", "-m pip install -e <the folder of its project>"),
    ],
    ids=["world-writable", "no text", "no file"],
)
def test_pth_file_that_is_refused_is_judged_by_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], cause: Cause, command: str
) -> None:
    layer = tmp_path / "site-packages"
    layer.mkdir()
    pth = layer / "testx.pth"
    pth.write_text("/nowhere\n")
    monkeypatch.setattr(_inventory, "find_layers", lambda: [str(layer)])
    assert install_checks.check_refused_files(Case(module="testx")) is None

    make(pth)
    found = install_checks.check_refused_files(Case(module="testx"))

    assert found is not None
    assert found.cause == cause
    assert found.command.endswith(command.format(pth))
    assert found.evidence[0].startswith(f"{pth}: ")


def test_pth_file_that_is_a_link_into_a_world_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, folder = tmp_path / "site-packages", tmp_path / "open"
    layer.mkdir()
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "testx.pth").touch()
    (layer / "testx.pth").symlink_to(folder / "testx.pth")
    monkeypatch.setattr(_inventory, "find_layers", lambda: [str(layer)])

    found = install_checks.check_refused_files(Case(module="testx"))

    assert found is not None
    assert (found.cause, found.command) == ("refused", f"chmod o-w {folder}")
    (folder / "plain.pth").touch()
    assert install_checks.find_world_writable(folder / "plain.pth") is None


def test_finder_that_raises_ends_the_import(case: EditableCase) -> None:
    found = module_checks.check_failing_finder(replace(case, steps=(PASSES, RAISES)))

    assert found is not None
    assert (found.cause, found.evidence) == ("finder failed", ("OSError('out of order')",))
    assert "somebody.Finder" in found.summary


def test_hooks_are_judged_by_their_state(case: EditableCase) -> None:
    hooks = {state: HookStatus("a.hook", state, "any words") for state in ("patched", "missed", "incompatible")}

    def ask(*states: str, steps: tuple[Step, ...] = ()) -> Diagnosis:
        return diagnose(replace(case, hooks=tuple(hooks[state] for state in states), steps=steps), EDITABLE_CHECKS)

    assert ask("patched").cause == "unknown"
    missed = ask("patched", "incompatible", "missed", steps=(REFUSES,))
    assert (missed.cause, missed.command) == ("hook incompatible", "import dbx_patch; dbx_patch.patch_dbx()")
    assert missed.evidence == (str(REFUSES)[2:], "a.hook: missed: any words")
    unknown = ask("incompatible")
    assert (unknown.cause, unknown.evidence) == ("hook incompatible", ("a.hook: incompatible: any words",))
    assert unknown.command.endswith(" -m dbx_patch fingerprint")
    assert ask("patched", steps=(REFUSES,)).cause == "hook incompatible"


def test_package_that_was_renamed_in_its_project(case: EditableCase) -> None:
    folder = Path(case.roots[0], "testx")
    folder.rename(folder.with_name("testy"))

    found = diagnose(case, EDITABLE_CHECKS)

    assert (found.cause, found.evidence) == ("no such module", case.lines)
    assert found.summary.endswith(" any more; did you mean testy?")


def test_module_that_no_editable_install_offers(case: EditableCase) -> None:
    found = diagnose(Case(module="json", found="/lib/json/__init__.py"), OTHER_CHECKS)
    close = diagnose(Case(module="testz", installs=case.installs), OTHER_CHECKS)

    assert (found.cause, found.healthy) == ("healthy", True)
    assert (close.cause, close.summary.partition("; ")[2]) == ("not installed", "did you mean testx?")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("nmpy", "numpy"),
        ("Numpy.linalg", "numpy.linalg"),
        ("scikit_larn", "sklearn"),
        ("scikit_learn", "sklearn"),
        ("jsom", "json"),
        ("nothing_like_it", ""),
    ],
)
def test_importable_name_that_is_close_is_suggested(tmp_path: Path, asked: str, meant: str) -> None:
    for name in ("numpy", "sklearn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    info = tmp_path / "scikit_learn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: scikit-learn\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("sklearn\n")
    sys.path.append(str(tmp_path))
    try:
        found = diagnose(Case(module=asked, path=(str(tmp_path),)), OTHER_CHECKS)
    finally:
        sys.path.remove(str(tmp_path))

    assert found.cause == "not installed"
    assert found.summary.partition("; ")[2] == (meant and f"did you mean {meant}?")


# Their order


def test_what_comes_first_on_the_way_of_an_import_is_the_diagnosis(case: EditableCase) -> None:
    """Several things are wrong at once. Each is fixed in turn, and the next one is reported."""
    root = Path(case.roots[0])
    root.rename(root.with_name("gone"))
    events: Any = [(kind, subject, "") for kind, subject, _ in EVENTS]
    hooks = (HookStatus("a.hook", "missed"), HookStatus("b.hook", "incompatible"))
    case = replace(case, shim="absent", disabled=True, loaded="/old/testx.py", events=tuple(events), hooks=hooks)
    case = replace(case, path=(LAYER,), steps=(RAISES,))
    causes = []

    for fix in (
        {"loaded": ""},
        {"disabled": False},
        {"shim": "live"},
        {"events": tuple(events[1:])},
        {"events": tuple(events[4:])},
        {"events": tuple(events[5:])},
        {"events": ()},
        "restore the folder",
        {"path": (LAYER, str(root))},
        {"steps": ()},
        {"hooks": hooks[1:]},
        {"hooks": ()},
    ):
        causes.append(cause_of(case))
        if isinstance(fix, dict):
            case = replace(case, **fix)
        else:
            root.with_name("gone").rename(root)
    causes.append(cause_of(case))

    assert causes == [
        "imported before",
        "shim turned off",
        "started before",  # the process is older than the installation
        "started before",  # the files on disk are of another version
        "shim broken",
        "refused",
        "start-up line failed",
        "folder absent",
        "off the path",
        "finder failed",
        "hook incompatible",
        "hook incompatible",
        "unknown",
    ]


def test_name_of_a_project_is_that_of_its_modules(case: EditableCase) -> None:
    installs = (replace(case.install, name="the-project", names=("one", "two")), case.install)

    assert list(find_names("", installs)) == ["one", "two", "testx"]
    assert list(find_names("", (replace(case.install, name="some-project", names=()),))) == ["some_project"]
    assert find_names("The.Project", installs) == dict.fromkeys(["one", "two"], installs[0])
    assert list(find_names("other.part", installs)) == ["other.part"]
    assert list(find_names("the.project", (*installs, replace(case.install, names=("the",))))) == ["the.project"]
    with pytest.raises(ValueError, match="'a b' is neither a module's name nor the name of a project"):
        find_names("a b", installs)


# The commands


def test_commands_in_a_notebook_are_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_commands, "in_notebook", lambda: True)
    monkeypatch.setattr(_commands, "find_dbutils", SimpleNamespace)
    restart = "\ndbutils.library.restartPython()"

    assert _commands.shell("chmod", "o-w", "/a b", restart=True) == f"!chmod o-w '/a b'{restart}"
    assert _commands.pip_install("a_helper", restart=True) == f"%pip install a_helper{restart}"
    assert _commands.install_from("the folder") == "%pip install -e <the folder>"
    assert _commands.pip_uninstall("testx", f"{sys.prefix}/lib/site-packages") == "%pip uninstall --yes testx"
    assert _commands.install_shim() == "import dbx_patch; dbx_patch.patch_dbx()"
    assert _commands.reinstall_shim().startswith("!")
    assert _commands.reinstall_shim().endswith(f" --force{restart}")


def test_commands_in_a_shell_name_the_interpreter() -> None:
    assert _commands.restart_python() == ""
    assert _commands.pip_install("-e", "/a b") == f"{sys.executable} -m pip install -e '/a b'"
    elsewhere = _commands.pip_uninstall("testx", "/other/lib/python3/site-packages")
    assert elsewhere == f"{sys.executable} -m pip --python /other uninstall --yes testx"
    assert _commands.install_shim().endswith("-m dbx_patch.install")


# The report


HOSTILE = "<script>alert(1)</script>&'\" onload=x"
ILL = Diagnosis(
    f"testx{HOSTILE}",
    "hook incompatible",
    f"a hook refuses it {HOSTILE}",
    (f"evidence {HOSTILE}",),
    f"first {HOSTILE}\nsecond",
    (Step("hook", HOSTILE, "stops", HOSTILE), Step("root", "", "found", HOSTILE)),
    (Check("mount", "passed"), Check("shim", "failed"), Check("hooks", "not reached")),
)
WELL = Diagnosis("testx", "healthy", "importable from /src/testx.py")


def test_text_has_the_fix_on_lines_of_its_own() -> None:
    ill = Diagnosis("testx", "refused", "it is ignored", ("a.pth",), "!chmod o-w a.pth\nrestart()", checks=ILL.checks)

    assert str(Report((WELL, ill))).splitlines() == [
        "testx: importable from /src/testx.py",
        "✓ mount  ✗ shim  – hooks",  # noqa: RUF001  # the mark
        "testx: it is ignored",
        "  a.pth",
        "  Fix: !chmod o-w a.pth",
        "       restart()",
    ]
    assert str(Diagnosis("", "healthy", "nothing is wrong")) == "this process: nothing is wrong"
    assert str(Report((WELL,), note="no node")).splitlines()[-1] == "Note: no node."


def test_report_on_a_notebook_comes_before_what_differs_here() -> None:
    ill = Diagnosis("testx", "shim not installed", "the start-up shim is not installed here")

    assert str(Report((ill,), "notebook", "/python", (WELL,))).splitlines() == [
        "In a new notebook:",
        "testx: the start-up shim is not installed here",
        f"In this interpreter, {sys.executable}:",
        "testx: importable from /src/testx.py",
    ]
    assert str(Report((WELL,), "notebook")).splitlines() == ["In a new notebook:", str(WELL)]
    written = Report((ill,), "notebook", "/python", (WELL,)).to_json()
    validate(json.loads(json.dumps(written)), SCHEMA)
    assert (written["judged"], written["python"], written["healthy"]) == ("notebook", "/python", False)
    assert [found["cause"] for found in written["here"]] == ["healthy"]


@pytest.mark.parametrize(
    ("hangs", "reason"), [(False, "this is no Databricks node: "), (True, "a mount does not answer, ")]
)
def test_without_a_notebook_this_interpreter_is_judged_and_the_report_says_why(
    monkeypatch: pytest.MonkeyPatch, *, hangs: bool, reason: str
) -> None:
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    monkeypatch.setattr(_elsewhere, "any_hangs", lambda: hangs)

    report = doctor_for_notebooks("json")

    assert (report.judged, report.diagnoses[0].cause, report.here) == ("this interpreter", "healthy", ())
    assert report.note.startswith(reason)
    assert report.note.endswith("; this interpreter was judged, and notebooks were not")
    with pytest.raises(ValueError, match="'a b' is neither"):
        doctor_for_notebooks("a b")


def test_each_check_has_its_mark_up_to_the_cause(case: EditableCase) -> None:
    ill = diagnose(replace(case, shim="stopped"), EDITABLE_CHECKS).checks
    well = diagnose(replace(case, found=found_in(case)), EDITABLE_CHECKS).checks
    unknown = diagnose(case, EDITABLE_CHECKS).checks

    names = [check.name for check in ill]
    at = names.index("shim")
    assert {check.state for check in ill[:at]} == {"passed"}
    assert (ill[at].state, {check.state for check in ill[at + 1 :]}) == ("failed", {"not reached"})
    assert len(names) == len(set(names)) == len({name for name, _ in EDITABLE_CHECKS}) - 1  # the last is the import
    assert [str(check) for check in well[-2:]] == ["✓ cache", "✓ import"]
    assert {check.state for check in unknown[:-1]} == {"passed"}
    assert str(unknown[-1]) == "✗ import"
    assert [str(check) for check in diagnose(Case(), PROCESS_CHECKS).checks] == ["✓ shim", "✓ mounts", "✓ .pth files"]


def test_json_is_what_the_schema_describes() -> None:
    report = Report((WELL, ILL))

    written = report.to_json()

    validate(json.loads(json.dumps(written)), SCHEMA)
    assert (written["healthy"], [found["healthy"] for found in written["diagnoses"]]) == (False, [True, False])
    assert get_args(Cause)[: len(IMPORTABLE)] == tuple(cause for cause in get_args(Cause) if cause in IMPORTABLE)


class Reader(html.parser.HTMLParser):
    """Reads a document as a browser does."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_escaped_and_loads_nothing() -> None:
    document = Report((WELL, ILL))._repr_html_()

    reader = Reader(document)
    assert reader.open == []
    blocks = {"style", "div", "h4", "p", "ul", "ol", "li", "pre", "details", "summary"}
    assert set(reader.tags) <= blocks | {"span", "code", "b", "br", "small"}
    assert reader.attributes <= {"class"}
    assert not re.search(r"https?:|url\(|@import", document)
    assert reader.text.count(HOSTILE) == 7 + 2  # the step that stops the import is shown twice
    assert reader.text.count("◀ stops here") == 2
    assert "To fix it:first " in reader.text


def test_html_has_the_checks_then_the_cause_and_folds_the_way_of_the_import() -> None:
    document = Report((replace(ILL, steps=(PASSES, *ILL.steps)),))._repr_html_()

    shown, _, folded = document.replace(NO_BREAK, " ").partition("<details>")
    assert shown.index("✗ shim") < shown.index("a hook refuses it") < shown.index("◀ stops here")
    assert shown.count('class="step') == 1
    assert [folded.count(f'class="step {state}">{mark} ') for state, mark in MARKS.items()] == [1, 1, 1]
    assert len(set(MARKS.values())) == 3
    assert "(the working folder)" in folded


@pytest.mark.parametrize(
    "shown",
    [
        Report((WELL, ILL)),
        Report((WELL,), "notebook", here=(ILL,), note="x"),
        Report((Diagnosis("", "healthy", "nothing is wrong"),)),
        Verification(ok=True, installs=EditableInstalls()),
        PatchStatus(live=False, version=None, file=None, hooks=()),
        PatchStatus(live=True, version="1", file="/f", hooks=(HookStatus("a.hook", "armed"),)),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_html_has_nothing_empty_and_nothing_of_a_fixed_width(
    shown: Report | Verification | PatchStatus,
) -> None:
    document = shown._repr_html_()

    assert re.findall(r"<(\w+)[^>]*>\s*</\1>", document.replace("<th></th>", "")) == []  # the marks need no head
    # Every width gives way, and every text can be broken: nothing is wider than the page, however narrow that is.
    style = document.partition("</style>")[0]
    assert re.findall(r"(?<!max-)(?:width|nowrap)", style) == []
    assert re.search(r"\.dbxp \{[^}]*overflow-wrap: anywhere", style)
    assert re.search(r"\.dbxp pre \{[^}]*white-space: pre-wrap", style)
    # Colors come from the page, or are mixed with its own: it can be light or dark.
    assert (
        re.findall(r"[{;]\s*(?:color|background): (?!inherit|none|#\w+22|#\w+; color: color-mix|color-mix)", style)
        == []
    )


def test_step_that_stops_the_import_is_marked() -> None:
    hook, root = Step("hook", "a.hook", "stops"), REFUSES

    assert replace(ILL, steps=(hook, root)).culprit is hook
    assert replace(ILL, cause="shadowed", steps=(hook, root)).culprit is root
    assert replace(WELL, steps=(hook, root)).culprit is None
