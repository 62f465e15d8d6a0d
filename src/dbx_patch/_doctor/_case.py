"""Collects the facts about a module once, for the checks to read."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name

from dbx_patch._doctor._pth_lines import list_folders, locate_lines, read_lines
from dbx_patch._doctor._report import Step
from dbx_patch._doctor._trace import find_missing_part, find_stale_folder, trace_import
from dbx_patch._finders import list_lost_turns
from dbx_patch._inventory import EditableInstall, is_inside, list_entries, list_places, locate
from dbx_patch._mounts import Trouble, find_troubles, hangs, is_folder
from dbx_patch._process import find_file, find_shim
from dbx_patch._verify import HookStatus, check_patched
from dbx_patch.sitecustomize_template import find_opened_layers, template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch.sitecustomize_template import Editable, Event, EventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known about this process and one module; without a module, about the process alone."""

    module: str = ""
    """Its dotted name."""
    installs: tuple[EditableInstall, ...] = ()
    """Every editable install of this process."""
    found: str = ""
    """Where an import finds its top-level module: a file, or a folder of a namespace package."""
    loaded: str = ""
    """The file of the top-level module that has been imported."""
    portions: tuple[str, ...] = ()
    """Every place of the top-level name: a namespace package can have several folders."""
    steps: tuple[Step, ...] = ()
    path: tuple[str, ...] = ()
    """The strings on `sys.path`."""
    unsearched: tuple[Trouble, ...] = ()
    """The entries of `sys.path` whose mount does not answer as it should."""
    stale: str = ""
    """The folder of which Python remembers a listing that lacks the module, or a part of it."""
    shim: Literal["live", "stopped", "absent"] = "live"
    shim_replaced: bool = False
    """Whether the shim's file is missing, or is not the one that this process runs."""
    disabled: bool = False
    """Whether DBX_PATCH_DISABLE is set."""
    without_site: bool = False
    """Whether Python was started with -S."""
    events: tuple[Event, ...] = ()
    """The shim's journal."""
    hooks: tuple[HookStatus, ...] = ()
    """Databricks' hooks that the shim patches."""

    @property
    def top(self) -> str:
        """The top-level name of the module."""
        return self.module.partition(".")[0]

    @property
    def pth_evidence(self) -> tuple[str, ...]:
        """Whether Python reads the `.pth` file of the editable install, where there is one."""
        return ()

    def find_event(self, *kinds: EventKind) -> Event | None:
        """Return the first event of some kinds."""
        return next((event for event in self.events if event[0] in kinds), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableCase(Case):
    """The same about a module that an editable install offers."""

    install: EditableInstall
    editables: tuple[Editable, ...] = ()
    """The lines of its `.pth` file."""
    lines: tuple[str, ...] = ()
    """The same as evidence."""
    read_by_site: bool = True
    """Whether Python's own `site` reads the `.pth` files of its layer."""
    troubles: tuple[Trouble, ...] = ()
    """The folders of the install whose mount does not answer as it should."""
    lost_finder: bool = False
    """Whether a finder that the install has put on `sys.meta_path` is not there any more."""

    @property
    def roots(self) -> list[str]:
        """The folders that the install puts on the path."""
        return [editable["root"] for editable in self.editables if editable["root"]]

    @property
    def folders(self) -> list[str]:
        """The folders that its modules may be in."""
        return [folder for folder in (self.install.project, *self.roots) if folder]

    @property
    def pth_evidence(self) -> tuple[str, ...]:
        """Whether Python reads its `.pth` file."""
        pth = self.install.pth
        return (f"installed by: {pth}" if self.read_by_site else f"Python does not read this .pth file: {pth}",)

    def is_above(self, location: str) -> bool:
        """Return whether a file is found before the install's layer is searched."""
        above = self.path[: self.path.index(self.install.layer)]
        folder = Path(location.removesuffix(f"{os.sep}__init__.py")).parent
        return any(folder == (Path(entry) if entry else Path.cwd()) for entry in above)


def describe_process(installs: tuple[EditableInstall, ...]) -> Case:
    """Return the facts about this process."""
    return Case(installs=installs, **list_process_facts())


def describe_module(module: str, installs: tuple[EditableInstall, ...], install: EditableInstall | None = None) -> Case:
    """Return the facts about a module: an `EditableCase` if an editable install offers it.

    The top-level name can be a namespace package, to which several installs contribute: `install` is the one that is
    asked about. By default it is found out.
    """
    top = module.partition(".")[0]
    places = [place for place in locate(top) if not hangs(place)]
    offering = [each for each in installs if offers(each, module)]
    install = install or choose_install(module, places, offering)
    found = choose_place(module, places, install)
    editables = read_lines(install) if install else ()
    roots = [editable["root"] for editable in editables if editable["root"]]
    facts = list_process_facts() | {
        "module": module,
        "installs": installs,
        "found": found,
        "portions": tuple(places),
        "loaded": getattr(sys.modules.get(top), "__file__", None) or "",
        "steps": tuple(trace_import(top, offering)),
        "stale": find_stale_folder(module, found, roots),
    }
    return describe_editable(install, editables, facts) if install else Case(**facts)


def choose_install(module: str, places: list[str], offering: list[EditableInstall]) -> EditableInstall | None:
    """Return the install that a module is found in; if in none, the one of that name, or one whose folder is gone."""

    def rank(install: EditableInstall) -> tuple[bool, bool, bool]:
        folders = list_folders(install)
        there = [place for place in places if is_inside(place, folders) and not find_missing_part(module, place)]
        return not there, install.name != canonicalize_name(module), all(map(is_folder, folders))

    return min(offering, key=rank, default=None)


def choose_place(module: str, places: list[str], install: EditableInstall | None) -> str:
    """Return the place of a top-level name that has a module; if none has, the install's own, or else the first."""
    own = [place for place in places if install and is_inside(place, list_folders(install))]
    has = [place for place in (*own, *places) if not find_missing_part(module, place)]
    return next(iter(has or own or places), "")


def describe_editable(install: EditableInstall, editables: tuple[Editable, ...], facts: dict[str, Any]) -> EditableCase:
    """Return the facts about a module together with those about the install that may offer it."""
    folders = [folder for folder in (install.project, *(each["root"] for each in editables)) if folder]
    return EditableCase(
        install=install,
        editables=editables,
        lines=locate_lines(editables),
        read_by_site=install.layer in find_opened_layers(),
        troubles=find_troubles(dict.fromkeys(folders or list_places(editables))),
        lost_finder=any(editable in editables for editable in list_lost_turns()),
        **facts,
    )


def list_process_facts() -> dict[str, Any]:
    """Return the fields of a `Case` that are the same for every module."""
    shim = find_shim()
    return {
        "path": tuple(list_entries()),
        "unsearched": find_troubles(list_entries()),
        "shim": "absent" if shim is None else "live" if shim.started else "stopped",
        "shim_replaced": shim is not None and is_replaced(shim),
        "disabled": template.is_switched_on(b"DBX_PATCH_DISABLE"),
        "without_site": bool(sys.flags.no_site),
        "events": tuple(shim.journal) if shim else (),
        "hooks": tuple(check_patched(shim)) if shim else (),
    }


def is_replaced(shim: Any) -> bool:
    """Return whether the file of a running shim is missing, or is that of another build."""
    try:
        return shim.BUILD not in Path(find_file(shim)).read_text("utf-8")
    except OSError:
        return True


def offers(install: EditableInstall, module: str) -> bool:
    """Return whether an install offers a module's top-level name. If its names are not known, compare the project's."""
    if install.names:
        return module.partition(".")[0] in install.names
    parts = module.split(".")
    return install.name in [canonicalize_name(".".join(parts[:number])) for number in range(1, len(parts) + 1)]
