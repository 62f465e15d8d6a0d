"""Properties: `.pth` files are read as Python reads them, and Python starts whatever the layers contain."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import locale
import os
import random
import shutil
import site
import socket
import stat
import string
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbx_patch.sitecustomize_template import dbx_patch_sitecustomize as shim

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbx_patch.sitecustomize_template import Editable
    from tests.lab.node import Node

T = TypeVar("T")

one_kind_of_node = pytest.mark.parametrize("sitecustomize", [False], indirect=True, ids=[""])
reproducible = settings(max_examples=200, deadline=None, derandomize=True, database=None)

# The content of `.pth` files. `site` runs import lines, in this process too, so they are made of harmless pieces.
SIGNATURE = "\ufeff"
FOLDERS = ("plain", "with blank", "gr\u00fc\u00dfe", "quo'te", "deep/er", "import x", "#", "no\u00a0break")
PATHS = st.builds(
    "".join, st.tuples(st.sampled_from(["../out/", "{out}/", "../out/./../out//"]), st.sampled_from(FOLDERS))
)
IMPORTS = st.builds(
    "".join,
    st.tuples(
        st.just("import"),
        st.sampled_from(["", " ", "\t", "\x0b", "\u00a0", " \t "]),
        st.sampled_from(["", "sys", "sys; sys.path", "nothing_of_ours", ";", ".", "#", "sys;"]),
        st.sampled_from(["", "", "/../../out/plain", " "]),
    ),
)
LINES = st.one_of(
    PATHS,
    PATHS,
    st.builds("{}{}".format, st.sampled_from([" ", "\t", SIGNATURE, "#", "# ", " #"]), PATHS),
    IMPORTS,
    st.sampled_from(["", "   ", "\t", "# a comment", " # none", "nothing", ".", "..", "../out", "/", "//"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0{}"), max_size=8),
)
BREAKS = ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
ENDS = st.one_of(st.just("\n"), st.sampled_from([*BREAKS, " \n", "\t\n", "\n\n", "\n\r", "\u00a0\n", "\x1f\n", ""]))
CONTENTS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", "", SIGNATURE, SIGNATURE * 2]),
    st.lists(st.builds("{}{}".format, LINES, ENDS), max_size=8).map("".join),
)


def compare(content: str, folders: tuple[str, ...], read: Callable[[str], list[Editable]]) -> list[list[str]]:
    """Return the roots that Python honors and those that the shim names if these differ, and nothing if they don't.

    The shim does not check whether a root exists, so each one that it names is created before Python is asked. Python
    ignores the rest of a file after a line that raises, and the shim does not, so Python is asked again without that
    line.
    """
    with tempfile.TemporaryDirectory() as made:
        top = Path(made).resolve()
        layer, out = top / "site-packages", top / "out"
        for folder in (layer, *(out / name for name in folders)):
            folder.mkdir(parents=True)
        text = content.replace("{out}", str(out))
        pth = layer / "__editable__.case.pth"
        pth.write_bytes(text.encode())
        named = list(dict.fromkeys(editable["root"] for editable in read(str(layer)) if editable["root"]))
        for root in named:
            if root.startswith(f"{top}/"):
                with contextlib.suppress(OSError):
                    Path(root).mkdir(parents=True, exist_ok=True)
        # until 3.12 is dropped: there, `site` takes a signature as part of the path, which helps nobody
        if sys.version_info >= (3, 13):
            lines = text.splitlines(keepends=True)
        else:
            lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=None))
        before = list(sys.path)
        while True:
            pth.write_text("".join(lines), "utf-8", newline="")
            try:
                with contextlib.redirect_stderr(io.StringIO()) as stderr:
                    site.addpackage(str(layer), pth.name, set())
                added = sys.path[len(before) :]
            finally:
                sys.path[:] = before
            if not stderr.getvalue():
                break
            lines[int(stderr.getvalue().split()[3]) - 1] = "\n"  # "Error processing line 3 of"
        by_python = [entry for entry in added if not f"{entry}/".startswith(f"{layer}/")]
        by_us = [root for root in named if Path(root).exists()]
        return [] if by_python == by_us else [by_python, by_us]


SERVER = f"""\
from __future__ import annotations
import contextlib, io, json, site, sys, tempfile
from pathlib import Path
import dbx_patch_sitecustomize as shim
{inspect.getsource(compare)}
for line in sys.stdin:
    print(json.dumps(compare(json.loads(line), {FOLDERS!r}, shim.load("editables").read_editables)), flush=True)
"""


@pytest.mark.skipif(locale.getpreferredencoding(False) != "UTF-8", reason="`site` reads by the locale")  # noqa: FBT003
@reproducible
@given(CONTENTS)
@example(f"{SIGNATURE}../out/plain\r\n../out/plain\n\n../out/with blank \x85../out/deep/er")
def test_roots_are_those_that_this_python_would_honor(content: str) -> None:
    """The shim is used as a library here, as the command line uses it."""
    assert compare(content, FOLDERS, shim.load("editables").read_editables) == []


@pytest.mark.matrix
@one_kind_of_node
def test_roots_are_those_that_each_python_would_honor(installed: Node) -> None:
    """Pythons differ in what ends a line: since 3.13 it is whatever ends one for `str.splitlines`."""
    with subprocess.Popen(
        [installed.python, "-c", SERVER],
        env=installed.environ() | {"PYTHONUTF8": "1"},
        cwd=installed.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        to_server, from_server = server.stdin, server.stdout

        @reproducible
        @given(CONTENTS)
        def property_(content: str) -> None:
            print(json.dumps(content), file=to_server, flush=True)
            assert json.loads(from_server.readline() or '"the interpreter has ended"') == []

        property_()


@reproducible
@given(CONTENTS, st.integers(0, 200))
def test_file_with_a_nul_is_refused_as_a_whole(content: str, at: int) -> None:
    """Python skips only that line. No tool writes a NUL: the file is damaged, or is being written."""
    with tempfile.TemporaryDirectory() as made:
        layer = Path(made, "site-packages")
        layer.mkdir()
        layer.joinpath("__editable__.case.pth").write_bytes(f"{content[:at]}\0{content[at:]}".encode())

        assert shim.load("editables").read_editables(str(layer)) == []


# Starts


def matrix_only(seeds: range) -> list[Any]:
    """Return seeds that only the matrix runs."""
    return [pytest.param(seed, marks=pytest.mark.matrix) for seed in seeds]


RAISING = (
    "raise ValueError",
    "raise SystemExit",
    "raise SystemExit(3)",
    "raise SystemExit('said')",
    "raise KeyboardInterrupt",
    "raise BaseException",
    "raise ImportError(name='usercustomize')",
    "class E(Exception):\n    def __str__(self): raise SystemExit(4)\n    __repr__ = __str__\nraise E",
    "class E(BaseException):\n    @property\n    def __traceback__(self): raise E\nraise E",
    "e = None\nfor i in range(3000):\n    e, e.__cause__ = ValueError(i), e\nraise e",
    "def (",
    "\0",
    "\xff",
    "",
    "f = lambda: f()\nf()",
    "import nothing.of.ours",
    "__name__ = 7",
    "raise 7",
    "yield",
)
"""Modules of finders that change nothing of others. None prints, because it would print without the shim too."""

MEDDLING = (
    "import sys; sys.path = []",
    "import sys; sys.path[:] = []",
    "import sys; sys.path *= 3",
    "import sys; sys.path.reverse()",
    "import sys; sys.path += [7, None, b'/bytes/site-packages', '', '/a\\0b', '/\\ud800']",
    "import sys; sys.path = list(sys.path); raise ValueError",
    "import sys; sys.path_hooks.clear()",
    "import sys; sys.path_hooks.reverse()",
    "import sys; sys.path_importer_cache.clear()",
    "import sys; sys.meta_path = list(sys.meta_path)",
    "import sys; sys.meta_path.append(object())",
    "import sys; sys.meta_path.insert(0, sys.modules[__name__])",
    "import sys; sys.meta_path.reverse()",
    "import sys; sys.meta_path.clear()",
    "import sys; sys.meta_path = []",
    "import sys\nclass F:\n    @staticmethod\n    def find_spec(*a): raise ImportError\nsys.meta_path.append(F)",
    "import sys\nclass F:\n    find_spec = 7\nsys.meta_path.append(F)",
    "import sys; del sys.modules[__name__]",
    "import sys; sys.modules[__name__] = None",
    "import sys; sys.modules.pop('site', None)",
    "import sys; [sys.modules.pop(name, None) for name in ('os', 'time', 'posix', 'stat')]",
    "import sys; sys.modules['traceback'] = None; raise ValueError",
    "import sys; sys.modules.pop('dbx_patch_sitecustomize')",
    "import dbx_patch_sitecustomize as shim; shim.stop()",
    "import dbx_patch_sitecustomize as shim; shim.layers.clear(); shim.start()",
    "import dbx_patch_sitecustomize as shim; vars(shim).clear()",
    "import sys; sys.stdout = sys.stderr = None; raise ValueError",
    "import sys; sys.setrecursionlimit(150)",
    "import os; os.environ.clear()",
    "import os; os.environ.update(PATH='', HOME='\\udcff', PYTHONPATH='/nowhere', DBX_PATCH_DISABLE='1')",
    "import os; os.chdir('/')",
    "import os; os.listdir = os.stat = None",
    "import warnings; warnings.simplefilter('error')",
    "import threading; threading.Thread(target=len, args=('',)).start()",
)
"""Modules of finders that change the interpreter."""

STEMS = ("__editable__.p-1.0", "__editable__.", "_editable_impl_p", "p", "p-editable", ".hidden", "easy-install")
WEIRD = ("", " ", "\n", "\udcff", "\u00fc", "#", "%s", "{}", "-", "'", "\\", "x" * 200)
"""Parts of file names, among them a byte that is not UTF-8."""


class Layers:
    """Makes layers that contain anything at all, chosen by a seed."""

    def __init__(self, folder: Path, seed: int, finders: tuple[str, ...]) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.finders = finders

    def make(self, number: int) -> list[Path]:
        """Make some layers."""
        return [self.make_layer(at) for at in range(number)]

    def make_layer(self, at: int) -> Path:
        """Make one layer, or a file or link that has the name of one."""
        layer = self.folder / f"{at}{self.pick(*WEIRD)}/site-packages"
        layer.parent.mkdir()
        kind = self.random.randrange(20)
        if kind == 0:
            layer.write_bytes(b"")
        elif kind == 1:
            layer.symlink_to(self.pick(layer.name, "nowhere", "..", "/proc/self/fd"))
        else:
            layer.mkdir()
            for number in range(self.random.randrange(1, 6)):
                self.make_file(layer, f"_editable_impl_finder_{at}_{number}")
            self.make_metadata(layer)
            layer.chmod(self.pick(0o755, 0o755, 0o755, 0o755, 0o777, 0o000, 0o555))
        return layer

    def make_metadata(self, layer: Path) -> None:
        """Make the metadata of distributions: of one that lists the layer's `.pth` files, and of odd ones."""
        info = layer / f"p{self.pick(*WEIRD)}-1.0.dist-info"
        info.mkdir()
        names = "".join(f"{path.name},,\n" for path in layer.glob("*.pth")).encode("utf-8", "surrogateescape")
        url = b'{"dir_info": {"editable": true}}'
        for file, content in ((info / "RECORD", names), (info / "direct_url.json", url)):
            if self.random.randrange(8) == 0:
                make_odd(file, self)
            else:
                file.write_bytes(self.pick(content, content, content, content + b"\xff", b"\0", b""))
                file.chmod(self.pick(0o644, 0o644, 0o644, 0o000, 0o666))
        info.chmod(self.pick(0o755, 0o755, 0o755, 0o777, 0o000))

    def make_file(self, layer: Path, finder: str) -> None:
        """Make one `.pth` file of any kind, and a finder's module of any kind beside it."""
        pth = layer / f"{self.pick(*STEMS)}{self.pick(*WEIRD)}.pth"
        if os.path.lexists(pth):
            return
        kind = self.random.randrange(14)
        if kind == 0:
            pth.write_bytes(self.random.randbytes(self.random.randrange(3000)))
        elif kind == 1:
            pth.write_bytes(b"\0" * self.random.randrange(2) + b"/nowhere\n")
            os.truncate(pth, self.pick(1 << 20, (1 << 20) + 1, 10_000_000))
        elif kind == 2:
            make_odd(pth, self)
        else:
            module = layer / f"{finder}.py"
            if kind == 3:
                make_odd(module, self)
            else:
                module.write_bytes(self.pick(*self.finders).encode("latin-1"))
            lines = [self.line(layer, finder) for _ in range(self.random.randrange(1, 6))]
            text = self.pick("\n", "\n", "\r\n", "\r").join(lines)
            pth.write_bytes(self.pick(b"", b"\xef\xbb\xbf") + text.encode("utf-8", "surrogateescape"))
            pth.chmod(self.pick(0o644, 0o644, 0o644, 0o000, 0o666))

    def line(self, layer: Path, finder: str) -> str:
        """Return one line of a `.pth` file."""
        letters = "".join(self.random.choices(string.printable, k=self.random.randrange(20)))
        absent = f"{layer.parent}/{self.random.randrange(9)}"
        imports = (f"import {finder}", f"import {finder}", f"import\t{finder} ;", f"import {finder}; {letters}")
        return self.pick(*imports, absent, f"../{letters}", letters, "\udcff", "~", "/", "/nowhere" * 999, "\0")

    def pick(self, *choices: T) -> T:
        """Return one of the choices."""
        return self.random.choice(choices)


def make_odd(path: Path, layers: Layers) -> None:
    """Make a folder, pipe, socket or link where a regular file is expected."""
    kind = layers.random.randrange(4)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        make_socket(path)
    else:
        other = path.with_name(f"other-{path.name[:100]}")
        other.symlink_to(path)
        path.symlink_to(layers.pick(path.name, other.name, "/dev/zero", "/nowhere", "/proc/self/mem", "..", "\udcff"))


def make_socket(path: Path) -> None:
    """Make a socket. It is bound under a short name and moved, because a socket's address is limited to 107 bytes."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        shutil.move(f"{short}/s", path)


def shrink(layers: list[Path], fails: Callable[[list[Path]], bool]) -> list[Path]:
    """Return the layers that are needed for a failure: leave out halves, quarters and so on while it still fails."""
    size = len(layers)
    while size > 1:
        size = (size + 1) // 2
        for at in reversed(range(0, len(layers), size)):
            rest = layers[:at] + layers[at + size :]
            if fails(rest):
                layers = rest
    return layers


def describe(layers: list[Path]) -> str:
    """Return a description of some layers, for the message of a test that fails."""
    lines = []
    for path in [below for layer in layers for below in (layer, *sorted(layer.glob("*")))]:
        status, what = path.lstat(), ""
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:  # of any size
                what = f" {status.st_size} bytes: {file.read(300)!r}"
        elif path.is_symlink():
            what = f" -> {str(path.readlink())!r}"
        name = path if path in layers else path.name
        lines.append(f"{stat.filemode(status.st_mode)} {str(name)!r}{what}")
    return "\n".join(lines)


def start(node: Node, layers: list[Path], code: str) -> tuple[int, str, str]:
    """Start an interpreter with some layers on its path; return its exit code, stdout and stderr."""
    environ = {"PYTHONPATH": os.pathsep.join(map(str, layers)), "PYTHONUTF8": "1"}
    done = node.run([node.python, "-c", code], environ, check=False)
    return done.returncode, done.stdout, done.stderr


def tidy(folder: Path, layers: list[Path]) -> None:
    """Remove all layers. pytest keeps temporary files, and other programs stumble over such names and modes."""
    for layer in layers:
        if layer.is_dir() and not layer.is_symlink():
            layer.chmod(0o755)
            for info in layer.glob("*.dist-info"):
                info.chmod(0o755)
    shutil.rmtree(folder)


@one_kind_of_node
@pytest.mark.parametrize("seed", [*range(3), *matrix_only(range(3, 10))])
def test_python_starts_silently_whatever_the_layers_contain(installed: Node, tmp_path: Path, seed: int) -> None:
    layers = Layers(tmp_path, seed, RAISING + MEDDLING).make(30)

    def fails(some: list[Path]) -> bool:
        return start(installed, some, "pass") != (0, "", "")

    try:
        if fails(layers):
            culprits = shrink(layers, fails)
            pytest.fail(f"seed {seed}: {start(installed, culprits, 'pass')}\n{describe(culprits)}")
    finally:
        tidy(tmp_path, layers)


@one_kind_of_node
@pytest.mark.parametrize("seed", [*range(100, 102), *matrix_only(range(102, 106))])
def test_no_layer_costs_another_layer_its_installs(installed: Node, tmp_path: Path, seed: int) -> None:
    """Unless a finder of its own changes the interpreter."""
    odd = Layers(tmp_path, seed, RAISING).make(20)
    good = make_good_layer(tmp_path)

    def fails(some: list[Path]) -> bool:
        return start(installed, [*some, good], "import the_good_one") != (0, "", "")

    try:
        assert not fails([])
        if fails(odd):
            culprits = shrink(odd, fails)
            code = "import dbx_patch_sitecustomize as shim; print(*map(': '.join, shim.journal), sep='\\n')"
            journal = start(installed, [*culprits, good], code)[1]
            pytest.fail(f"seed {seed}: {describe(culprits)}\n{journal}")
    finally:
        tidy(tmp_path, odd)


def make_good_layer(folder: Path) -> Path:
    """Make a layer with an editable install of a module `the_good_one`."""
    good, root = folder / "good/site-packages", folder / "root"
    good.mkdir(parents=True)
    root.mkdir()
    root.joinpath("the_good_one.py").write_text("")
    good.joinpath("__editable__.good.pth").write_text(f"{root}\n")
    return good


@one_kind_of_node
@pytest.mark.oldest_and_newest
@pytest.mark.parametrize("seconds", [-1, 0, 1, 1 << 33])
def test_layer_is_honored_whatever_its_modification_time(installed: Node, tmp_path: Path, seconds: int) -> None:
    """Reproducible images and some mounts have 0 there; other mounts have a clock that is ahead."""
    good = make_good_layer(tmp_path)
    os.utime(good, (seconds, seconds))

    assert start(installed, [good], "import the_good_one") == (0, "", "")


@one_kind_of_node
@pytest.mark.parametrize("target", ["nowhere", "_editable_impl_p.py"])
def test_finder_that_is_a_broken_link_costs_no_other_layer_its_installs(
    installed: Node, tmp_path: Path, target: str
) -> None:
    """The same happens when an uninstall removes the finder's module after the layer was listed."""
    bad, good = tmp_path / "bad/site-packages", make_good_layer(tmp_path)
    bad.mkdir(parents=True)
    bad.joinpath("_editable_impl_p.pth").write_text("import _editable_impl_p\n")
    bad.joinpath("_editable_impl_p.py").symlink_to(target)

    assert start(installed, [bad, good], "import the_good_one") == (0, "", "")


@one_kind_of_node
def test_finder_that_raises_and_is_last_ends_no_import_that_is_answered_before_it(
    installed: Node, tmp_path: Path
) -> None:
    layer = tmp_path / "site-packages"
    layer.mkdir()
    layer.joinpath("_editable_impl_p.pth").write_text("import _editable_impl_p\n")
    layer.joinpath("_editable_impl_p.py").write_text(
        "import sys\nclass F:\n    @staticmethod\n    def find_spec(*a): raise OSError\nsys.meta_path.append(F)\n"
    )

    code = f"import sys; sys.path.append({str(layer)!r})\ntry: import absent\nexcept ImportError: import colorsys"
    assert start(installed, [], code) == (0, "", "")
