"""README and documentation: their commands are run, their snippets read, their options and links looked up."""

from __future__ import annotations

import argparse
import ast
import doctest
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hcl2
import pytest
import yaml

import dbx_patch
from dbx_patch._cli import main, make_parser
from tests.lab.missing import missing
from tests.lab.wheels import LOWEST, REPOSITORY, FetchError, copy_sources, fetch_databricks_bundles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.node import Node, Notebook

PAGES = {
    str(file.relative_to(REPOSITORY)): file.read_text("utf-8")
    for file in (
        REPOSITORY / "README.md",
        *sorted(REPOSITORY.glob(".github/CONTRIBUTING.md")),
        *sorted(REPOSITORY.glob("docs/*.md")),
    )
}
NO_COMMANDS = {"dockerfile", "hcl", "json", "text", "yaml"}
"""Languages of blocks that are not run here line by line; all but text are read by tests of their own."""
COMMANDS = {"pycon", "python", "sh"}
"""Languages of blocks that are run, page by page in their order, but where the text before them has the mark."""
MARK = "(cluster only)"
VENV = "python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[test]' && .venv/bin/python -m"
RUN_ELSEWHERE = {
    f"{VENV} tests.lab": "tests/test_repository.py::test_demonstration_of_the_readme_shows_the_main_job",
    f"{VENV} pytest -n auto": "tests/test_repository.py::test_gate_runs_the_test_command_of_the_readme",
    "python -m tests.lab --workspace --latency 20": (
        "tests/workspace/test_demonstration.py::test_demonstration_shows_calls_and_outages"
    ),
    "python -m pytest tests/test_cost.py --matrix -rP": "tests/test_cost.py::test_bare_start",
    'import dbx_patch\n\ndbx_patch.doctor("testx")': (
        "tests/test_doctor.py::test_report_on_a_module_that_is_importable"
    ),
    "import dbx_patch\n\ndbx_patch.selftest()": "tests/test_selftest.py::test_notebook_tries_its_own_process",
    "dbx-patch selftest": "tests/test_selftest.py::test_passes_with_the_shim_and_leaves_every_byte_as_it_was",
    "dbx-patch startup-wheel --output .": "tests/unit/test_startup_wheel.py::test_command_writes_it",
    "dbx-patch doctor testx": "tests/test_doctor.py::test_command_line_prints_the_report_and_exits_with_the_result",
    "python -m tests.bench --json docs/performance.json": ("tests/test_bench.py::test_counts_are_within_their_budgets"),
}
"""Commands that another test runs, or that a test makes sure of being run."""
FENCE = re.compile(r"```(\w*)")
EXAMPLE = REPOSITORY / "docs/examples/serverless-project"
SELFTESTS = REPOSITORY / "docs/examples/selftest-bundle"
BUNDLES = (EXAMPLE, SELFTESTS)
SCRIPT = "/Volumes/main/default/libraries/dbx-patch.sh"
ON_A_NODE = re.compile(r"(?<![\w.])/(databricks|tmp|usr|Volumes|Workspace)/")

one_node = pytest.mark.parametrize("sitecustomize", [True], indirect=True, ids=[""])  # the images' Ubuntu has one


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    page: str
    line: int
    language: str
    text: str
    before: str
    """The paragraph right before it."""

    @property
    def runs_here(self) -> bool:
        """Whether it is a command that this file has to run."""
        return self.language in COMMANDS and MARK not in self.before and self.text.strip() not in RUN_ELSEWHERE


def read_blocks(page: str) -> Iterator[Block]:
    """List the code blocks of a page."""
    language, start, inside, before, apart = None, 0, [""], "", True
    for number, line in enumerate(PAGES[page].splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = FENCE.fullmatch(line)
            assert fence, f"{page}:{number}: a fence has to begin its line, and to name a language at most"
            if language is None:
                language, start, inside = fence[1], number, []
            else:
                yield Block(page, start, language, "\n".join(inside) + "\n", before)
                language, before = None, ""
        elif language is not None:
            inside.append(line)
        elif line:
            before, apart = line if apart else f"{before} {line}", False
        else:
            apart = True
    assert language is None, f"{page}: a block has no end"


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
STORIES = sorted({block.page for block in BLOCKS if block.runs_here})


def read_prose(page: str) -> str:
    """Return the code blocks of a page."""
    return re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def blocks_of(page: str, language: str) -> list[str]:
    """List the blocks of one language on a page."""
    return [block.text for block in BLOCKS if (block.page, block.language) == (page, language)]


# Commands


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_block_is_run_or_marked_or_no_command(block: Block) -> None:
    assert block.language in NO_COMMANDS | COMMANDS
    if block.language == "text":
        assert not re.search(r"^\s*(\$|%pip|>>>|dbx-patch|pip|python3?|sh|uv)\s", block.text, re.MULTILINE)
    if MARK in block.before:
        assert block.language in COMMANDS


def test_commands_that_are_run_elsewhere_are_there_and_run() -> None:
    texts = {block.text.strip() for block in BLOCKS}
    assert set(RUN_ELSEWHERE) <= texts
    for test in RUN_ELSEWHERE.values():
        file, _, name = test.partition("::")
        tree = ast.parse((REPOSITORY / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


class Story:
    """Runs the commands of a page one after the other: on a node, in a notebook on it, and in a clone."""

    def __init__(self, node: Node, clone: Path) -> None:
        self.node = node
        self.clone = copy_sources(clone)
        node.pip("install", "--quiet", *LOWEST)  # as on a runtime
        project = node.workspace / "Users/you@example.com/testx"
        shutil.copytree(REPOSITORY / "docs/examples/testx", project)
        volume = node.root / "Volumes/main/default/libraries"
        volume.mkdir(parents=True)
        (node.root / "tmp").mkdir()
        for wheel in node.wheelhouse.glob("dbx_patch-*"):
            shutil.copy(wheel, volume)
        self.offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(node.wheelhouse)}
        self.notebook: Notebook | None = None

    def place(self, text: str) -> str:
        """Write the paths of a cluster as those of the node."""
        return ON_A_NODE.sub(rf"{self.node.root}/\1/", text).replace("python3.12", self.node.version)

    def run(self, block: Block) -> None:
        """Run a block; it has to succeed, or to print what it shows."""
        if block.language == "sh" and block.text.startswith("/databricks/"):
            self.node.run(["sh", "-ec", self.place(block.text)], self.offline)
        elif block.language == "sh":
            tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environ = os.environ | self.offline | {"PATH": tools}
            subprocess.run(["sh", "-ec", block.text], cwd=self.clone, env=environ, timeout=300, check=True)
        elif block.language == "pycon":
            self.converse(block.text)
        else:
            self.run_cell(block.text)

    def open_notebook(self) -> Notebook:
        """Return the page's notebook, which is created when it is first needed."""
        if self.notebook is None:
            self.notebook = self.node.make_notebook()
        return self.notebook

    def converse(self, text: str) -> None:
        """Run a conversation in a fresh interpreter of the notebook, and compare what it prints."""
        examples = doctest.DocTestParser().get_examples(text)
        done = self.open_notebook().run("".join(example.source for example in examples))
        printed = done.stdout + "".join(done.stderr.splitlines(keepends=True)[-1:])
        assert printed.replace(str(self.node.root), "") == "".join(example.want for example in examples)

    def run_cell(self, text: str) -> None:
        """Run a cell of the notebook in an interpreter of its own."""
        magic = [line.removeprefix("%pip ") for line in text.splitlines() if line.startswith("%pip ")]
        for line in magic:
            self.node.pip(*shlex.split(self.place(line)), python=self.open_notebook().python)
        if not magic:
            assert self.open_notebook().run(text, check=True).stderr == ""


@pytest.mark.matrix
@pytest.mark.one_python
@one_node
@pytest.mark.parametrize("page", STORIES)
def test_commands_of_a_page_run_in_their_order(page: str, node: Node, tmp_path: Path) -> None:
    story = Story(node, tmp_path / "clone")
    for block in BLOCKS:
        if block.page == page and block.runs_here:
            story.run(block)


@pytest.mark.matrix
@pytest.mark.one_python
@one_node
def test_dockerfile_makes_an_image_with_live_editable_installs(node: Node, tmp_path: Path) -> None:
    """Its lines are run on a node, which has the places of the base image."""
    (dockerfile,) = blocks_of("docs/install.md", "dockerfile")
    node.install_editable(node.copy_project("testx"))
    story = Story(node, tmp_path / "clone")
    for wheel in node.wheelhouse.glob("dbx_patch-*"):
        shutil.copy(wheel, story.clone)
    first, *lines = dockerfile.replace("\\\n", "").splitlines()
    assert first.startswith("FROM databricksruntime/")
    assert "ModuleNotFoundError" in story.open_notebook().run("import testx").stderr

    for line in lines:
        instruction, _, rest = line.partition(" ")
        if instruction == "COPY":
            source, destination = rest.split()
            shutil.copy(story.clone / source, story.place(destination))
        else:
            assert instruction == "RUN"
            node.run(["sh", "-ec", story.place(rest)], story.offline)

    story.open_notebook().run("import testx", check=True)


# Snippets


def flatten(value: object, path: str = "") -> dict[str, object]:
    """Write nested settings as one dict: `init_scripts.0.volumes.destination`."""
    if not isinstance(value, dict | list):
        return {path: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    below = [flatten(inner, f"{path}.{key}" if path else str(key)) for key, inner in pairs]
    return {name: leaf for settings in below for name, leaf in settings.items()}


def test_json_snippets_name_the_script_where_databricks_looks_for_it() -> None:
    cluster, allowlist, policy = (json.loads(text) for text in blocks_of("docs/install.md", "json"))

    assert flatten(cluster) == {"init_scripts.0.volumes.destination": SCRIPT}
    assert flatten(allowlist) == {
        "artifact_matchers.0.artifact": SCRIPT,
        "artifact_matchers.0.match_type": "PREFIX_MATCH",
    }
    assert policy == {next(iter(flatten(cluster))): {"type": "fixed", "value": SCRIPT, "hidden": True}}


def test_bundle_s_clusters_have_the_script() -> None:
    (text,) = blocks_of("docs/install.md", "yaml")
    bundle = yaml.safe_load(text.replace("${var.init_script}", "RESOLVED"))
    clusters = list(bundle["resources"]["clusters"].values())
    for job in bundle["resources"]["jobs"].values():
        keys = {cluster["job_cluster_key"]: cluster["new_cluster"] for cluster in job["job_clusters"]}
        assert {task["job_cluster_key"] for task in job["tasks"]} == set(keys)
        clusters += keys.values()

    assert bundle["variables"]["init_script"]["default"] == SCRIPT
    assert len(clusters) == 2
    for cluster in clusters:
        assert cluster["init_scripts"] == [{"volumes": {"destination": "RESOLVED"}}]


READ_BUNDLE = """
import json, sys
from databricks.bundles.clusters import Cluster
from databricks.bundles.jobs import Job
from databricks.bundles.pipelines import Pipeline
kinds = {"clusters": Cluster, "jobs": Job, "pipelines": Pipeline}
resources = json.load(sys.stdin)
for kind, named in resources.items():
    for name, settings in named.items():
        named[name] = kinds[kind].from_dict(settings).as_dict()
print(json.dumps(resources))
"""


@pytest.mark.matrix
def test_bundles_have_the_types_that_databricks_publishes(tmp_path: Path) -> None:
    """Its package for bundles in Python, which is generated from their JSON schema, refuses unknown settings."""
    try:
        folder = fetch_databricks_bundles(tmp_path)
    except FetchError as error:
        missing(f"the wheel of databricks-bundles: {error}")

    def read(resources: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", READ_BUNDLE]
        environ = os.environ | {"PYTHONPATH": str(folder)}
        return subprocess.run(
            command, input=json.dumps(resources), env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    texts = [*blocks_of("docs/install.md", "yaml"), *((each / "databricks.yml").read_text() for each in BUNDLES)]
    of_pages, of_example, of_selftests = [yaml.safe_load(text)["resources"] for text in texts]
    for resources in (of_pages, of_example, of_selftests):
        done = read(resources)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == resources
    of_example["jobs"]["nightly"]["tasks"][0]["no_such_setting"] = True
    assert "Unexpected field 'no_such_setting'" in read(of_example).stderr


def test_example_lists_the_startup_wheel_first_everywhere() -> None:
    bundle = yaml.safe_load(EXAMPLE.joinpath("databricks.yml").read_text())
    job, pipeline = bundle["resources"]["jobs"]["nightly"], bundle["resources"]["pipelines"]["orders"]
    notebook = json.loads(EXAMPLE.joinpath("notebooks/explore.ipynb").read_text())["metadata"]
    environments = [each["spec"]["dependencies"] for each in job["environments"]] + [
        pipeline["environment"]["dependencies"]
    ]
    own = notebook["application/vnd.databricks.v1+notebook"]["environmentMetadata"]["dependencies"]
    wheel = bundle["variables"]["startup_wheel"]["default"]

    assert environments == [["${var.startup_wheel}", "--editable ${workspace.file_path}"]] * 2
    assert own == [wheel, "--editable .."]
    for project in ("..", "${workspace.file_path}"):
        assert f"{wheel}\n--editable {project}\n" in blocks_of("docs/install.md", "text")
    assert Path(wheel).name == f"dbx_patch-{dbx_patch.__version__}+startup-py3-none-any.whl"
    keys = {each["environment_key"] for each in job["environments"]}
    assert {task.get("environment_key") for task in job["tasks"]} == {*keys, None}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: str(path.name))
def test_bundle_names_files_that_it_has(bundle: Path) -> None:
    jobs = yaml.safe_load((bundle / "databricks.yml").read_text())["resources"]["jobs"].values()
    tasks = [task for job in jobs for task in job["tasks"]]
    files = [task["spark_python_task"]["python_file"] for task in tasks if "spark_python_task" in task]
    files += [task["notebook_task"]["notebook_path"] for task in tasks if "notebook_task" in task]

    assert files != []
    assert [file for file in files if not (bundle / file).is_file()] == []


def test_selftest_runs_on_each_compute_and_its_result_has_a_name() -> None:
    """Clusters have the script or a dependency, and everything else has the start-up wheel."""
    bundle = yaml.safe_load((SELFTESTS / "databricks.yml").read_text())
    jobs, values = bundle["resources"]["jobs"], bundle["variables"]
    notebook = json.loads((SELFTESTS / "notebooks/serverless.ipynb").read_text())["metadata"]
    own = notebook["application/vnd.databricks.v1+notebook"]["environmentMetadata"]["dependencies"]
    text = (SELFTESTS / "databricks.yml").read_text()

    assert tuple(jobs) == runpy.run_path(str(SELFTESTS / "results.py"))["COMPUTE"]
    assert [name for name in jobs if text.count(f"${{var.results}}/{name}.json") != 1] == []
    for name in ("dedicated", "standard"):
        (task,) = jobs[name]["tasks"]
        assert task["new_cluster"]["init_scripts"] == [{"volumes": {"destination": "${var.init_script}"}}]
    for name in ("environments", "serverless_script", "serverless_wheel"):
        assert [each["spec"]["dependencies"] for each in jobs[name]["environments"]] == [["${var.startup_wheel}"]]
    assert bundle["resources"]["pipelines"]["selftest"]["environment"]["dependencies"] == ["${var.startup_wheel}"]
    assert own == [values["startup_wheel"]["default"]]
    assert Path(own[0]).name == f"dbx_patch-{dbx_patch.__version__}+startup-py3-none-any.whl"
    assert values["init_script"]["default"] == SCRIPT


def test_results_of_the_selftest_are_printed_together(tmp_path: Path) -> None:
    command = [sys.executable, str(SELFTESTS / "results.py"), str(tmp_path)]

    def write(name: str, states: dict[str, str]) -> None:
        rows = [{"promise": promise, "state": state} for promise, state in states.items()]
        passed = "failed" not in states.values()
        (tmp_path / f"{name}.json").write_text(json.dumps({"live": "it is live", "passed": passed, "promises": rows}))

    write("dedicated", {"path style": "passed", "a UDF": "failed"})
    write("pipeline", {"path style": "not applicable", "byte code": "passed"})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    table = [line.split() for line in done.stdout.splitlines()[:4]]
    assert table == [["dedicated", "pipeline"], ["path", "style", "✓", "–"], ["a", "UDF", "✗"], ["byte", "code", "✓"]]  # noqa: RUF001
    assert "dedicated: it is live\n" in done.stdout
    assert "standard: there is no result\n" in done.stdout

    for name in runpy.run_path(command[1])["COMPUTE"]:
        write(name, {"path style": "passed", "a UDF": "not applicable"})
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def test_terraform_puts_the_script_there_allows_it_and_names_it() -> None:
    (text,) = blocks_of("docs/install.md", "hcl")
    module = hcl2.loads(text)
    known = {
        f"{prefix}{kind}.{name}": settings
        for prefix, blocks in (("", module["resource"]), ("data.", module["data"]))
        for block in blocks
        for kind, named in unquote(block).items()
        for name, settings in named.items()
    }

    def resolve(value: object) -> object:
        return re.sub(
            r"\$\{(databricks_[\w.]+)\.(\w+)\}", lambda found: str(resolve(known[found[1]][found[2]])), str(value)
        )

    for reference in re.findall(r"\b((?:data\.)?databricks_\w+\.\w+)", text):
        assert reference in known
    assert resolve(known["databricks_file.init_script"]["path"]) == SCRIPT
    matcher = known["databricks_artifact_allowlist.init_scripts"]["artifact_matcher"]
    assert [resolve(block["artifact"]) for block in matcher] == [SCRIPT]
    scripts = known["databricks_cluster.shared"]["init_scripts"]
    assert [resolve(block["volumes"][0]["destination"]) for block in scripts] == [SCRIPT]


def unquote(value: Any) -> Any:
    """Remove the quotes that the parser leaves around strings."""
    if isinstance(value, dict):
        return {unquote(key): unquote(below) for key, below in value.items()}
    if isinstance(value, list):
        return [unquote(below) for below in value]
    return value.strip('"') if isinstance(value, str) else value


def test_wheel_has_the_name_that_pages_give_it() -> None:
    named = {name for text in PAGES.values() for name in re.findall(r"dbx_patch-[\w.-]+\.whl", text)}

    assert named == {f"dbx_patch-{dbx_patch.__version__}-py3-none-any.whl"}


# Options and calls


def subparsers() -> Mapping[str, argparse.ArgumentParser]:
    """The parser of each command."""
    parser, _ = make_parser("dbx-patch")
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return dict(actions[0].choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a parser."""
    return {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}  # noqa: SLF001


def rows(header: str) -> Iterator[tuple[str, list[str]]]:
    """Return the first cells of every table with such a header, without their code marks, and the heading above it."""
    heading, inside, found = "", False, [""]
    for line in PAGES["docs/reference.md"].splitlines():
        if line.startswith("#"):
            heading = line
        elif line.startswith(f"| {header} |"):
            inside, found = True, []
        elif inside and line.startswith("| "):
            found.append(line.split("|")[1].strip().strip("`"))
        elif inside and not line:
            inside = False
            yield heading, found


def test_every_option_is_in_the_reference_and_the_other_way_round() -> None:
    tables = {tuple(re.findall(r"`([\w-]+)`", heading)): cells for heading, cells in rows("option")}

    for names, cells in tables.items():
        wanted = set().union(*(options(subparsers()[name]) for name in names))
        assert {cell.split()[0] for cell in cells} == wanted, names
    with_options = {name for name, parser in subparsers().items() if options(parser)}
    assert {name for names in tables for name in names} == with_options


def test_every_command_and_call_is_in_the_reference_and_the_other_way_round() -> None:
    ((_, commands),) = rows("command")
    ((_, calls),) = rows("call")

    named = {re.split(r"[ .]", command)[-1] for command in commands}
    assert named == {*subparsers(), *options(make_parser("dbx-patch")[0])}
    functions = {name for name in dbx_patch.__all__ if callable(getattr(dbx_patch, name)) and name.islower()}
    assert {call.removeprefix("dbx_patch.").partition("(")[0] for call in calls} == functions


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_the_text_exist(page: str) -> None:
    for command in re.findall(r"`((?:dbx-patch|python -m) [^`]+)`", read_prose(page)):
        words = shlex.split(command)
        if words[0] == "dbx-patch":
            words = ["python", "-m", "dbx_patch", *words[1:]]
        module, arguments = words[2], words[3:]
        assert importlib.util.find_spec(module), command
        if module == "dbx_patch":
            assert main([*arguments, "--help"]) == 0, command
        for argument in arguments:
            assert not argument.startswith("tests/") or (REPOSITORY / argument).exists(), command


# Text and site


def test_answer_on_the_cost_is_what_was_measured() -> None:
    answer = " ".join(PAGES["docs/faq.md"].split())
    figures = json.loads((REPOSITORY / "docs/performance.json").read_text())["figures"].values()
    few, many = ([each[name] for each in figures] for name in ("notebook_ms", "many_ms"))

    assert max(few) < 1
    assert "**Less than 1 ms a start.**" in answer
    assert f"takes {min(few):.1f} to {max(few):.1f} ms longer" in answer
    assert f"With 200 editable installs it is {min(many):.0f} to {max(many):.0f} ms." in answer


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_no_longer_than_120_characters(page: str) -> None:
    lines = read_prose(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", read_prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_of_the_readme_lead_somewhere() -> None:
    """Those of the documentation are checked as its site is built."""
    links = re.findall(r"\]\(([^)]+)\)", PAGES["README.md"])
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (REPOSITORY / file).exists(), link
        assert not anchor or anchor in anchors(file or "README.md"), link


class Requests(HTMLParser):
    """Notes what a browser would load with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag, "")
        self.addresses += [value for key, value in attrs if key == name and value]


def find_mkdocs() -> Path:
    """Find the program in the tests' environment, or in the one that `.ci/run` makes for it."""
    folders = (Path(sys.executable).parent, REPOSITORY / ".venv-lint/bin")
    found = next((folder / "mkdocs" for folder in folders if (folder / "mkdocs").exists()), None)
    return found or missing("mkdocs-material, which `pip install -e '.[docs]'` brings")


@pytest.mark.matrix
def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    options = ["--strict", "--config-file", ".mkdocs.yml", "--site-dir", str(tmp_path)]

    done = subprocess.run(
        [find_mkdocs(), "build", *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    built = {file.stem for file in tmp_path.glob("*.html")}
    assert {Path(page).stem for page in PAGES if page.startswith("docs/")} == built - {"404"}
    for file in tmp_path.glob("*.html"):
        page = Requests()
        page.feed(file.read_text())
        assert page.addresses
        assert not [address for address in page.addresses if re.match(r"(https?:)?//", address)], file
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text()), style
