"""The shim's journal: each kind of event is used, is provoked here, and is printed with DBX_PATCH_DEBUG=1.

The doctor matches kinds, so these tests name all of them. They don't look at an event's text, which is for people.
"""

from __future__ import annotations

import ast
import posix
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dbx_patch import sitecustomize_template

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(sitecustomize_template.__path__[0])
FILES = [FOLDER / sitecustomize_template.SHIM]
FILES += [FOLDER / f"{FILES[0].stem}_{part}.py" for part in sitecustomize_template.PARTS]


def list_kinds() -> set[str]:
    """Return the kinds of `EventKind`. It is defined for type checkers only, so it is read from the source."""
    tree = ast.parse(FOLDER.joinpath("__init__.py").read_text())
    (value,) = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EventKind"
    ]
    assert isinstance(value, ast.Subscript)
    return set(ast.literal_eval(value.slice))


def list_logged_kinds() -> list[str]:
    """Return the kind that each call in the shim's code logs, in the order of the code."""
    at = {"log": 0, "set_hook_state": 1}
    calls = [node for file in FILES for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    named = [(call, ast.unparse(call.func).rpartition(".")[2]) for call in calls]
    kinds = [call.args[at[name]] for call, name in named if name in at]
    # `set_hook_state` itself passes on the kind that it was given.
    return [ast.literal_eval(kind) for kind in kinds if not (isinstance(kind, ast.Name) and kind.id == "kind")]


KINDS = sorted(list_kinds())


# How each kind is provoked. Each function returns the event's subject.
# ruff: noqa: ARG001 - all of them are given a shim and a folder


def raise_error(*_: object) -> None:
    """Fail as a mount does."""
    raise OSError(5, "Input/output error")


def write_pth(folder: Path, text: str, mode: int = 0o644) -> str:
    """Write a `.pth` file into the layer, and return its path."""
    pth = folder / "site-packages/_editable_impl_p.pth"
    pth.parent.mkdir(exist_ok=True)
    pth.write_text(text)
    pth.chmod(mode)
    return str(pth)


def honor_layer(shim: Any, folder: Path) -> None:
    """Honor the installs of the layer alone."""
    sys.path[:] = [*sys.path, f"{folder}/site-packages"]
    shim.load("editables").honor({f"{folder}/site-packages": ["_editable_impl_p.pth"]})


FINDER = "import sys\nclass Finder:\n    find_spec = {find_spec}\nsys.meta_path.append(Finder)\n"


def honor_finder(shim: Any, folder: Path, code: str) -> str:
    """Honor an install with a finder whose module has some code."""
    pth = write_pth(folder, "import _editable_impl_p\n")
    folder.joinpath("site-packages/_editable_impl_p.py").write_text(code)
    try:
        honor_layer(shim, folder)
    finally:
        sys.modules.pop("_editable_impl_p", None)
    return pth


def refuse_file(shim: Any, folder: Path) -> str:
    pth = write_pth(folder, "/root\n", 0o666)
    honor_layer(shim, folder)
    return pth


def find_no_file(shim: Any, folder: Path) -> str:
    pth = Path(write_pth(folder, ""))
    pth.unlink()
    pth.symlink_to("nowhere")
    honor_layer(shim, folder)
    return str(pth)


def fail_finder(shim: Any, folder: Path) -> str:
    honor_finder(shim, folder, FINDER.format(find_spec="lambda *_: 1 / 0"))
    with pytest.raises(ZeroDivisionError):
        shim.find_watched("any_module")
    (turn,) = shim.load("turns").turns
    return repr(turn[2])


def honor_finders(shim: Any, folder: Path) -> str:
    return honor_finder(shim, folder, FINDER.format(find_spec="lambda *_: None"))


def miss_finder(shim: Any, folder: Path) -> str:
    pth = write_pth(folder, "import _editable_impl_p\n")
    honor_layer(shim, folder)
    return pth


def meet_unknown_hook(shim: Any, folder: Path) -> str:
    shim.load("hooks").patch("sys_path_init", ModuleType("sys_path_init"))
    assert shim.hook_states["sys_path_init"].startswith("incompatible: ")
    return "sys_path_init"


def patch_hook(shim: Any, folder: Path) -> str:
    module = ModuleType("sys_path_init")
    exec("def patch_sys_path_with_developer_paths(): pass", vars(module))
    shim.load("hooks").patch("sys_path_init", module)
    assert shim.hook_states["sys_path_init"] == "patched"
    return "sys_path_init"


def fail_import(shim: Any, folder: Path) -> str:
    shim.honor_changes = raise_error
    assert shim.find_watched("any_module") is None
    return "any_module"


def fail_import_line(shim: Any, folder: Path) -> str:
    return honor_finder(shim, folder, "raise RuntimeError\n")


def remove_root(shim: Any, folder: Path) -> str:
    for root in ("first", "second"):
        write_pth(folder, f"{folder}/{root}\n")
        honor_layer(shim, folder)
    assert f"{folder}/first" not in sys.path
    return f"{folder}/first"


def refuse_layer(shim: Any, folder: Path) -> str:
    write_pth(folder, f"{folder}/root\n")
    layer = folder / "site-packages"
    layer.chmod(0o777)
    sys.path[:] = [str(layer)]
    shim.honor_changes()
    return str(layer)


def load_part(shim: Any, folder: Path, code: str) -> str:
    """Load a part from a folder where it has some code."""
    part = folder / "shim_folders.py"
    part.write_text(code)
    shim.__spec__.origin = f"{folder}/shim.py"
    with pytest.raises(Exception):  # noqa: B017, PT011 - any
        shim.load("folders")
    return str(part)


def replace_part(shim: Any, folder: Path) -> str:
    folder.joinpath("shim.py").write_text("VERSION = 'another'\n")
    return load_part(shim, folder, "raise SystemExit('it runs')\n")


def break_part(shim: Any, folder: Path) -> str:
    return load_part(shim, folder, "def (\n")


def let_root_appear(shim: Any, folder: Path) -> str:
    shim.load("editables").served.add(f"{folder}/root")
    finder = shim.load("editables").find_root(f"{folder}/root")
    assert finder.find_spec("a_late_module") is None
    finder.invalidate_caches()
    Path(finder.path).mkdir()
    Path(finder.path, "a_late_module.py").touch()
    assert finder.find_spec("a_late_module").origin == f"{finder.path}/a_late_module.py"
    return str(finder.path)


def write_nowhere(shim: Any, folder: Path) -> str:
    cache = shim.load("cache")
    cache.find_cache = lambda _user, **_: str(folder)
    folder.joinpath("a file").write_text("")
    cache.write(f"{folder}/a file/folder/module.pyc", b"")
    return f"{folder}/a file/folder/module.pyc"


def honor_root(shim: Any, folder: Path) -> str:
    write_pth(folder, f"{folder}/root\n")
    honor_layer(shim, folder)
    return f"{folder}/root"


def fail_root(shim: Any, folder: Path) -> str:
    finder = shim.load("folders").RootFinder(str(folder))
    finder._fill_cache = raise_error  # noqa: SLF001 - where importlib lists the folder
    assert finder.find_spec("anything") is None
    return str(folder)


def fail_step(shim: Any, folder: Path) -> str:
    shim.run_guarded(raise_error)
    return "raise_error"


def start_loudly(shim: Any, _folder: Path) -> str:
    posix.environ[b"DBX_PATCH_DEBUG"] = b"1"
    try:
        shim.start()
    finally:
        del posix.environ[b"DBX_PATCH_DEBUG"]
        shim.stop()
    return str(shim.__spec__.origin)


PROVOKED: dict[str, Callable[[Any, Path], str]] = {
    "cache unusable": write_nowhere,
    "file refused": refuse_file,
    "file unreadable": find_no_file,
    "finder failed": fail_finder,
    "finder honored": honor_finders,
    "finder missing": miss_finder,
    "hook incompatible": meet_unknown_hook,
    "hook patched": patch_hook,
    "import failed": fail_import,
    "import line failed": fail_import_line,
    "layer refused": refuse_layer,
    "part replaced": replace_part,
    "part unusable": break_part,
    "root available": let_root_appear,
    "root honored": honor_root,
    "root removed": remove_root,
    "root unavailable": fail_root,
    "shim started": start_loudly,
    "step failed": fail_step,
}


def test_each_kind_is_logged_and_nothing_else_is() -> None:
    assert sorted(set(list_logged_kinds())) == KINDS


def test_each_kind_is_provoked_by_a_test() -> None:
    assert sorted(PROVOKED) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_event_is_logged_and_printed(kind: str, shim: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shim.debug = True

    subject = PROVOKED[kind](shim, tmp_path)

    events = [event for event in shim.journal if event[0] == kind]
    assert [event[:2] for event in events][-1] == (kind, subject)
    printed = "".join("dbx-patch: " + ": ".join(filter(None, event)) + "\n" for event in shim.journal)
    assert capsys.readouterr().err == printed
    assert f"dbx-patch: {kind}: {subject}" in printed


def test_event_is_silent_without_debug(shim: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shim.log("step failed", "subject", "text")

    assert list(shim.journal) == [("step failed", "subject", "text")]
    assert capsys.readouterr() == ("", "")


def test_event_is_kept_and_printed_once(shim: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shim.debug = True
    for text in ("one", "two", "one"):
        shim.log("root honored", "/root", text)

    assert list(shim.journal) == [("root honored", "/root", "one"), ("root honored", "/root", "two")]
    assert capsys.readouterr().err.splitlines() == [
        "dbx-patch: root honored: /root: one",
        "dbx-patch: root honored: /root: two",
    ]


def test_journal_is_bounded_and_keeps_what_came_first(shim: Any) -> None:
    for number in range(shim.JOURNAL_LIMIT + 100):
        shim.log("step failed", str(number))

    assert [event[1] for event in shim.journal] == [str(number) for number in range(500)]


@pytest.mark.parametrize("stderr", [None, SimpleNamespace(write=raise_error)], ids=["none", "closed"])
def test_event_is_kept_when_stderr_can_not_be_written(
    shim: Any, monkeypatch: pytest.MonkeyPatch, stderr: object
) -> None:
    shim.debug = True
    monkeypatch.setattr(sys, "stderr", stderr)

    shim.log("step failed", "subject")

    assert len(shim.journal) == 1
