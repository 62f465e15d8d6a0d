"""Where the shim puts roots on `sys.path`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

LAYERS = ["/own/site-packages", "/runtime/site-packages", "/usr/dist-packages"]


def place(shim: Any, path: list[Any], roots: dict[str, str]) -> list[Any]:
    """Place roots, each of a layer, on a path that has none of them from us; return the path."""
    editables = shim.load("editables")
    sys.path[:] = path
    editables.place_roots(roots, roots)
    editables.roots.update(roots)
    return list(sys.path)


def test_root_is_placed_directly_after_its_layer(shim: Any) -> None:
    path = place(shim, ["", *LAYERS], {"/p/src": LAYERS[1]})

    assert path == ["", LAYERS[0], LAYERS[1], "/p/src", LAYERS[2]]


def test_roots_of_one_layer_keep_their_order(shim: Any) -> None:
    path = place(shim, LAYERS, {"/b": LAYERS[0], "/a": LAYERS[0], "/c": LAYERS[2]})

    assert path == [LAYERS[0], "/b", "/a", LAYERS[1], LAYERS[2], "/c"]


def test_root_that_site_appended_moves_up_to_its_layer(shim: Any) -> None:
    assert place(shim, [*LAYERS, "/p"], {"/p": LAYERS[0]}) == [LAYERS[0], "/p", *LAYERS[1:]]


def test_roots_that_are_where_they_belong_stay_there(shim: Any) -> None:
    path = place(
        shim,
        ["/before", LAYERS[0], "/p", "/q", *LAYERS[1:]],
        dict.fromkeys(["/p", "/q", "/absent", "/before"], LAYERS[0]),
    )

    assert path == ["/before", LAYERS[0], "/p", "/q", "/absent", *LAYERS[1:]]


def test_root_of_a_layer_before_the_standard_library_is_before_it_too(shim: Any) -> None:
    """Such a layer is on PYTHONPATH, so what it has comes first, and a root is as if it were a part of its layer."""
    library = [f"{os.__file__.removesuffix('/os.py')}{folder}" for folder in ("", "/lib-dynload")]

    path = place(shim, [LAYERS[0], *library, LAYERS[1]], {"/p": LAYERS[0], "/q": LAYERS[1]})

    assert path == [LAYERS[0], "/p", *library, LAYERS[1], "/q"]


def test_root_that_is_before_its_layer_stays_there(shim: Any) -> None:
    assert place(shim, ["/p", *LAYERS], {"/p": LAYERS[1]}) == ["/p", *LAYERS]


def test_workspace_root_is_placed_once_whatever_its_spelling(shim: Any) -> None:
    mounted, named = "/.fuse-mounts/wsfs/Users/me/p", "/Workspace/Users/me/p"

    for one, other in ((mounted, named), (named, mounted)):
        assert place(shim, [other, *LAYERS], {one: LAYERS[1]}) == [other, *LAYERS]
        assert place(shim, [*LAYERS, other], {one: LAYERS[0]}) == [LAYERS[0], one, *LAYERS[1:]]
        shim.stop()


def test_root_of_a_layer_that_is_not_on_the_path_is_not_placed(shim: Any) -> None:
    assert place(shim, ["/lib"], {"/p": LAYERS[0]}) == ["/lib"]


def test_entries_that_are_not_paths_stay_where_they_are(shim: Any) -> None:
    odd = [7, None, b"/bytes", Path("/p"), ["unhashable"], "__editable__.p-1.0.finder.__path_hook__", "", ""]

    assert place(shim, [*odd, *LAYERS], {"/p": LAYERS[2]}) == [*odd, *LAYERS, "/p"]
    with pytest.raises(ModuleNotFoundError):
        shim.load("folders").find_usercustomize("usercustomize", None, None)
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
    before = list(sys.path_hooks)
    shim.load("editables").serve([])
    assert len(sys.path_hooks) == len(before) + 1

    shim.stop()

    assert sys.path_hooks == before


def test_shim_that_is_imported_as_a_library_is_not_started(shim: Any) -> None:
    assert (shim.started, list(shim.journal), shim.watcher in sys.meta_path) == (False, [], False)


@pytest.mark.parametrize("hook", [None, lambda _: None], ids=["no hook", "another's hook"])
def test_root_is_answered_for_only_where_python_s_own_path_hook_is(shim: Any, hook: Any) -> None:
    editables = shim.load("editables")
    editables.served.add("/p")
    sys.path_hooks[:] = [hook] if hook else []

    with pytest.raises(ImportError):
        editables.find_root("/p")


# Roots come and go with their layers and lines


@pytest.fixture
def layers(shim: Any, tmp_path: Path) -> list[Path]:
    """Two layers, the only ones on the path, on which an archive's entry and one of `site` are too."""
    folders = [tmp_path / name / "site-packages" for name in ("own", "runtime")]
    for folder in folders:
        folder.mkdir(parents=True)
    entries = [entry for entry in sys.path if not shim.is_layer(entry)]
    sys.path[:] = [*entries, *map(str, folders)]
    return folders


def write_line(layer: Path, name: str, text: str) -> None:
    """Write the file of an editable install, so that the layer's modification time is another one than before."""
    before = layer.stat().st_mtime_ns
    layer.joinpath(f"__editable__.{name}.pth").write_text(text)
    os.utime(layer, ns=(before + 1_000_000_000, before + 1_000_000_000))


def honor(shim: Any) -> list[str]:
    """Honor what has changed, and return the path from the first layer on."""
    shim.forget_answers()
    shim.honor_changes()
    return sys.path[next((at for at, entry in enumerate(sys.path) if shim.is_layer(entry)), len(sys.path)) :]


def test_root_leaves_the_path_with_its_layer_and_comes_back_with_it(shim: Any, layers: list[Path]) -> None:
    """As in the isolated builds of pip, which remove the layers and put another one there."""
    own, runtime = map(str, layers)
    write_line(layers[0], "p", "/p\n")
    write_line(layers[1], "q", "/q\n")

    assert honor(shim) == [own, "/p", runtime, "/q"]
    sys.path.remove(own)
    assert honor(shim) == [runtime, "/q"]
    sys.path[:] = [entry for entry in sys.path if entry not in {runtime, "/q"}]
    assert honor(shim) == []
    assert not shim.load("editables").roots
    assert not shim.load("editables").is_editable("/p/module.py")
    sys.path += [runtime, own]
    assert honor(shim) == [runtime, "/q", own, "/p"]
    assert [event[:2] for event in shim.journal if event[0] == "root removed"] == [
        ("root removed", "/p"),
        ("root removed", "/q"),
    ]


def test_root_leaves_the_path_with_its_line(shim: Any, layers: list[Path]) -> None:
    own, runtime = map(str, layers)
    write_line(layers[0], "p", "/p\n/shared\n")
    write_line(layers[0], "q", "/q\n/shared\n")

    before = honor(shim)
    write_line(layers[0], "p", "# nothing\n")
    layers[0].joinpath("__editable__.q.pth").unlink()
    write_line(layers[0], "q2", "/shared\n")

    assert before == [own, "/p", "/shared", "/q", runtime]
    assert honor(shim) == [own, "/shared", runtime]


def test_project_that_is_installed_again_from_another_folder_is_imported_from_there(
    shim: Any, layers: list[Path], tmp_path: Path
) -> None:
    own, runtime = map(str, layers)
    shim.watch()
    found = []
    for name in ("first", "second"):
        tmp_path.joinpath(name).mkdir()
        tmp_path.joinpath(name, f"roots_{name}.py").touch()
        tmp_path.joinpath(name, "roots_both.py").touch()
        write_line(layers[0], "p", f"{tmp_path}/{name}\n")
        found.append([importlib.import_module(module).__file__ for module in (f"roots_{name}", "roots_both")])
        for module in (f"roots_{name}", "roots_both"):
            del sys.modules[module]

    assert found == [
        [f"{tmp_path}/{name}/roots_{name}.py", f"{tmp_path}/{name}/roots_both.py"] for name in ("first", "second")
    ]
    assert sys.path[-3:] == [own, f"{tmp_path}/second", runtime]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("roots_first")


def test_root_that_two_layers_name_is_after_the_higher_one(shim: Any, layers: list[Path]) -> None:
    own, runtime = map(str, layers)
    write_line(layers[1], "p", "/p\n")

    assert honor(shim) == [own, runtime, "/p"]
    write_line(layers[0], "p", "/p\n")
    assert honor(shim) == [own, "/p", runtime]
    layers[0].joinpath("__editable__.p.pth").unlink()
    write_line(layers[0], "q", "")
    assert honor(shim) == [own, runtime, "/p"]


def test_root_that_site_has_placed_stays_when_its_line_is_gone(shim: Any, layers: list[Path]) -> None:
    """Python does not remove it either."""
    own, runtime = map(str, layers)
    write_line(layers[0], "p", "/p\n")
    sys.path.append("/p")

    assert honor(shim) == [own, "/p", runtime]
    write_line(layers[0], "p", "")
    assert honor(shim) == [own, "/p", runtime]
    assert not shim.load("editables").is_editable("/p")


def test_entry_that_site_has_placed_for_a_file_written_by_hand_stays_there(shim: Any, layers: list[Path]) -> None:
    """Its folder can have another `numpy` than the layers. The file of an editable install moves it up."""
    own, runtime = map(str, layers)
    layers[0].joinpath("p.pth").write_text("/p\n")
    sys.path.append("/p")

    assert honor(shim) == [own, runtime, "/p"]
    folder = layers[0] / "p-1.0.dist-info"
    folder.mkdir()
    folder.joinpath("RECORD").write_text("p.pth,,\n")
    folder.joinpath("direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///p"}')
    write_line(layers[0], "another", "")
    assert honor(shim) == [own, "/p", runtime]
