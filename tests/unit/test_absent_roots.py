"""A root that is absent for a while, or fails: it is asked again in its place on the path, and never given up."""

from __future__ import annotations

import _frozen_importlib_external as external
import errno
import importlib
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

posix: Any = sys.modules["posix"]


class Roots:
    """A root on the path, a layer below it, and a clock that does not run."""

    def __init__(self, folder: Path, shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shim = shim
        self.root = folder / "root"
        self.layer = folder / "site-packages"
        self.layer.mkdir()
        self.root.mkdir()
        self.layer.joinpath("__editable__.p-1.0.pth").write_text(f"{self.root}\n")
        entries = [entry for entry in sys.path if not shim.is_layer(entry)]
        sys.path[:] = [*entries, str(self.root), str(self.layer)]
        self.now = 100.0
        monkeypatch.setattr(shim.load("folders"), "monotonic", lambda: self.now)
        shim.start()
        self.asked: list[tuple[float, str]] = []
        self.errors: dict[str, int] = {}
        mount = SimpleNamespace(**vars(posix))
        mount.listdir, mount.stat = self.list_folder, self.get_status
        monkeypatch.setattr(external, "_os", mount)

    def list_folder(self, path: str) -> list[str]:
        """List a folder as importlib does, or fail as the mount does."""
        if path in self.errors:
            raise OSError(self.errors[path], "a failure of the test", path)
        names: list[str] = posix.listdir(path)
        return names

    def get_status(self, path: str) -> Any:
        """Return a file's status as importlib asks for it, and note when it did."""
        self.asked.append((self.now, str(path)))
        return posix.stat(path)

    def write(self, *names: str) -> None:
        """Write modules into the root and the layer, each with its folder as its only content."""
        for name in names:
            file = Path(name.format(root=self.root, layer=self.layer))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")

    def leave(self) -> None:
        """Take the root away."""
        self.root.rename(self.root.with_name("away"))

    def come_back(self, seconds: float = 1.0) -> None:
        """Bring the root back, and let some time pass."""
        self.root.with_name("away").rename(self.root)
        self.now += seconds

    def find(self, name: str) -> str | None:
        """Return where a name is imported from: the root or the layer; None if the import fails."""
        try:
            file = importlib.import_module(name).__file__
        except ModuleNotFoundError:
            return None
        return "root" if str(file).startswith(f"{self.root}/") else "layer"


@pytest.fixture
def roots(shim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Roots]:
    yield Roots(tmp_path, shim, monkeypatch)
    for name in [name for name in sys.modules if name.startswith("absent_")]:
        del sys.modules[name]


def test_root_that_has_come_back_wins_over_a_copy_in_its_layer(roots: Roots) -> None:
    roots.write("{root}/absent_one.py", "{layer}/absent_one.py", "{root}/absent_two.py", "{layer}/absent_two.py")

    roots.leave()
    while_absent = roots.find("absent_one")
    roots.come_back()

    assert (while_absent, roots.find("absent_two")) == ("layer", "root")
    assert [event[:2] for event in roots.shim.journal] == [("root available", str(roots.root))]


def test_root_that_leaves_is_absent_until_it_comes_back(roots: Roots) -> None:
    roots.write(*(f"{{{place}}}/absent_{number}.py" for place in ("root", "layer") for number in range(3)))

    found = [roots.find("absent_0")]
    roots.leave()
    found.append(roots.find("absent_1"))
    roots.come_back()
    found.append(roots.find("absent_2"))

    assert found == ["root", "layer", "root"]


def test_absent_root_is_asked_once_a_second_and_at_once_when_caches_are_invalidated(roots: Roots) -> None:
    def ask(*seconds: float) -> list[float]:
        roots.asked.clear()
        for roots.now in seconds:
            for number in range(10):
                roots.find(f"absent_{number}")
        return [when for when, path in roots.asked if path == str(roots.root)]

    roots.find("absent_first")
    roots.leave()

    counts = [Counter(ask(100.0, 100.5, 100.9)), Counter(ask(101.0, 101.9))]
    importlib.invalidate_caches()
    counts.append(Counter(ask(101.9)))

    # Python's finder asks once. If the folder is absent, it is asked again whether it is.
    assert counts == [{100.0: 2}, {101.0: 2}, {101.9: 2}]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_error_of_the_process_ends_the_import_and_drops_no_root(roots: Roots, number: int) -> None:
    """The root is there, so a copy in a lower layer must not be imported, now or later. Python raises as well."""
    roots.write("{root}/absent_one.py", "{layer}/absent_one.py")

    roots.errors[str(roots.root)] = number
    with pytest.raises(OSError, match="a failure of the test") as raised:
        roots.find("absent_one")
    roots.errors.clear()

    assert raised.value.errno == number
    assert roots.find("absent_one") == "root"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EPROTO])
def test_error_of_the_mount_means_that_the_root_is_absent_for_now(roots: Roots, number: int) -> None:
    roots.write(*(f"{{{place}}}/absent_{number}.py" for place in ("root", "layer") for number in range(3)))

    roots.errors[str(roots.root)] = number
    found = [roots.find("absent_0")]
    roots.errors.clear()
    found.append(roots.find("absent_1"))
    roots.now += 1
    found.append(roots.find("absent_2"))

    assert found == ["layer", "layer", "root"]
    assert [event[0] for event in roots.shim.journal] == ["root unavailable", "root available"]


@pytest.mark.parametrize("noticed", ["by the submodule", "by another import"])
def test_namespace_package_gets_the_portion_of_a_root_that_has_come_back(roots: Roots, noticed: str) -> None:
    """Python would not look for it again: its other portion, in the layer, is there."""
    roots.write("{layer}/absent_ns/below.py", "{root}/absent_ns/late.py", "{root}/absent_ns/inner/late.py")
    roots.write("{layer}/absent_ns/inner/below.py", "{root}/absent_other.py")

    roots.leave()
    names = ("absent_ns.below", "absent_ns.inner.below", "absent_ns.late")
    while_absent = {name: roots.find(name) for name in names}
    roots.come_back()
    if noticed == "by another import":
        assert roots.find("absent_other") == "root"

    assert while_absent == {"absent_ns.below": "layer", "absent_ns.inner.below": "layer", "absent_ns.late": None}
    assert (roots.find("absent_ns.inner.late"), roots.find("absent_ns.late")) == ("root", "root")


def test_root_that_python_remembers_as_absent_is_asked(roots: Roots) -> None:
    roots.write("{root}/absent_one.py")
    roots.shim.stop()
    sys.path_importer_cache[str(roots.root)] = None

    roots.shim.start()

    assert roots.find("absent_one") == "root"
