"""The order in which copies of a package are asked: finders have a turn for top-level names after their own layer."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BY_SETUPTOOLS = """
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location
MAPPING = {mapping!r}
class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        parent = fullname.rpartition(".")[0]
        if fullname in MAPPING:
            file = MAPPING[fullname] + "/__init__.py"
            return spec_from_file_location(fullname, file, submodule_search_locations=[MAPPING[fullname]])
        return PathFinder.find_spec(fullname, [MAPPING[parent]]) if parent in MAPPING else None
def install():
    sys.meta_path.append(_EditableFinder)
"""
BY_MESON = """
import os, sys
from importlib.util import spec_from_file_location
class MesonpyMetaFinder:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in {mapping!r}:
            if os.path.exists({folder!r} + "/broken"):
                raise ImportError("rebuilding failed")
            file = {mapping!r}.get(fullname)
            return file and spec_from_file_location(fullname, file + "/__init__.py")
def install():
    sys.meta_path.insert(0, MesonpyMetaFinder())
"""
IN_PLACE = """
import sys
from importlib.machinery import PathFinder
class ScikitBuildInplaceFinder:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in {mapping!r}:
            spec = PathFinder.find_spec(fullname, path or [{folder!r} + "/project"])
            spec.loader_state = "in place"
            return spec
def install():
    sys.meta_path.insert(0, ScikitBuildInplaceFinder())
"""
BY_EDITABLES = """
from editables.redirector import RedirectingFinder as F
F.install()
"""


class Layers:
    """Three layers after everything else on `sys.path`, and a folder with projects."""

    def __init__(self, folder: Path, shim: Any) -> None:
        self.folder = folder
        self.shim = shim
        self.turns = shim.load("turns")
        for name in ("high", "middle", "low"):
            self.layer(name).mkdir(parents=True)
        sys.path += [str(self.layer(name)) for name in ("high", "middle", "low")]
        shim.watch()

    def layer(self, name: str) -> Path:
        return self.folder / name / "site-packages"

    def write_package(self, folder: Path, name: str, *modules: str, text: str = "") -> str:
        """Write a package with some modules, and return its file."""
        package = folder / name.replace(".", "/")
        package.mkdir(parents=True)
        for module in modules:
            (package / f"{module}.py").write_text("")
        (package / "__init__.py").write_text(text)
        return f"{package}/__init__.py"

    def copy(self, layer: str, name: str, *modules: str, text: str = "") -> str:
        """Write a plain copy of a package into a layer."""
        return self.write_package(self.layer(layer), name, *modules, text=text)

    def project(self, project: str, name: str, *modules: str) -> str:
        """Write a project with a package."""
        return self.write_package(self.folder / project, name, *modules)

    def write_finder(self, layer: str, style: str, names: Mapping[str, str], module: str) -> dict[str, list[str]]:
        """Write what a backend writes to map some names to projects; return what the shim is told has changed."""
        mapping = {name: f"{self.folder}/{project}/{name.replace('.', '/')}" for name, project in names.items()}
        if style == BY_EDITABLES:
            text = style + "".join(
                f"F.map_module({name!r}, {path!r} + '/__init__.py')\n" for name, path in mapping.items()
            )
            line = f"import {module}\n"
        else:
            text = style.format(mapping=mapping, folder=str(self.folder))
            line = f"import {module}; {module}.install()\n"
        (self.layer(layer) / f"{module}.py").write_text(text)
        (self.layer(layer) / f"{module}.pth").write_text(line)
        return {str(self.layer(layer)): [f"{module}.pth"]}

    def install(self, layer: str, style: str, names: Mapping[str, str], module: str = "_editable_impl_turns") -> None:
        """Write what a backend writes, and have the shim honor it."""
        self.shim.load("editables").honor(self.write_finder(layer, style, names, module))

    def find(self, name: str) -> str | None:
        """Return the file that an import of a name would run; None if there is none."""
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(name)
        return spec.origin if spec else None


@pytest.fixture
def layers(tmp_path: Path, shim: Any) -> Iterator[Layers]:
    known = dict(sys.modules)
    yield Layers(tmp_path, shim)
    shim.stop()
    for name in set(sys.modules) - set(known):
        del sys.modules[name]


@pytest.mark.parametrize("style", [BY_SETUPTOOLS, BY_MESON, BY_EDITABLES], ids=["setuptools", "meson", "editables"])
def test_editable_install_wins_over_a_copy_below_and_loses_to_one_above(layers: Layers, style: str) -> None:
    editable = layers.project("project", "turn_a")
    layers.copy("low", "turn_a")
    layers.install("middle", style, {"turn_a": "project"})

    assert layers.find("turn_a") == editable
    assert layers.find("turn_a") == editable
    higher = layers.copy("high", "turn_a")
    assert layers.find("turn_a") == higher


def test_each_name_of_the_finder_that_editables_shares_has_the_turn_of_its_own_layer(layers: Layers) -> None:
    """hatchling's `dev-mode-exact` and pdm-backend's `editables` use one finder with one map for all installs."""
    above, below = layers.project("project", "turn_above"), layers.project("project", "turn_below")
    plain = layers.copy("middle", "turn_below")
    layers.copy("middle", "turn_above")
    layers.install("high", BY_EDITABLES, {"turn_above": "project"}, "_editable_impl_above")
    layers.install("low", BY_EDITABLES, {"turn_below": "project"}, "_editable_impl_below")

    assert {name: layers.find(name) for name in ("turn_above", "turn_below")} == {
        "turn_above": above,
        "turn_below": plain,
    }
    layers.install("high", BY_EDITABLES, {"turn_below": "project"}, "_editable_impl_below")  # while the process runs
    assert layers.find("turn_below") == below
    assert "editables.redirector" not in sys.modules  # it is not needed


@pytest.mark.parametrize("style", [BY_SETUPTOOLS, BY_EDITABLES], ids=["setuptools", "editables"])
def test_install_into_a_higher_layer_takes_over_for_what_is_not_imported_yet(layers: Layers, style: str) -> None:
    """The finder's module has the same name in both layers, as for two installs of one version."""
    old = layers.project("old", "turn_imported", "first"), layers.project("old", "turn_later")
    new = layers.project("new", "turn_imported", "first", "second"), layers.project("new", "turn_later")
    layers.install("low", style, {"turn_imported": "old", "turn_later": "old"})
    package = importlib.import_module("turn_imported")

    layers.install("high", style, {"turn_imported": "new", "turn_later": "new"})

    assert package.__file__ == old[0]
    assert layers.find("turn_imported.first") == old[0].replace("__init__", "first")  # by the package's `__path__`
    assert layers.find("turn_imported.second") == (
        new[0].replace("__init__", "second") if style == BY_SETUPTOOLS else None
    )
    assert layers.find("turn_later") == new[1]
    del sys.modules["turn_imported"]
    assert layers.find("turn_imported") == new[0]


def test_root_of_an_install_into_a_higher_layer_moves_up(layers: Layers) -> None:
    """The same project, installed once more: in the next interpreter its root follows the higher layer, too."""
    editable = layers.project("project", "turn_root")
    root = str(layers.folder / "project")
    layers.copy("middle", "turn_root")
    honor = layers.shim.load("editables").honor

    def install(layer: str) -> list[str]:
        (layers.layer(layer) / "__editable__.turn_root-1.0.pth").write_text(f"{root}\n")
        honor({str(layers.layer(layer)): ["__editable__.turn_root-1.0.pth"]})
        return [entry.removeprefix(f"{layers.folder}/") for entry in sys.path if entry.startswith(str(layers.folder))]

    assert install("low") == ["high/site-packages", "middle/site-packages", "low/site-packages", "project"]
    assert install("high") == ["high/site-packages", "project", "middle/site-packages", "low/site-packages"]
    assert layers.find("turn_root") == editable
    assert install("middle") == ["high/site-packages", "project", "middle/site-packages", "low/site-packages"]


def test_error_of_a_finder_ends_the_import_unless_a_higher_layer_has_the_module(layers: Layers) -> None:
    """meson-python raises ImportError when a rebuild fails. A copy below may be an old one."""
    editable = layers.project("project", "turn_built")
    layers.copy("low", "turn_built")
    layers.install("middle", BY_MESON, {"turn_built": "project"})
    (layers.folder / "broken").touch()

    with pytest.raises(ImportError, match="rebuilding failed"):
        importlib.import_module("turn_built")
    assert [event[0] for event in layers.shim.journal if event[0] == "finder failed"] == ["finder failed"]
    (layers.folder / "broken").unlink()
    assert layers.find("turn_built") == editable
    (layers.folder / "broken").touch()
    higher = layers.copy("high", "turn_built", "module")
    importlib.invalidate_caches()
    assert importlib.import_module("turn_built").__file__ == higher
    with pytest.raises(ImportError, match="rebuilding failed"):
        layers.find("turn_built.module")  # as without us: meson-python's finder is asked first


def test_submodules_come_from_where_python_finds_them(layers: Layers) -> None:
    """The finder of setuptools answers last, so the package's `__path__` counts first."""
    editable = layers.project("project", "turn_wheel", "_speedups", "both")
    layers.project("project/turn_wheel", "sub", "deep")
    layers.install("low", BY_SETUPTOOLS, dict.fromkeys(["turn_wheel", "turn_wheel.sub"], "project"))
    wheel = layers.copy("high", "turn_wheel", "both")
    layers.copy("high", "turn_wheel/sub")

    assert layers.find("turn_wheel") == wheel
    assert layers.find("turn_wheel.both") == wheel.replace("__init__", "both")
    assert layers.find("turn_wheel._speedups") == editable.replace("__init__", "_speedups")
    assert layers.find("turn_wheel.sub") == wheel.replace("__init__", "sub/__init__")
    assert layers.find("turn_wheel.sub.deep") == editable.replace("__init__", "sub/deep")


def test_submodules_come_from_a_finder_that_is_asked_first(layers: Layers) -> None:
    """As meson-python's is."""
    editable = layers.project("project", "turn_wheel.sub")
    layers.install("low", BY_MESON, dict.fromkeys(["turn_wheel", "turn_wheel.sub"], "project"))
    wheel = layers.copy("high", "turn_wheel")
    layers.copy("high", "turn_wheel.sub")

    assert layers.find("turn_wheel") == wheel
    assert layers.find("turn_wheel.sub") == editable


def test_package_is_searched_in_the_folders_that_it_chooses(layers: Layers) -> None:
    """For each generation of a runtime, some libraries have a folder with modules that replace others."""
    editable = layers.project("project", "turn_overlay", "module", "other")
    overlay = layers.project("project/turn_overlay", "overlay", "module")
    layers.install("high", BY_SETUPTOOLS, {"turn_overlay": "project"})
    importlib.import_module("turn_overlay").__path__.insert(0, overlay.rpartition("/")[0])

    assert layers.find("turn_overlay.module") == overlay.replace("__init__", "module")
    assert layers.find("turn_overlay.other") == editable.replace("__init__", "other")


@pytest.mark.parametrize(
    "text",
    [None, "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n"],
    ids=["without a file", "of pkgutil"],
)
def test_namespace_package_has_the_modules_of_all_its_copies(layers: Layers, text: str | None) -> None:
    editable = layers.project("project", "turn_space.here")
    names = {"turn_space.here": "project"}
    if text is not None:
        (layers.folder / "project/turn_space/__init__.py").write_text(text)
        names["turn_space"] = "project"
    wheel = layers.copy("high", "turn_space.there")
    if text is not None:
        (layers.layer("high") / "turn_space/__init__.py").write_text(text)
    layers.install("low", BY_SETUPTOOLS, names)

    assert importlib.import_module("turn_space.there").__file__ == wheel
    assert importlib.import_module("turn_space.here").__file__ == editable


def test_finder_that_searches_the_path_it_is_given_answers_for_all_of_its_package(layers: Layers) -> None:
    """As scikit-build-core's does for an install in place. The project has another package with a subpackage's name."""
    package = layers.project("project", "turn_place")
    layers.project("project/turn_place", "sub", "deep")
    layers.project("project", "sub")
    layers.install("high", IN_PLACE, {"turn_place": "project"})
    importlib.import_module("turn_place.sub")

    importlib.invalidate_caches()
    spec = importlib.util.find_spec("turn_place.sub.deep")

    assert spec is not None
    assert (spec.origin, spec.loader_state) == (package.replace("__init__", "sub/deep"), "in place")


@pytest.mark.parametrize("run_by", ["site", "the shim"])
@pytest.mark.parametrize("style", [BY_SETUPTOOLS, BY_MESON], ids=["setuptools", "meson"])
def test_stop_leaves_finders_as_site_would(layers: Layers, style: str, run_by: str) -> None:
    layers.project("project", "turn_stop", "module")
    changed = layers.write_finder("high", style, {"turn_stop": "project"}, "_editable_impl_turns")
    if run_by == "site":
        layers.shim.stop()  # it starts afterwards
        importlib.import_module("_editable_impl_turns").install()
        layers.shim.watch()
    before = [finder for finder in sys.meta_path if finder not in (layers.shim.watcher, layers.shim.latecomer)]
    finders = [finder for finder in before if getattr(finder, "__module__", "") == "_editable_impl_turns"]
    attributes = [dict(vars(finder)) for finder in finders]

    layers.shim.load("editables").honor(changed)
    assert [finder for finder in sys.meta_path if finder in before] == before  # nothing was moved
    assert all(finder.find_spec("turn_stop", None) is not None for finder in finders)  # asked by itself, it answers
    assert layers.find("turn_stop") == f"{layers.folder}/project/turn_stop/__init__.py"
    layers.shim.stop()

    assert sys.meta_path == before
    assert [dict(vars(finder)) for finder in finders] == attributes
    assert all(finder.find_spec("turn_stop", None) is not None for finder in finders)
    assert layers.find("turn_stop") == (f"{layers.folder}/project/turn_stop/__init__.py" if finders else None)


def test_finder_answers_where_it_put_itself_when_other_code_removes_ours(layers: Layers) -> None:
    """dlt documents a workaround that filters `sys.meta_path`."""
    editable = layers.project("project", "turn_own")
    layers.install("high", BY_SETUPTOOLS, {"turn_own": "project"})

    sys.meta_path.remove(layers.shim.watcher)

    assert layers.find("turn_own") == editable


@pytest.mark.parametrize("style", [BY_SETUPTOOLS, BY_MESON, BY_EDITABLES], ids=["setuptools", "meson", "editables"])
def test_finder_that_is_taken_off_the_list_of_finders_has_no_turn(layers: Layers, style: str) -> None:
    editable, plain = layers.project("project", "turn_off"), layers.copy("low", "turn_off")
    before = list(sys.meta_path)
    layers.install("high", style, {"turn_off": "project"})
    assert layers.find("turn_off") == editable
    (finder,) = [finder for finder in sys.meta_path if finder not in before]

    sys.meta_path.remove(finder)
    assert layers.find("turn_off") == plain
    sys.meta_path.append(finder)
    assert layers.find("turn_off") == editable


@pytest.mark.parametrize("style", [BY_SETUPTOOLS, BY_MESON, BY_EDITABLES], ids=["setuptools", "meson", "editables"])
def test_what_a_finder_answers_with_belongs_to_an_editable_install(layers: Layers, style: str) -> None:
    """Databricks' hooks and autoreload have to know."""
    editable = layers.project("project", "turn_known")
    layers.install("high", style, {"turn_known": "project"})
    editables = layers.shim.load("editables")
    assert not editables.is_editable(editable)

    assert layers.find("turn_known") == editable
    assert editables.is_editable(editable)
    assert not editables.is_editable(str(layers.folder / "project"))


@pytest.mark.usefixtures("unmeasured")
def test_odd_entries_of_a_path_are_skipped_as_python_skips_them(layers: Layers, tmp_path: Path) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = None  # type: ignore[assignment]

    editable = layers.project("project", "turn_odd", "module")
    layers.install("high", BY_SETUPTOOLS, {"turn_odd": "project"})
    sys.path[:0] = [Odd(), tmp_path, None]  # type: ignore[list-item]
    package = importlib.import_module("turn_odd")
    package.__path__ = [*package.__path__, tmp_path, None]  # type: ignore[list-item]

    assert importlib.import_module("turn_odd.module").__file__ == editable.replace("__init__", "module")


def test_module_that_an_import_line_imports_keeps_its_own_spec_when_only_its_spec_is_looked_for(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = layers.shim
    file = layers.folder / "turn_both.py"
    file.write_text("")
    sys.path.append(str(layers.folder))
    monkeypatch.setattr(sys, "meta_path", [shim.watcher, *sys.meta_path])
    monkeypatch.setattr(shim, "honor_changes", lambda: importlib.import_module("turn_both"))

    found = importlib.util.find_spec("turn_both")

    assert found is sys.modules["turn_both"].__spec__
    assert found is not None
    assert found.origin == str(file)
