"""What an interpreter says about itself; here the tests' own answers, with other values in `sys`."""

from __future__ import annotations

import json
import runpy
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbx_patch.installer import _probe
from dbx_patch.sitecustomize_template import template

TEMPLATE = template.__file__
NOWHERE = "/nowhere/template.py"
"""A template that can't be loaded: an answer shows that it was not needed."""


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no shim in this process, and leave none behind."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.delitem(sys.modules, "dbx_patch_sitecustomize", raising=False)


def test_interpreter_names_its_places_and_its_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, absent = tmp_path / "lib/site-packages", tmp_path / "absent/dist-packages"
    root = tmp_path / "project"
    for folder in (layer, root, tmp_path / "debian"):
        folder.mkdir(parents=True)
    (layer / "__editable__.project-1.0.pth").write_text(f"{root}\n")
    for folder in (tmp_path / "debian", layer):
        (folder / "sitecustomize.py").touch()
    path = ["", str(Path(_probe.__file__).parent), str(tmp_path / "debian"), str(layer), str(absent)]
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setattr("site.getsitepackages", lambda: [str(layer)])

    facts = _probe.describe(TEMPLATE)

    assert facts["executable"] == sys.executable
    assert facts["version"] == list(sys.version_info[:3])
    assert facts["purelib"] == sysconfig.get_path("purelib")
    assert facts["live"] is None
    assert facts["has_virtualenv"] is False
    assert facts["sitecustomizes"] == [f"{path[2]}/sitecustomize.py", f"{layer}/sitecustomize.py"]
    assert [(found["path"], found["opened_by_site"]) for found in facts["layers"]] == [
        (str(layer), True),
        (str(absent), False),
    ]
    assert [found["root"] for layer in facts["layers"] for found in layer["editables"]] == [str(root)]


def test_nothing_is_looked_for_in_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root can be on a mount that hangs. And `site` looked for a `sitecustomize` before the shim added any."""
    for name in ("virtualenv", "sitecustomize"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    facts = _probe.describe(TEMPLATE)
    assert (facts["has_virtualenv"], facts["sitecustomizes"]) == (True, [f"{tmp_path}/sitecustomize.py"])

    editables = SimpleNamespace(roots={str(tmp_path): "/a/layer"}, added_roots={str(tmp_path)})
    live: Any = SimpleNamespace(loaded={"editables": editables})
    monkeypatch.setitem(sys.modules, "dbx_patch_sitecustomize", live)
    facts = _probe.describe(TEMPLATE)
    assert (facts["has_virtualenv"], facts["sitecustomizes"]) == (False, [])


@pytest.mark.parametrize("has_file", [True, False], ids=["of the first builds", "of this version"])
def test_live_shim_is_described_whichever_version_it_is(
    monkeypatch: pytest.MonkeyPatch,
    has_file: bool,  # noqa: FBT001
) -> None:
    place = {"__file__": "/a/shim.py"} if has_file else {"__spec__": SimpleNamespace(origin="/a/shim.py")}
    live: Any = SimpleNamespace(started=True, VERSION="0.0.1", **place)
    monkeypatch.setitem(sys.modules, "dbx_patch_sitecustomize", live)
    assert _probe.describe(TEMPLATE)["live"] == {"file": "/a/shim.py", "version": "0.0.1", "hooks": {}}

    live.started = False
    assert _probe.describe(TEMPLATE)["live"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("version_info", (3, 8, 20)), ("implementation", SimpleNamespace(name="pypy", cache_tag="pypy310"))],
)
def test_interpreter_that_cannot_run_the_shim_says_what_it_is(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, name, value)

    facts = _probe.describe(NOWHERE)

    assert (facts["version"], facts["implementation"]) == (list(sys.version_info[:3]), sys.implementation.name)
    assert "layers" not in facts


def test_base_is_the_interpreter_that_an_environment_was_created_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "python3.12"
    base.touch()
    python = tmp_path / "python"
    python.symlink_to(base)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "base_prefix", "/usr")

    monkeypatch.setattr(sys, "prefix", "/usr")
    assert _probe.find_base() is None
    monkeypatch.setattr(sys, "prefix", "/an/environment")
    monkeypatch.setattr(sys, "_base_executable", "/absent/python", raising=False)  # as 3.10 guesses
    assert _probe.find_base() == str(base)
    base.unlink()
    assert _probe.find_base() is None


def test_answer_is_between_two_cookies(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What start-up files print comes before and after it."""
    monkeypatch.setattr(sys, "argv", [_probe.__file__, TEMPLATE, "COOKIE"])

    runpy.run_path(_probe.__file__, run_name="__main__")

    before, answer, after = capsys.readouterr().out.split("COOKIE")
    assert (before, after) == ("", "")
    assert json.loads(answer)["executable"] == sys.executable
