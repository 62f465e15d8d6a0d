"""What asks the doctor in another interpreter, and reads its answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dbx_patch._doctor import _asked
from dbx_patch._doctor._elsewhere import read_diagnosis
from dbx_patch._doctor._report import Check, Diagnosis, Report, Step

COPY = """\
class Report:
    def __init__(self, module):
        self.module = module
    def to_json(self):
        return {"diagnoses": [{"module": self.module, "doctor": __file__}]}
def doctor(name):
    if name == "no-such-project":
        raise ValueError
    return Report(name.replace("-", "_"))
"""
"""A package that answers as ours does."""


def test_the_named_copy_is_asked_about_each_module_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The interpreter's own copy may be another version's. Start-up files print before and after the answer."""
    (tmp_path / "__init__.py").write_text(COPY)
    monkeypatch.setitem(sys.modules, "dbx_patch", sys.modules["dbx_patch"])

    _asked.main(str(tmp_path), "COOKIE", ["one-project", "one_project", "no-such-project", "other"])

    before, answer, after = capsys.readouterr().out.split("COOKIE")
    assert (before, after) == ("", "")
    here = f"{tmp_path}/__init__.py"
    assert json.loads(answer) == [{"module": "one_project", "doctor": here}, {"module": "other", "doctor": here}]


def test_diagnosis_is_read_as_it_was_written() -> None:
    diagnosis = Diagnosis(
        module="testx",
        cause="healthy",
        summary="It is fine.",
        evidence=("a line",),
        command="a command",
        steps=(Step("finder", "a finder", "found", "/a/file", ends=True),),
        checks=(Check("a check", "passed"),),
    )

    assert read_diagnosis(json.loads(json.dumps(Report((diagnosis,)).to_json()))["diagnoses"][0]) == diagnosis
