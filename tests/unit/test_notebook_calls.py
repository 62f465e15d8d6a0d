"""The calls that install from within Python: what they hand on, what they print, and when Python is restarted."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dbx_patch import _notebook as calls
from dbx_patch import installer


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order."""
    order: list[str] = []
    monkeypatch.setattr(calls, "patch_dbx", lambda: order.append("patched"))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    return order


def give_dbutils(monkeypatch: pytest.MonkeyPatch, order: list[str]) -> None:
    """Have a notebook's shell in this process, with a `dbutils` that notes restarts."""
    library = SimpleNamespace(restartPython=lambda: order.append("restarted"))
    shell = SimpleNamespace(user_ns={"dbutils": SimpleNamespace(library=library)})
    ipython: Any = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)


@pytest.mark.parametrize("changed", [True, False], ids=["installed", "installed before"])
@pytest.mark.parametrize("has_dbutils", [True, False], ids=["notebook", "no notebook"])
def test_python_is_restarted_only_in_a_notebook_and_if_something_was_installed(
    order: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_dbutils: bool,  # noqa: FBT001
    changed: bool,  # noqa: FBT001
) -> None:
    done = SimpleNamespace(version="0.2.0", changed=changed)

    def install(python: str) -> Any:
        order.append(f"installed for {python}")
        return done

    monkeypatch.setattr(installer, "install_alone", install)
    if has_dbutils:
        give_dbutils(monkeypatch, order)

    result: Any = calls.patch_and_install()

    assert result is done
    restarted = ["restarted"] if has_dbutils and changed else []
    assert order == ["patched", f"installed for {sys.executable}", *restarted]
    said = capsys.readouterr().out
    assert ("is now installed" in said) is changed
    assert ("Restarting Python." in said) is bool(restarted)
    assert ("there is no dbutils here" in said) is not has_dbutils


def test_process_is_patched_even_if_nothing_can_be_installed(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_python: str) -> None:
        raise installer.InstallerError("no")  # noqa: EM101

    monkeypatch.setattr(installer, "install_alone", fail)

    with pytest.raises(installer.InstallerError):
        calls.patch_and_install()

    assert order == ["patched"]


def test_options_reach_the_installer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(installer, "install", lambda python, **options: asked.append((python, options)))
    monkeypatch.setattr(installer, "uninstall", asked.append)

    calls.install_sitecustomize()
    calls.install_sitecustomize("/a/python", force=True, strict=True, outside_databricks=True)
    calls.uninstall_sitecustomize("/a/python")

    off = dict.fromkeys(("force", "strict", "outside_databricks"), False)
    assert asked == [(sys.executable, off), ("/a/python", dict.fromkeys(off, True)), "/a/python"]
