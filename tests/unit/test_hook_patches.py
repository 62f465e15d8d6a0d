"""How a patched function is called, and what its patch keeps."""

from __future__ import annotations

import gc
import sys
import weakref
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "dbruntime.wsfs_import_hook"
SOURCE = """
class WsfsImportHook:  # it refuses every import, as the real one does if library code makes it
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, fullname, target=None):
        return None
"""


@pytest.fixture
def make_hook(shim: Any, tmp_path: Path) -> Callable[..., Any]:
    """What makes a patched hook for a folder, in a root that has a package with a module."""
    for file in ("package/__init__.py", "package/module.py"):
        tmp_path.joinpath(file).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(file).touch()
    shim.load("editables").served.add(str(tmp_path))
    module = ModuleType(NAME)
    exec(SOURCE, vars(module))
    shim.load("hooks").patch(NAME, module)

    def make_hook(folder: str = "") -> Any:
        return module.WsfsImportHook(FileFinder(str(tmp_path / folder), (SourceFileLoader, SOURCE_SUFFIXES)))

    return make_hook


def test_hook_can_be_called_with_keywords_in_any_order(shim: Any, make_hook: Callable[..., Any]) -> None:
    hook = make_hook()

    origin = hook.find_spec("package").origin

    assert origin.endswith("/package/__init__.py")
    assert hook.find_spec(fullname="package").origin == origin
    assert hook.find_spec(target=None, fullname="package").origin == origin
    assert type(hook).find_spec(fullname="package", self=hook).origin == origin
    assert hook.find_spec(fullname="no_such_package") is None
    with pytest.raises(TypeError, match="fullname"):
        hook.find_spec(target=None)
    assert shim.hook_states[NAME] == "patched"


def test_our_finder_takes_the_place_of_a_hook_until_stop(
    shim: Any, make_hook: Callable[..., Any], tmp_path: Path
) -> None:
    """In the cache of finders, where executors put a hook for the notebook's folder."""
    sys.path_importer_cache[str(tmp_path)] = hook = make_hook()
    assert hook.find_spec("package") is not None
    assert type(sys.path_importer_cache[str(tmp_path)]) is shim.load("folders").RootFinder
    assert hook.find_spec("package") is not None
    assert type(hook.finder) is FileFinder
    shim.stop()

    assert str(tmp_path) not in sys.path_importer_cache
    assert hook.find_spec("package") is None


def test_path_hooks_of_others_never_get_a_root(
    shim: Any, make_hook: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del make_hook
    asked: list[str] = []

    def note(path: str) -> None:
        asked.append(path)
        raise ImportError

    monkeypatch.setattr(sys, "path_hooks", [note, *sys.path_hooks])
    monkeypatch.delitem(sys.path_importer_cache, str(tmp_path.parent), raising=False)
    shim.load("editables").serve([str(tmp_path)])

    elsewhere = str(tmp_path.parent)
    assert PathFinder.find_spec("no_such_package", [str(tmp_path), elsewhere]) is None
    assert asked == [elsewhere]


def test_stop_leaves_a_function_alone_whose_code_was_replaced_since(shim: Any) -> None:
    """Other code may replace code objects, too. What it has put there is not ours to remove."""

    def change_path() -> str:
        return "Databricks'"

    def replacement() -> str:
        return "other code's"

    shim.load("hooks").keep_roots(change_path)
    assert change_path() == "Databricks'"
    change_path.__code__ = replacement.__code__
    shim.stop()

    assert change_path() == "other code's"


def test_root_that_a_function_moves_down_is_put_back(shim: Any) -> None:
    """An editable install would otherwise lose to a copy in a layer that its root was above."""

    def change_path() -> None:
        sys.path.sort(key=lambda entry: entry == "/root")

    shim.load("editables").roots["/root"] = "/own/site-packages"
    shim.load("hooks").keep_roots(change_path)
    sys.path[:] = ["/own/site-packages", "/root", "/runtime/site-packages"]
    change_path()

    assert sys.path == ["/own/site-packages", "/root", "/runtime/site-packages"]


def test_no_name_of_a_parameter_is_taken_by_the_patch(shim: Any) -> None:
    def change_path(original: int, around: int, args: int, named: int) -> list[int]:
        return [original, around, args, named]

    hooks = shim.load("hooks")
    for patch in (hooks.keep_roots, hooks.place_roots_after):
        patch(change_path)
        assert change_path(named=4, args=3, around=2, original=1) == [1, 2, 3, 4]
        hooks.stop()


def test_first_and_last_finder_can_be_called_with_keywords(shim: Any) -> None:
    shim.watch()

    assert sys.meta_path[0] is shim.watcher
    assert sys.meta_path[-1] is shim.latecomer
    for finder in (sys.meta_path[0], sys.meta_path[-1]):
        assert finder.find_spec(fullname="no_such_module", path=None, target=None) is None


def test_hooks_that_nobody_uses_any_more_are_freed(make_hook: Callable[..., Any]) -> None:
    """A new one is made for a folder whenever `sys.path_importer_cache` is cleared."""

    def ask_new_hook() -> weakref.ref[Any]:
        hook = make_hook("package")
        assert hook.find_spec("package.module") is not None
        return weakref.ref(hook)

    hooks = [ask_new_hook() for _ in range(3)]
    gc.collect()

    assert [hook() for hook in hooks] == [None] * 3
