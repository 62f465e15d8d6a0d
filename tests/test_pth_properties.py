"""The reader of `.pth` files against Python's own, and whole starts over layers that hold anything at all."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.node import Node

pytestmark = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])

T = TypeVar("T")
FOLDERS = ("plain", "with blank", "gr\u00fc\u00dfe", "quo'te", "deep/er", "import x")
LINES = st.one_of(
    st.sampled_from(
        ["", "   ", "\t", "# a comment", " # none", "import sys", "import\tsys", "import sys; sys.path", "nothing"]
    ),
    st.builds(
        "".join,
        st.tuples(st.sampled_from(["../out/", "{out}/", "../out/./", "../out/../out/"]), st.sampled_from(FOLDERS)),
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff{}"), max_size=8),
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", " \n", "\t\n", "\n\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
CONTENTS = st.lists(st.tuples(LINES, ENDS), max_size=8).map(lambda lines: "".join(map("".join, lines)))

FINDERS = (
    "raise ValueError",
    "raise SystemExit(3)",
    "raise KeyboardInterrupt",
    "def (",
    "\0",
    "import nothing.of.ours",
    "import sys; sys.path = []",
    "import sys; sys.path.append(7)",
    "import sys; sys.meta_path.append(object())",
    "import sys; sys.meta_path = list(sys.meta_path)",
    "import sys; sys.meta_path.insert(0, sys.modules[__name__])",
    "import sys; del sys.modules[__name__]",
    "import os; os.environ.clear()",
    "f = lambda: f()\nf()",
    "import sys; sys.path_hooks.clear()",
    "import sys; sys.modules.pop('site', None)",
    "__name__ = 7",
    "import sys\nclass F:\n    @staticmethod\n    def find_spec(*a): raise OSError\nsys.meta_path.append(F)",
)
"""Modules of finders; none that prints, for that it would do in plain Python as well."""

COMPARE = """\
import contextlib, io, json, os, site, sys, tempfile
import dbx_patch_sitecustomize as shim
editables = shim.load("editables")
different = []
for content in json.load(sys.stdin):
    with tempfile.TemporaryDirectory() as folder:
        folder = os.path.realpath(folder)
        layer, out = folder + "/site-packages", folder + "/out"
        os.mkdir(layer)
        for name in FOLDERS:
            os.makedirs(out + "/" + name)
        with open(layer + "/case.pth", "w", encoding="utf-8", newline="") as file:
            file.write(content.replace("{out}", out))
        before = list(sys.path)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            site.addpackage(layer, "case.pth", set())
        by_python = [entry for entry in sys.path[len(before):] if not entry.startswith(layer)]
        sys.path[:] = before
        roots = dict.fromkeys(editable["root"] for editable in editables.read_editables(layer) if editable["root"])
        by_us = [root for root in roots if os.path.exists(root)]
        # Behind a line that raises, Python reads no more, and the shim does.
        if by_python != by_us and not said.getvalue():
            different.append([content, by_python, by_us])
print(json.dumps(different))
"""


def compare(node: Node) -> Callable[[], None]:
    """Make the property of one interpreter: the examples come in lists, for the time that a start takes."""

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(CONTENTS, min_size=10, max_size=30))
    def property_(contents: list[str]) -> None:
        done = subprocess.run(
            [str(node.python), "-c", f"FOLDERS = {FOLDERS!r}\n{COMPARE}"],
            env=node.environ() | {"PYTHONUTF8": "1"},
            cwd=node.root,
            input=json.dumps(contents),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == []

    return property_


def test_roots_are_those_that_python_itself_would_honor(installed: Node) -> None:
    compare(installed)()


class Layers:
    """Layers that hold anything at all."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder

    def make(self, number: int) -> list[Path]:
        """Make some layers."""
        return [self.make_layer(self.folder / f"{at}/site-packages") for at in range(number)]

    def make_layer(self, layer: Path) -> Path:
        """Make one layer."""
        layer.mkdir(parents=True)
        for at in range(self.random.randrange(1, 6)):
            stem = self.pick(
                f"__editable__.p{at}-1.0",
                f"_editable_impl_p{at}",
                f"p{at}",
                f"p{at}-editable",
                ".hidden",
                "easy-install",
            )
            self.make_file(layer, stem, f"_editable_impl_finder{layer.parent.name}_{at}")
        if self.random.random() < 0.1:
            layer.chmod(self.random.choice([0o777, 0o000, 0o555]))
        return layer

    def make_file(self, layer: Path, stem: str, finder: str) -> None:
        """Make one `.pth` file of any kind, with a finder's module beside it."""
        pth = layer / f"{stem}.pth"
        kind = self.random.randrange(12)
        if os.path.lexists(pth):
            return
        if kind == 0:
            pth.write_bytes(self.random.randbytes(self.random.randrange(3000)))
        elif kind == 1:
            pth.write_bytes(b"\0" * self.random.randrange(9) + b"/nowhere\n" + b"x" * self.pick(0, 11_000_000))
        elif kind == 2:
            pth.mkdir()
        elif kind == 3:
            os.mkfifo(pth)
        elif kind == 4:
            pth.symlink_to(self.pick(pth.name, "/dev/zero", "/nowhere", "/proc/self/mem", ".."))
        else:
            (layer / f"{finder}.py").write_text(self.finder())
            lines = [self.line(layer, finder) for _ in range(self.random.randrange(1, 6))]
            pth.write_bytes(self.pick(b"", b"\xef\xbb\xbf") + "\n".join(lines).encode("utf-8", "surrogateescape"))
            pth.chmod(self.pick(0o644, 0o644, 0o000, 0o666))

    def line(self, layer: Path, finder: str) -> str:
        """Write one line."""
        letters = "".join(self.random.choices(string.printable, k=self.random.randrange(20)))
        absent = f"{layer.parent}/{self.random.randrange(9)}"
        return self.pick(
            f"import {finder}", f"import {finder}; {letters}", absent, f"../{letters}", letters, "\udcff", "~"
        )

    def finder(self) -> str:
        """Write a finder's module; none that prints, for that it would do in plain Python as well."""
        return self.pick(*FINDERS)

    def pick(self, *choices: T) -> T:
        """Pick one."""
        return self.random.choice(choices)


@pytest.mark.parametrize("seed", range(8))
def test_python_starts_silently_over_layers_that_hold_anything(installed: Node, tmp_path: Path, seed: int) -> None:
    layers = Layers(tmp_path, seed).make(25)

    def start(some: list[Path]) -> tuple[int, str, str]:
        done = installed.run(
            [installed.python, "-c", "pass"], {"PYTHONPATH": os.pathsep.join(map(str, some))}, check=False
        )
        return done.returncode, done.stdout, done.stderr

    try:
        if start(layers) == (0, "", ""):
            return
        guilty = [layer for layer in layers if start([layer]) != (0, "", "")]
        files = {str(file): file.read_bytes()[:300] for layer in guilty for file in layer.iterdir() if file.is_file()}
        pytest.fail(f"{start(layers)}\n{files}")
    finally:
        for layer in layers:
            layer.chmod(0o755)
        shutil.rmtree(tmp_path)
