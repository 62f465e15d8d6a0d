"""The states of Databricks' hooks in a process, and what `patch_dbx` and `check_patch_status` print of them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

from dbx_patch._process import PatchStatus, print_events, printed
from dbx_patch._verify import HookStatus, check_patched, find_codes, find_module, import_probe

if TYPE_CHECKING:
    import pytest


def make_shim(*, states: dict[str, str]) -> SimpleNamespace:
    hooks = dict.fromkeys(("a_hook", "another_hook", "no_such_hook", "json"), ("find_spec", "answer_editables"))
    return SimpleNamespace(HOOKS=hooks, hook_states=states, watcher=None)


def test_hook_that_was_imported_before_the_shim_could_patch_it_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_hook", ModuleType("a_hook"))
    monkeypatch.setitem(sys.modules, "another_hook", ModuleType("another_hook"))
    monkeypatch.delitem(sys.modules, "json")  # it can be imported, but has not been
    shim = make_shim(states={"a_hook": "armed", "another_hook": "patched", "no_such_hook": "armed"})

    states = {hook.hook: (hook.state, hook.reason) for hook in check_patched(shim)}

    assert states == {
        "a_hook.find_spec": (
            "missed",
            "it was imported before the shim could patch it; call dbx_patch.patch_dbx()",
        ),
        "another_hook.find_spec": ("patched", ""),
        "no_such_hook.find_spec": ("absent", ""),
        "json.find_spec": ("armed", ""),
    }


def test_reason_of_an_incompatible_hook_is_kept_whole() -> None:
    shim = make_shim(states={"no_such_hook": "incompatible: no find_spec: it is None"})

    assert HookStatus("no_such_hook.find_spec", "incompatible", "no find_spec: it is None") in [*check_patched(shim)]


def test_module_is_found_by_its_last_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("package.a_lonely_hook")
    monkeypatch.setitem(sys.modules, "package.a_lonely_hook", module)

    assert find_module("a_lonely_hook") is find_module("package.a_lonely_hook") is module
    assert find_module("other.a_lonely_hook") is None


def test_code_objects_of_a_class_include_inner_functions() -> None:
    module = ModuleType("a_hook")
    exec(
        "class Hook:\n    def install(self):\n        def patched(): pass\n        return patched\n"
        "    @classmethod\n    def of_class(cls): pass\n    value = 1\n",
        vars(module),
    )

    assert {code.co_name for code in find_codes(module, "Hook")} == {"install", "patched", "of_class"}
    assert {code.co_name for code in find_codes(module, "Hook.install")} == {"install", "patched"}
    assert list(find_codes(module, "Hook.value")) == list(find_codes(module, "Absent.x")) == []
    assert list(find_codes(None, "Hook")) == []


def test_nothing_is_left_of_the_probe() -> None:
    """What stayed served would be answered for every caller, whatever Databricks' hooks say."""
    served: set[str] = set()
    part = SimpleNamespace(served=served, normalize=str)
    before = list(sys.path), set(sys.modules), set(sys.path_importer_cache)

    ran, problem = import_probe(SimpleNamespace(load=lambda _: part))

    assert (bool(ran), problem, served) == (True, "", set())
    assert (list(sys.path), set(sys.modules), set(sys.path_importer_cache)) == before


def test_hooks_are_not_verified_when_dbx_patch_was_uninstalled_meanwhile() -> None:
    def load(part: str) -> None:
        raise FileNotFoundError(part)

    ran, problem = import_probe(SimpleNamespace(load=load))

    assert ran == set()
    assert problem.startswith("not verified, because FileNotFoundError")


def test_each_event_is_printed_once_with_its_kind_and_subject(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbx_patch._process.printed", set(printed))
    events = {
        ("root honored", "/Workspace/testx/src", "after /databricks/layer"): None,
        ("hook patched", "a", ""): None,
    }
    shim = SimpleNamespace(
        VERSION="1.0", started=True, __spec__=SimpleNamespace(origin="/layer/shim.py"), journal=events
    )

    print_events(shim)
    print_events(shim)
    shim.journal["hook patched", "b", ""] = None
    print_events(shim)

    live = "dbx-patch 1.0 is live, from /layer/shim.py"
    assert capsys.readouterr().out.splitlines() == [
        live,
        "  root honored: /Workspace/testx/src: after /databricks/layer",
        "  hook patched: a",
        live,
        "  nothing new",
        live,
        "  hook patched: b",
    ]


def test_status_is_printed_as_lines_and_drawn_as_an_escaped_table() -> None:
    hook = HookStatus("a_hook.find_spec", "incompatible", "<script>")
    status = PatchStatus(live=True, version="1.0", file="/layer/shim.py", hooks=(hook,))

    assert str(status).splitlines() == [
        "dbx-patch 1.0 is live, from /layer/shim.py",
        "  a_hook.find_spec: incompatible: <script>",
    ]
    html = status._repr_html_()
    assert (
        "✗\N{NO-BREAK SPACE}incompatible</span></td><td><code>a_hook.find_spec</code></td><td>&lt;script&gt;</td>"
        in html
    )
    assert str(PatchStatus(live=False, version=None, file=None, hooks=())) == "dbx-patch is not live"
