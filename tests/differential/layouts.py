"""Random layouts: layers, editable installs in them, and modules whose names clash in every way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

STYLES = ("local", "mount", "finder", "mixed")
"""What is tried: roots on the local disk, roots below `/Workspace`, installs with a finder, and all of it together."""
MOUNT_STYLES = ("mount", "mixed")
FINDER_STYLES = ("finder", "mixed")
LAYERS = ("own", "lower1", "lower2")
"""The environment's own layer, which `site` opens, and two that are plain entries of the path."""
LIBRARY_NAMES = ("queue", "colorsys", "wsgiref")
"""Modules of the standard library that no start has imported; the last is a package."""
TOPS = ("alpha", "beta", "gamma", "delta", *LIBRARY_NAMES)
BELOW = ("one", "two", "deep")
"""The names of modules and packages in a package."""
BACKENDS = {
    "setuptools": "setuptools.build_meta",
    "scikit-build-core": "scikit_build_core.build",
    "hatchling": "hatchling.build",
}
"""The build backends that write finders, of which hatchling's is that of the `editables` library."""
ROOT_FILES = "_editable_impl_{}.pth", "__editable__.{}-1.0.pth", "{}.pth"
"""How build backends name the file with the line of a root."""

RAN = 'import builtins; builtins.ran(__name__, "{file}")\nWHO = "{file}"\nclass Thing: WHO = WHO\n'
EXTEND = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
TRY = "try:\n    {}\nexcept ImportError as error:\n    print(' ', __name__, type(error).__name__, error)\n"
BREAKS = "raise ValueError(WHO)\n", "a syntax error\n"
IMPORT_BELOW = "from . import"
LIBRARY = """\
import importlib
def by_name(name):
    return importlib.import_module(name)
def by_statement(name):
    exec(compile(f"import {name}", __file__, "exec"), {"__name__": __name__})
"""
"""A library that imports what it is asked for."""


@dataclass(frozen=True)
class Install:
    """An editable install."""

    project: str
    layer: str
    place: str
    """The place that the project's modules are in."""
    pth: str = ""
    """The name of the file with the line of its root, for an install without a finder."""
    backend: str = ""
    """The build backend that writes its finder."""
    packages: tuple[str, ...] = ()
    """What the backend is told about; the finder maps it."""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What is on the disk when a process starts. Names of files begin with a place."""

    remote: frozenset[str]
    """The places below `/Workspace`."""
    script: str
    """The place that the script is in."""
    layers_file: str
    """The `.pth` file that lists the lower layers."""
    installs: tuple[Install, ...] = ()
    byte_code: bool = False
    """Whether Python writes byte code."""
    files: dict[str, str] = field(default_factory=dict)
    """A name that ends with a slash is a folder without files."""
    places: tuple[str, ...] = ()


def make_layout(random: Random, style: str) -> Layout:  # noqa: C901 - one draw after another
    """Make a layout."""
    remote: set[str] = set()
    installs: list[Install] = []
    files: dict[str, str] = {}
    for layer in LAYERS:
        for _ in range(random.choice((0, 1, 2, 2))):
            project = f"{random.choice('adkz')}{len(installs)}"
            inside = [each.place for each in installs if each.pth]
            # Some projects are below another one, as in a workspace with several.
            place = f"{random.choice(inside)}.src" if inside and random.random() < 0.15 else project
            if place in {each.place for each in installs}:
                continue
            if place.partition(".")[0] in remote or random.random() < {"mount": 0.8, "mixed": 0.4}.get(style, 0):
                remote.add(place)
            fill(random, files, place)
            if random.random() < {"finder": 0.6, "mixed": 0.4}.get(style, 0):
                installs.append(make_finder_install(random, files, project, layer, place))
            else:
                installs.append(Install(project, layer, place, random.choice(ROOT_FILES).format(project)))
                if random.random() < 0.1:  # its folder is away
                    files = {name: text for name, text in files.items() if not name.startswith(f"{place}/")}
    if style in MOUNT_STYLES and random.random() < 0.3 and not any(each.layer == "lower2" for each in installs):
        remote.add("lower2")
    again = random.choice(installs) if installs and random.random() < 0.2 else None
    layer = random.choice(LAYERS)
    if again and again.pth and again.layer != layer and layer not in remote:
        installs.append(replace(again, layer=layer))  # one project in two layers
    for place in ("script", "aside", *LAYERS):
        fill(random, files, place, 0.4)
    places = tuple(dict.fromkeys(("script", "aside", *LAYERS, *(each.place for each in installs))))
    for place in (*LAYERS, *places[5:6]):
        files[f"{place}/lib_{place.replace('.', '_')}.py"] = LIBRARY
    if random.random() < 0.6:  # in these, threads import several modules at a time
        files = {name: text.replace(BREAKS[0], "").replace(BREAKS[1], "") for name, text in files.items()}
    roots = [each.place for each in installs if each.pth and each.place not in remote]
    script = random.choice(roots) if roots and random.random() < 0.2 else "script"
    layers_file = random.choice(("aa_layers.pth", "zz_layers.pth"))
    return Layout(frozenset(remote), script, layers_file, tuple(installs), random.random() < 0.3, files, places)


def make_finder_install(random: Random, files: dict[str, str], project: str, layer: str, place: str) -> Install:
    """Make an install with a finder, of what a project has or of a part of it."""
    packages, modules = list_packages(files, place)
    left_out = random.choice(["", *packages]) if random.random() < 0.2 else ""
    packages = [name for name in packages if not left_out or not f"{name}.".startswith(f"{left_out}.")]
    backend = random.choice(("setuptools", "setuptools", "scikit-build-core", "hatchling"))
    if backend != "setuptools":  # these are told top-level names
        packages = [name for name in packages if "." not in name]
    if backend == "hatchling":
        packages = [name for name in packages if f"{place}/{name}/__init__.py" in files]
        if not packages and not modules:
            backend = "setuptools"  # hatchling refuses an empty project
    return Install(project, layer, place, "", backend, tuple(packages), tuple(modules))


def fill(random: Random, files: dict[str, str], place: str, chance: float = 0.6) -> None:
    """Fill a place with modules, packages and folders."""
    for top in TOPS:
        if random.random() < chance * (0.4 if top in LIBRARY_NAMES else 1):
            fill_name(random, files, f"{place}/{top}")


def fill_name(random: Random, files: dict[str, str], base: str, depth: int = 0) -> None:
    """Make a module, a package or a folder of a name."""
    kind = random.choice(
        ("module", "package", "package", "namespace", "namespace", "extended", "data", "both", "empty")
    )
    if kind in {"module", "both"}:
        files[f"{base}.py"] = write_module(random, f"{base}.py")
    if kind == "empty":
        files[f"{base}/"] = ""
    if kind in {"data", "package"}:
        files[f"{base}/data.txt"] = f"data of {base}"
    if kind in {"package", "both", "extended"}:
        init = f"{base}/__init__.py"
        files[init] = write_module(random, init) + (EXTEND if kind == "extended" else "")
    if kind in {"package", "namespace", "extended", "both"}:
        for name in BELOW:
            if random.random() < 0.5:
                if name == "deep" and depth == 0:
                    fill_name(random, files, f"{base}/deep", 1)
                else:
                    files[f"{base}/{name}.py"] = write_module(random, f"{base}/{name}.py")


def write_module(random: Random, file: str, *, for_threads: bool = False) -> str:
    """Write a module that reports that it runs. It can import others, but no import leads back to it."""
    text = RAN.format(file=file)
    chance = random.random()
    top = file.split("/")[1].partition(".")[0]
    later = TOPS[TOPS.index(top) + 1 :]
    if chance < 0.1 and later:
        text += TRY.format(f"import {random.choice(later)}")
    elif chance < 0.15 and later:
        text += TRY.format(f"from {random.choice(later)} import {random.choice(BELOW)}")
    elif chance < 0.2 and not for_threads and file.endswith("__init__.py"):
        text += TRY.format(f"{IMPORT_BELOW} {random.choice(BELOW[:2])}")
    elif chance < 0.23 and not for_threads:
        text += BREAKS[0]
    elif chance < 0.25 and not for_threads:
        text += BREAKS[1]
    return text


def list_packages(files: dict[str, str], place: str) -> tuple[list[str], list[str]]:
    """Return what a person would list in a `pyproject.toml`: the packages of a project, and its modules."""
    packages: set[str] = set()
    modules: set[str] = set()
    for name in files:
        folder, _, file = name.removeprefix(f"{place}/").rpartition("/")
        if name.startswith(f"{place}/") and file.endswith(".py"):
            if folder:
                packages.add(folder.replace("/", "."))
            else:
                modules.add(file.removesuffix(".py"))
    return sorted(packages), sorted(modules)
