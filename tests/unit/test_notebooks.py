"""Tests the form of the documentation's notebooks; `test_kernel.py` runs them."""

from __future__ import annotations

import json
import re

import pytest

from dbx_patch import __version__
from tests.lab.wheels import REPOSITORY

NAMES = sorted(file.stem for file in REPOSITORY.glob("docs/notebooks/*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_can_be_imported_into_databricks_and_holds_no_output(name: str) -> None:
    notebook = json.loads((REPOSITORY / f"docs/notebooks/{name}.ipynb").read_text())

    assert (notebook["nbformat"], notebook["metadata"]["language_info"]) == (4, {"name": "python"})
    assert notebook["metadata"]["application/vnd.databricks.v1+notebook"]["notebookName"] == name
    assert notebook["cells"][0]["source"][0].startswith("# ")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_wheel_that_a_notebook_installs_has_this_version() -> None:
    texts = [(REPOSITORY / f"docs/notebooks/{name}.ipynb").read_text() for name in NAMES]

    found = {name for text in texts for name in re.findall(r"dbx_patch-[\w.-]+\.whl", text)}
    assert found == {f"dbx_patch-{__version__}-py3-none-any.whl"}
