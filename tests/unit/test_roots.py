"""Where the shim puts roots on `sys.path`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

LAYERS = ["/own/site-packages", "/runtime/site-packages", "/usr/dist-packages"]


def place(shim: Any, path: list[Any], roots: dict[str, str], file: str = "p.pth") -> list[Any]:
    """Place roots, each from a file in a layer, on a path; return the path."""
    editables = shim.load("editables")
    editables.roots.update(roots)
    editables.files.update({root: f"{layer}/{file}" for root, layer in roots.items()})
    for root in roots:
        editables.served.add(editables.normalize(root))
    sys.path[:] = path
    editables.place_roots(roots)
    return list(sys.path)


def test_root_is_placed_directly_after_its_layer(shim: Any) -> None:
    path = place(shim, ["", *LAYERS], {"/p/src": LAYERS[1]})

    assert path == ["", LAYERS[0], LAYERS[1], "/p/src", LAYERS[2]]


def test_roots_of_one_layer_keep_their_order(shim: Any) -> None:
    path = place(shim, LAYERS, {"/b": LAYERS[0], "/a": LAYERS[0], "/c": LAYERS[2]})

    assert path == [LAYERS[0], "/b", "/a", LAYERS[1], LAYERS[2], "/c"]


@pytest.mark.parametrize(
    "file", ["__editable__.p-1.0.pth", "_editable_impl_p.pth", "_editable_skbc_p.pth", "_p.pth", "easy-install.pth"]
)
def test_root_that_site_appended_moves_up_to_its_layer(shim: Any, file: str) -> None:
    """Only backends give a file such a name. The layer does not exist, so its metadata is not read."""
    assert place(shim, [*LAYERS, "/p"], {"/p": LAYERS[0]}, file) == [LAYERS[0], "/p", *LAYERS[1:]]


def write_metadata(layer: Path, distribution: str, direct_url: str) -> None:
    """Write the `direct_url.json` of a distribution."""
    folder = layer / f"{distribution}.dist-info"
    folder.mkdir(parents=True)
    folder.joinpath("direct_url.json").write_text(direct_url)


EDITABLE = '{"dir_info": {"editable": true}, "url": "file:///Workspace/Users/me%40x/gr%C3%BC%C3%9Fe"}'
OF_PIP_AND_POETRY = {
    "pip": EDITABLE,
    "uv": '{"url":"file:///Workspace/Users/me%40x/gr%C3%BC%C3%9Fe","dir_info":{"editable":true},"subdirectory":null}',
    "poetry": '{\n  "dir_info": {\n    "editable": true\n  },\n  "url": "file:///.fuse-mounts/wsfs/Users/me%40x"\n}',
}
NOT_EDITABLE = {
    "no metadata": None,
    "another project": EDITABLE.replace("%40x", "%40y"),
    "a folder whose name begins with it": EDITABLE.replace("%9Fe", "%9F"),
    "not editable": EDITABLE.replace("true", "false"),
    "from an archive": '{"archive_info": {}, "url": "https://example.com/p.whl"}',
    "a broken escape": EDITABLE.replace("%40", "%4"),
    "not UTF-8": EDITABLE.replace("%C3", "%FF"),
    "empty": "",
}
ROOT = "/Workspace/Users/me@x/gr\u00fc\u00dfe/src"


def place_unmarked(shim: Any, layer: Path, direct_url: str | None) -> list[str]:
    """Place a root that `site` put on the path for a file that may be written by hand, and return the path."""
    layer.mkdir(exist_ok=True)
    write_metadata(layer, "without-1.0", "")
    write_metadata(layer, "another-1.0", '{"archive_info": {}, "url": "https://example.com/p.whl"}')
    if direct_url is not None:
        write_metadata(layer, "project-1.0", direct_url)
    return place(shim, [str(layer), LAYERS[1], ROOT, LAYERS[2]], {ROOT: str(layer)})


@pytest.mark.parametrize("writer", OF_PIP_AND_POETRY)
def test_root_moves_if_the_metadata_of_an_editable_install_names_it(shim: Any, tmp_path: Path, writer: str) -> None:
    """`flit`, `poetry-core` and `uv_build` write `NAME.pth`."""
    path = place_unmarked(shim, tmp_path / "site-packages", OF_PIP_AND_POETRY[writer])

    assert path == [f"{tmp_path}/site-packages", ROOT, *LAYERS[1:]]


@pytest.mark.parametrize("case", NOT_EDITABLE)
def test_root_that_site_placed_for_another_file_stays_there(shim: Any, tmp_path: Path, case: str) -> None:
    path = place_unmarked(shim, tmp_path / "site-packages", NOT_EDITABLE[case])

    assert path == [f"{tmp_path}/site-packages", LAYERS[1], ROOT, LAYERS[2]]


def test_metadata_is_not_read_for_a_root_that_passes_no_other_entry(shim: Any) -> None:
    """The layers do not exist, so to list one would raise."""
    path = place(
        shim,
        ["/before", LAYERS[0], "/p", "/q", *LAYERS[1:]],
        dict.fromkeys(["/p", "/q", "/absent", "/before"], LAYERS[0]),
    )

    assert path == ["/before", LAYERS[0], "/p", "/q", "/absent", *LAYERS[1:]]


def test_root_is_placed_after_the_standard_library(shim: Any) -> None:
    """A layer on PYTHONPATH is before it. So is its root, which can have a `statistics.py`."""
    library = [f"{os.__file__.removesuffix('/os.py')}{folder}" for folder in ("", "/lib-dynload")]

    path = place(shim, [LAYERS[0], *library, LAYERS[1]], {"/p": LAYERS[0], "/q": LAYERS[1]})

    assert path == [LAYERS[0], *library, "/p", LAYERS[1], "/q"]


def test_root_that_is_before_its_layer_stays_there(shim: Any) -> None:
    assert place(shim, ["/p", *LAYERS], {"/p": LAYERS[1]}) == ["/p", *LAYERS]


def test_workspace_root_is_placed_once_whatever_its_spelling(shim: Any) -> None:
    mounted, named = "/.fuse-mounts/wsfs/Users/me/p", "/Workspace/Users/me/p"

    assert place(shim, [named, *LAYERS], {mounted: LAYERS[1]}) == [named, *LAYERS]


def test_root_of_a_layer_that_has_left_the_path_is_placed_last(shim: Any) -> None:
    assert place(shim, ["/lib"], {"/p": LAYERS[0]}) == ["/lib", "/p"]


def test_entries_that_are_not_paths_stay_where_they_are(shim: Any) -> None:
    odd = [7, None, b"/bytes", Path("/p"), ["unhashable"], "__editable__.p-1.0.finder.__path_hook__", "", ""]

    assert place(shim, [*odd, *LAYERS], {"/p": LAYERS[2]}) == [*odd, *LAYERS, "/p"]
    with pytest.raises(ModuleNotFoundError):
        shim.load("finders").find_usercustomize("usercustomize", None, None)
    shim.stop()
    assert sys.path == [*odd, *LAYERS]


def test_root_of_the_file_system_takes_nothing_else_off_the_path(shim: Any) -> None:
    assert place(shim, ["", 7, LAYERS[0], LAYERS[0]], {"/": LAYERS[0]}) == ["", 7, LAYERS[0], "/", LAYERS[0]]
    shim.stop()
    assert sys.path == ["", 7, LAYERS[0], LAYERS[0]]


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


def test_stop_removes_what_searches_the_roots(shim: Any) -> None:
    before = list(sys.path_hooks), list(sys.meta_path)
    shim.load("editables").guard_roots([])
    assert (len(sys.path_hooks), len(sys.meta_path)) == (len(before[0]) + 1, len(before[1]) + 1)

    shim.stop()

    assert (sys.path_hooks, sys.meta_path) == before


def test_shim_that_is_imported_as_a_library_is_not_started(shim: Any) -> None:
    assert (shim.started, list(shim.journal), shim.watcher in sys.meta_path) == (False, [], False)


@pytest.mark.parametrize("hook", [None, lambda _: None], ids=["no hook", "another's hook"])
def test_root_is_answered_for_only_where_python_s_own_path_hook_is(shim: Any, hook: Any) -> None:
    editables = shim.load("editables")
    editables.served.add("/p")
    sys.path_hooks[:] = [hook] if hook else []

    with pytest.raises(ImportError):
        editables.find_root("/p")
