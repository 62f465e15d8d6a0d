"""Where the shim puts roots on `sys.path`."""

from __future__ import annotations

import sys
from typing import Any

import pytest

LAYERS = ["/own/site-packages", "/runtime/site-packages", "/usr/dist-packages"]


def place(shim: Any, path: list[Any], roots: dict[str, str]) -> list[Any]:
    """Place roots, each from a layer, on a path; return the path."""
    editables = shim.load("editables")
    editables.roots.update(roots)
    for root in roots:
        editables.serve(root)
    sys.path[:] = path
    editables.place_roots(roots)
    return list(sys.path)


def test_root_is_placed_directly_after_its_layer(shim: Any) -> None:
    path = place(shim, ["", *LAYERS], {"/p/src": LAYERS[1]})

    assert path == ["", LAYERS[0], LAYERS[1], "/p/src", LAYERS[2]]


def test_roots_of_one_layer_keep_their_order(shim: Any) -> None:
    path = place(shim, LAYERS, {"/b": LAYERS[0], "/a": LAYERS[0], "/c": LAYERS[2]})

    assert path == [LAYERS[0], "/b", "/a", LAYERS[1], LAYERS[2], "/c"]


def test_root_that_site_appended_moves_up_to_its_layer(shim: Any) -> None:
    assert place(shim, [*LAYERS, "/p"], {"/p": LAYERS[0]}) == [LAYERS[0], "/p", *LAYERS[1:]]


def test_root_that_is_before_its_layer_stays_there(shim: Any) -> None:
    assert place(shim, ["/p", *LAYERS], {"/p": LAYERS[1]}) == ["/p", *LAYERS]


def test_workspace_root_is_placed_once_whatever_its_spelling(shim: Any) -> None:
    mounted, named = "/.fuse-mounts/wsfs/Users/me/p", "/Workspace/Users/me/p"

    assert place(shim, [named, *LAYERS], {mounted: LAYERS[1]}) == [named, *LAYERS]


def test_root_of_a_layer_that_has_left_the_path_is_placed_last(shim: Any) -> None:
    assert place(shim, ["/lib"], {"/p": LAYERS[0]}) == ["/lib", "/p"]


def test_entries_that_are_not_paths_stay_where_they_are(shim: Any) -> None:
    odd = [7, None, b"/bytes", "__editable__.p-1.0.finder.__path_hook__", "", ""]

    assert place(shim, [*odd, *LAYERS], {"/p": LAYERS[2]}) == [*odd, *LAYERS, "/p"]


def test_root_of_the_file_system_takes_nothing_else_off_the_path(shim: Any) -> None:
    assert place(shim, ["", 7, LAYERS[0], LAYERS[0]], {"/": LAYERS[0]}) == ["", 7, LAYERS[0], "/", LAYERS[0]]


def test_path_is_changed_in_place(shim: Any) -> None:
    """Spark Connect binds the list early."""
    bound = sys.path

    place(shim, LAYERS, {"/p": LAYERS[0]})

    assert bound is sys.path
    assert "/p" in bound


def test_stop_removes_the_roots_that_were_added(shim: Any) -> None:
    before = [*LAYERS, "/by-site"]
    place(shim, before, {"/p": LAYERS[0], "/by-site": LAYERS[2]})

    shim.stop()

    assert sys.path == before
    assert shim.load("editables").roots == {}


def test_shim_that_is_imported_as_a_library_is_not_started(shim: Any) -> None:
    assert (shim.started, list(shim.journal), shim.watcher in sys.meta_path) == (False, [], False)


@pytest.mark.parametrize("hook", [None, lambda _: None], ids=["no hook", "another's hook"])
def test_root_is_answered_for_only_where_python_s_own_path_hook_is(shim: Any, hook: Any) -> None:
    editables = shim.load("editables")
    editables.serve("/p")
    sys.path_hooks[:] = [hook] if hook else []

    with pytest.raises(ImportError):
        editables.find_root("/p")
