"""The self-test's table, its JSON, and how it removes what it wrote. `tests/test_selftest.py` runs it on nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbx_patch._selftest import Row, SelfTest, Watcher, run_selftest
from dbx_patch._selftest import _promises as promises
from dbx_patch._selftest import _run as running
from dbx_patch._selftest._processes import BrokenError, Fresh, Here
from dbx_patch._selftest._promises import PROMISES, Layer, NotApplicableError, Promise, Trial
from dbx_patch._selftest._scratch import Interrupts, Scratch, forget
from tests.lab.wheels import REPOSITORY

PASSED = Row(
    "path style", "fresh interpreter", "/databricks/python/lib/python3.12/site-packages", "passed", seconds=0.1
)
FAILED = Row(
    "library code",
    "this process",
    "/Workspace/Users/me@corp.example",
    "failed",
    "it raised ImportError",
    "<b>/home/me</b>",
)
SPARED = Row("pip", "fresh interpreter", "/tmp/x", "not applicable", "it could not be tried: /home/me and, (you)/x")
RESULT = SelfTest("It is live.\nPython: /home/me/a me/python", ("/tmp", "/home/a me"), (PASSED, FAILED, SPARED))


def test_text_has_a_line_for_each_row_with_the_reason() -> None:
    lines = str(RESULT).splitlines()

    assert lines[3:5] == ["  /tmp", "  /home/a me"]
    rows = [line for line in lines if line[:1] in "✓✗\N{EN DASH}"]
    assert [row[0] for row in rows] == ["✓", "✗", "\N{EN DASH}", "✗"]
    assert "0.10 s     \N{EN DASH}  fresh interpreter, /databricks/python" in rows[0]
    assert "it could not be tried: /home/me and, (you)/x" in rows[2]
    assert lines[lines.index(rows[1]) + 1] == "    <b>/home/me</b>"
    assert rows[3] == "✗ Self-test of dbx-patch: 1 passed, 1 failed, 1 not applicable."


def test_html_is_escaped() -> None:
    html = RESULT._repr_html_()

    assert html.count("<tr>") == 4
    assert "&lt;b&gt;/home/me" in html
    assert "<b>" not in html


def test_json_has_the_fingerprint_and_nothing_private() -> None:
    found = RESULT.to_json()

    assert found["fingerprint"]["schema"] == 2
    del found["fingerprint"]
    found = replace(RESULT, left=("Permission denied: /home/me, me",)).to_json() | {"fingerprint": {}}
    assert [word for word in ("/me", "a me", "you", ", me") if word in str(found)] == []
    assert found["left"] == ["Permission denied: /home/<redacted>"]
    assert found["live"] == "It is live.\nPython: /home/<redacted>"
    assert [row["place"] for row in found["promises"]] == [PASSED.place, "/Workspace/<redacted>", "/tmp/<redacted>"]
    assert found["promises"][1]["detail"] == "it raised ImportError"
    assert found["promises"][0]["mount_calls"] is None


@pytest.mark.parametrize(
    ("rows", "left", "passed"),
    [
        ((PASSED, SPARED), (), True),
        ((PASSED, FAILED), (), False),
        ((SPARED,), (), False),
        ((PASSED,), ("/tmp/x: Permission denied",), False),
    ],
    ids=["passed", "failed", "nothing applies", "not removed"],
)
def test_passes_if_something_applies_and_nothing_of_it_failed(
    rows: tuple[Row, ...],
    left: tuple[str, ...],
    passed: bool,  # noqa: FBT001
) -> None:
    assert replace(RESULT, rows=rows, left=left).passed is passed


def test_every_promise_is_in_the_documentation() -> None:
    page = (REPOSITORY / "docs/reference.md").read_text()

    names = {promise.name.removeprefix("workspace: ") for promise in PROMISES}
    assert [name for name in names if f"| {name} |" not in page] == []


# What is written and removed


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("theirs")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "absent")

    for path in (file, link):
        with pytest.raises(FileExistsError):
            Scratch().write(path, "ours")
    assert (file.read_text(), link.exists()) == ("theirs", False)


@pytest.mark.parametrize("style", ["path", "finder"])
def test_everything_is_removed_and_nothing_else(tmp_path: Path, style: Any) -> None:
    scratch, layer = Scratch(), tmp_path / "site-packages"
    for file in (layer / "theirs.py", tmp_path / "dbx_patch_selftest_of_another"):
        scratch.write(file, "")
    scratch.install(scratch.write_project(scratch.make_base(tmp_path)), layer, style)
    cached = layer / "__pycache__" / f"{scratch.make_name()}.cpython-312.pyc"
    scratch.write(cached, "")
    assert len([*layer.iterdir()]) > 2

    assert scratch.remove() == ()

    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "dbx_patch_selftest_of_another",
        "site-packages",
        "theirs.py",
    ]


def test_what_can_not_be_removed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch()
    scratch.make_base(tmp_path)

    def fail(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("shutil.rmtree", fail)

    assert scratch.remove() == (f"Permission denied: {tmp_path}/dbx_patch_selftest_{scratch.token}_1",)


def test_process_forgets_the_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "0123456789ab"
    name = f"dbx_patch_selftest_{token}_1"
    for known in ("path", "meta_path"):
        monkeypatch.setattr(sys, known, [*getattr(sys, known), f"/tmp/{name}", "kept"])
    monkeypatch.setitem(sys.modules, name, sys)
    part = SimpleNamespace(
        roots={f"/tmp/{name}": "layer", "/root": "layer"}, served={f"/tmp/{name}"}, turns=[(name, 1)]
    )
    shim = SimpleNamespace(loaded={"editables": part}, journal={("root honored", f"/tmp/{name}", ""): None})

    forget(token, shim)

    assert (name in sys.modules, f"/tmp/{name}" in sys.path) == (False, False)
    assert [sys.path[-1], str(sys.meta_path[-1])] == ["kept", "kept"]
    assert (part.roots, part.served, part.turns, shim.journal) == ({"/root": "layer"}, set(), [], {})


# Signals and errors


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)]
)
def test_first_signal_ends_and_further_ones_are_ignored(number: signal.Signals, error: type[BaseException]) -> None:
    inherited, removed = signal.signal(number, signal.default_int_handler), False  # under `nohup`, one is ignored
    try:
        with pytest.raises(error), Interrupts():  # noqa: PT012  # what happens afterwards is the point
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)
                removed = True
    finally:
        after = signal.signal(number, inherited)

    assert (after, removed) == (signal.default_int_handler, True)


def test_signal_during_the_removal_waits_for_its_end() -> None:
    removed = False
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012
        interrupts.hold = True
        os.kill(os.getpid(), signal.SIGINT)
        removed = True

    assert removed


def run_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Callable[[Trial], None]) -> tuple[Any, list[str]]:
    """Run the self-test with one promise; return its result, and what was said."""
    said: list[str] = []
    layer = tmp_path / "site-packages"
    layer.mkdir(exist_ok=True)
    monkeypatch.setattr(running, "PROMISES", (Promise("one", attempt, "fresh", in_temporary_layer=True),))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(running, "find_layer_obstacle", lambda _: "not in this test")
    monkeypatch.setattr(running, "find_workspace", lambda: None)
    return run_selftest("", Watcher(said.append), here=False), said


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (BrokenError("it failed", "an error"), "failed", "it failed"),
        (NotApplicableError("a reason"), "not applicable", "a reason"),
        (subprocess.TimeoutExpired("python", 60), "failed", "it did not end within 60 seconds"),
        (
            OSError(28, "No space left on device", "/a/file"),
            "not applicable",
            "it could not be tried: No space left on device: /a/file",
        ),
    ],
)
def test_what_a_promise_raises_is_its_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, state: str, detail: str
) -> None:
    def attempt(trial: Trial) -> None:
        trial.installed()
        raise error

    result, _ = run_one(monkeypatch, tmp_path, attempt)

    [row] = result.rows
    assert (row.state, row.detail) == (state, detail)
    assert [path.name for path in tmp_path.iterdir()] == ["site-packages"]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(3)])
def test_everything_is_removed_after_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def attempt(trial: Trial) -> None:
        trial.installed()
        raise error

    with pytest.raises(type(error)):
        run_one(monkeypatch, tmp_path, attempt)

    assert [path.name for path in tmp_path.iterdir()] == ["site-packages"]


def test_folders_are_named_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Look(Watcher):
        def begin(self, live: str, folders: tuple[str, ...]) -> None:
            del live
            written.append([*tmp_path.iterdir()])
            assert folders == (str(tmp_path),)

    written: list[Any] = []
    monkeypatch.setattr(running, "PROMISES", ())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(running, "find_layer_obstacle", lambda _: "not in this test")
    monkeypatch.setattr(running, "find_workspace", lambda: None)

    run_selftest("", Look(lambda _: None), here=False)

    assert written == [[]]


# Processes


def test_fresh_interpreter_answers_counts_and_pauses(tmp_path: Path) -> None:
    paused = []
    code = f"import os; pause(); os.stat({str(tmp_path)!r}); os.listdir({str(tmp_path)!r}); os.stat('/'); answer = 1"

    answer = Fresh(tmp_path, None).run(code, lambda: paused.append(1), str(tmp_path))

    assert (answer.value, paused) == (1, [1])
    assert answer.calls == [("stat", str(tmp_path)), ("os.listdir", str(tmp_path))]


@pytest.mark.parametrize(
    ("code", "detail", "evidence"),
    [
        ("import a_missing_module", "it raised ModuleNotFoundError", "No module named 'a_missing_module'"),
        ("import os; os.write(2, b'gone'); os._exit(0)", "it ended without an answer", "gone"),
    ],
)
def test_fresh_interpreter_without_an_answer_is_a_failure(
    tmp_path: Path, code: str, detail: str, evidence: str
) -> None:
    with pytest.raises(BrokenError) as caught:
        Fresh(tmp_path, None).run(code)

    assert caught.value.args[0] == detail
    assert evidence in caught.value.args[1]


def test_fresh_interpreter_that_ends_in_a_pause_is_a_failure(tmp_path: Path) -> None:
    code = "import os, sys; sys.stdin.readline = lambda: os._exit(3); pause()"

    with pytest.raises(BrokenError, match="it ended without an answer"):
        Fresh(tmp_path, None).run(code, lambda: time.sleep(0.3))


def test_fresh_interpreter_that_hangs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbx_patch._selftest._processes.LIMIT", 0.3)

    with pytest.raises(BrokenError, match="no answer within"):
        Fresh(tmp_path, None).run("import time; time.sleep(60)")


# A user-defined function


@pytest.fixture
def udf_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    layer = tmp_path / "site-packages"
    layer.mkdir()
    monkeypatch.setattr(promises, "SHARED", (f"{tmp_path}/",))
    return Trial(Scratch(), Here(layer), Layer("/none"), tmp_path, tmp_path, (Layer(str(layer)),))


def give_spark(monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    """Have an active session that runs functions in this process. `tests/test_spark.py` has the real one."""
    functions = SimpleNamespace(udf=lambda function, _: lambda _: function)
    spark = SimpleNamespace(SparkSession=SimpleNamespace(getActiveSession=lambda: session), functions=functions)
    monkeypatch.setitem(sys.modules, "pyspark.sql", spark)


class Session:
    """A session whose executor has some folders on its path."""

    def __init__(self, *path: Path) -> None:
        self.path = path

    def range(self, _: int) -> Session:
        return self

    def select(self, function: Callable[[int], object]) -> Any:
        def first() -> list[object]:
            lines = [
                line for layer in self.path for pth in layer.glob("*.pth") for line in pth.read_text().splitlines()
            ]
            sys.path[:0] = lines
            return [function(0)]

        return SimpleNamespace(first=first)


def test_udf_needs_a_session(udf_trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    give_spark(monkeypatch, None)

    with pytest.raises(NotApplicableError, match="no active Spark session"):
        promises.try_udf(udf_trial)


def test_udf_imports_the_project_or_fails(udf_trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    give_spark(monkeypatch, Session(Path(udf_trial.layers[0].path)))
    promises.try_udf(udf_trial)

    give_spark(monkeypatch, Session())
    with pytest.raises(BrokenError, match="ModuleNotFoundError"):
        promises.try_udf(udf_trial)
    forget(udf_trial.scratch.token, None)


def test_notebook_shows_the_table_as_it_grows_and_a_line_at_the_end() -> None:
    shown: list[str] = []

    def show(html: str, *, display_id: bool) -> object:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    display = SimpleNamespace(HTML=str, display=show)
    drawing = running.Drawing(display)

    drawing.begin(RESULT.live, RESULT.folders)
    for row in RESULT.rows:
        drawing.add(row)
    drawing.end(RESULT)

    begins, no_row, *grown, end = shown
    assert "starts" in begins
    assert PASSED.promise not in no_row
    assert [sum(row.promise in html for row in RESULT.rows) for html in grown] == [1, 2, 3]
    assert [f"{number} done" in html for number, html in enumerate(grown, 1)] == [True] * 3
    assert end == RESULT.summary


def test_what_could_not_be_removed_is_said() -> None:
    said: list[object] = []

    Watcher(said.append).left("it is busy: /a/folder")

    assert said == ["could not be removed: it is busy: /a/folder"]
