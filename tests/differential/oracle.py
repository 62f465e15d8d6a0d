"""Lays out the path of the model by hand, in a plain Python that has none of the layout's `.pth` files at start.

The model: a process imports exactly as Python would if every layer were a site directory and each root stood on
`sys.path` directly after its layer.

- **The path.** Python's own entries come first. Then, for each layer in order, the layer and its roots by their names,
  whether the folder exists or not, in the order of the names of their `.pth` files, as `site` reads them. A root that
  is there already is not added again. What a finder itself appends when it is installed stays where it puts it: at the
  end. (For a namespace package, setuptools' has an entry that its path hook knows.)
- **Finders** are installed by their own line, from their own layer, so each puts itself on `sys.meta_path` where it
  does without us: setuptools' last, scikit-build-core's first. The finder of the `editables` library, which hatchling
  uses, is one for all layers; for each layer one of the same kind is made here from what its module maps.
- **Turns.** A finder has one turn for top-level names, directly after its layer and so before the layer's roots. It is
  a step of the search of `sys.path`, so it is made one here: when importlib asks `PathFinder` for a top-level name,
  that first searches the entries down to the layer, then asks the finder, and goes on. As on any path, a folder without
  an `__init__` file above only counts if nothing has a module below. A finder that is no longer on `sys.meta_path`, or
  whose layer is no longer on `sys.path`, has no turn. Where a finder has put itself, importlib gets no top-level name
  from it before the path finder.
- **All else** is as without us: submodules, `PathFinder` or a finder that is asked by other code than importlib.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import FrameType, SimpleNamespace
from typing import Any

layout: dict[str, Any] = globals()["layout"]
"""What the server has read; it is given to this file."""
turns: list[tuple[str, Any]] = []
"""Layers, each with a finder of an install in it."""
search = PathFinder.find_spec


def install_finder(layer: str, line: str) -> None:
    """Run the line of a finder's `.pth` file, and give what it puts on `sys.meta_path` its turn."""
    name = line.removeprefix("import ").partition(";")[0]
    spec: Any = spec_from_file_location(name, f"{layer}/{name}.py")
    if "editables.redirector" in spec.loader.get_code(name).co_names:
        turns.append((layer, make_redirecting(spec)))
        return
    first, before = sys.modules.get(name), list(sys.meta_path)
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    exec(line, {})
    for finder in [each for each in sys.meta_path if each not in before]:
        turns.append((layer, finder))
        if sys.meta_path.index(finder) < sys.meta_path.index(PathFinder):
            pass_over(finder)
    if first is not None:
        sys.modules[name] = first


def make_redirecting(spec: Any) -> Any:
    """Return a finder with the names that a module of the `editables` library maps. It needs no place of its own."""
    names: dict[str, str] = {}
    finder = SimpleNamespace(install=lambda: None, map_module=names.__setitem__, original=None)
    finder.find_spec = lambda name, *_: spec_from_file_location(name, names[name]) if name in names else None
    library = SimpleNamespace(RedirectingFinder=finder)
    exec(spec.loader.get_code(spec.name), {"__builtins__": {"__import__": lambda *_: library}})
    return finder


def pass_over(finder: Any) -> None:
    """Have a finder give no top-level name to importlib where it stands."""
    original = finder.find_spec

    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if path is None and is_importlib(sys._getframe(1)):  # noqa: SLF001 - who asks is what counts
            return None
        return original(fullname, path, target)  # type: ignore[no-any-return]

    finder.find_spec = find_spec


def is_importlib(frame: FrameType) -> bool:
    """Return whether a call comes from the loop over `sys.meta_path`."""
    return frame.f_code.co_name == "_find_spec" and frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    """Search the path with the turns of finders in it."""
    if path is None and is_importlib(sys._getframe(1)):  # noqa: SLF001 - likewise
        entries = list(sys.path)
        present = [(entries.index(layer), finder) for layer, finder in turns if layer in entries]
        for index, finder in sorted(present, key=lambda turn: turn[0]):
            if finder in sys.meta_path or hasattr(finder, "original"):
                spec = search(fullname, entries[: index + 1], target)
                if spec is None or spec.loader is None:
                    spec = finder.find_spec(fullname, None, target)
                if spec is not None:
                    return spec
    return search(fullname, path, target)


def lay_out() -> None:
    """Change this process into one of the model."""
    layers: list[str] = [layer for layer, _ in layout["layers"]]
    script = sys.path[0]  # Python puts it there when `site` is done, whatever is on the path by then
    sys.path[:] = [entry for entry in sys.path[1:] if entry not in layers]
    waiting: list[tuple[str, str]] = []
    for layer, lines in layout["layers"]:
        sys.path.append(layer)
        for line in lines:
            if line.startswith("import "):
                waiting.append((layer, line))
            elif line not in sys.path:
                sys.path.append(line)
        if layout["own_first"] and layer == layers[0]:  # `site` runs its lines before it reads which layers follow
            while waiting:
                install_finder(*waiting.pop(0))
    for each in waiting:
        install_finder(*each)
    sys.path.insert(0, script)
    if turns:
        PathFinder.find_spec = staticmethod(find_spec)  # type: ignore[method-assign]


lay_out()
