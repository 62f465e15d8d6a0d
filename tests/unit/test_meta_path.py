"""The shim's entries on `sys.meta_path`, as other code uses such entries."""

from __future__ import annotations

import copy
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FINDER = "import sys\nclass Finder:\n    find_spec = lambda *_: None\nsys.meta_path.append(Finder)\n"


def start_with_installs(shim: Any, folder: Path) -> list[Any]:
    """Start the shim on a layer that has one install of each style, and return the finders that it adds."""
    layer = folder / "site-packages"
    layer.mkdir()
    layer.joinpath("_editable_impl_path.pth").write_text("/a/root\n")
    layer.joinpath("_editable_impl_finder.pth").write_text("import _editable_impl_finder\n")
    layer.joinpath("_editable_impl_finder.py").write_text(FINDER)
    before = list(sys.meta_path)
    sys.path[:] = [str(layer)]
    try:
        shim.start()
    finally:
        finder = sys.modules.pop("_editable_impl_finder")
    return [entry for entry in sys.meta_path if entry not in before and entry is not vars(finder)["Finder"]]


def test_finders_can_be_used_as_python_s_own(shim: Any, tmp_path: Path) -> None:
    ours = start_with_installs(shim, tmp_path)

    assert ours == [sys.meta_path[0], sys.meta_path[-1]] == [shim.watcher, shim.latecomer]
    assert len(set(sys.meta_path)) == len(sys.meta_path)
    assert [weakref.ref(finder)() for finder in ours] == ours
    assert copy.copy(ours) == copy.deepcopy(ours) == ours
    assert all(isinstance(finder.__module__, str) for finder in ours)
