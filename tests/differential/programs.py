"""Random programs: lists of statements, which `server` runs."""

from __future__ import annotations

from random import Random

from tests.differential.layouts import BELOW, BREAKS, IMPORT_BELOW, LAYERS, TOPS, Layout, write_module

CHANGES_FILES = ("write(", "remove(")
"""How the statements begin that change files."""


def make_program(random: Random, layout: Layout) -> list[str]:
    """Make a program for a layout."""
    names = list_names(layout)
    return [make_statement(random, layout, names) for _ in range(random.randint(4, 15))]


def list_names(layout: Layout) -> list[str]:
    """List the modules and packages of a layout, by the names that they can be imported by."""
    names: set[str] = set()
    for file in layout.files:
        parts = file.partition("/")[2].removesuffix(".py").removesuffix("/__init__").rstrip("/").split("/")
        if "." not in parts[-1] and not parts[-1].startswith("lib_"):
            names.update(".".join(parts[: end + 1]) for end in range(len(parts)))
    return sorted(names)


def make_statement(random: Random, layout: Layout, names: list[str]) -> str:
    """Make a statement."""
    every = [*names] or ["alpha"]
    name = random.choice(every) if random.random() < 0.85 else ".".join((random.choice(TOPS), random.choice(BELOW)))
    package, _, last = name.rpartition(".")
    top = random.choice([each for each in every if "." not in each] or ["alpha"])
    place = random.choice(layout.places)
    # The model does not say which of a layer's two places on the path its finders would be asked after.
    with_finder = {each.layer for each in layout.installs if each.backend}
    folders = sorted({file.rpartition("/")[0] for file in layout.files})
    folder = random.choice([each for each in folders if each not in with_finder])
    library = random.choice([file[:-3].rpartition("/lib_")[2] for file in layout.files if "/lib_" in file] or ["own"])
    kinds = {
        f"import {name}; imported({name!r})": 12,
        f"show(importlib.import_module({name!r}))": 6,
        (f"from {package} import {last}; show({last})" if package else f"from {name} import WHO; show(WHO)"): 6,
        f"import lib_{library}; lib_{library}.by_name({name!r}); imported({name!r})": 5,
        f"import lib_{library}; lib_{library}.by_statement({name!r}); imported({name!r})": 5,
        f"show_spec({name!r})": 6,
        f"importlib.reload(sys.modules[{name!r}]); imported({name!r})": 4,
        "importlib.invalidate_caches()": 2,
        f"forget({name!r})": 3,
        f"sys.modules.pop({name!r}, None)": 2,
        f"sys.path.insert(0, at({place!r}))": 0 if place in with_finder else 2,
        f"sys.path.insert(0, at({folder!r}))": 1,
        f"sys.path.append(at({folder!r}))": 2,
        f"sys.path.remove(at({place!r}))": 0 if place in LAYERS else 1,
        f"import {top}; {top}.__path__.insert(0, at({folder!r}))": 2,
        f"import {top}; {top}.__path__[:] = [at({folder!r})]": 1,
        f"import {top}; {top}.__path__ = [at({folder!r})]": 1,
        f"import {top}; {top}.__path__.append(at({folder!r}))": 2,
        make_change(random, layout, place, name): 5,
        "iter_modules(None)": 2,
        f"iter_modules({name!r})": 3,
        f"walk({place!r})": 1,
        f"walk({top!r}, {top + '.'!r})": 2,
        f"resources({name!r})": 4,
        f"unpickle({name!r}, pickle.loads)": 3,
        f"unpickle({name!r}, pickle._loads)": 2,
        f"import_in_threads(*{choose_for_threads(random, layout, every)!r})": 3,
        "show_path()": 1,
        f"details({name!r})": 1,
        f"asked_by_itself({name!r})": 1,
        "take_off_finders()": 1,
    }
    return random.choices(list(kinds), list(kinds.values()))[0]


def choose_for_threads(random: Random, layout: Layout, names: list[str]) -> list[str]:
    """Choose modules that threads can import at the same time with one outcome.

    An import of `a.b` has the lock of `a.b` while it imports `a`, which must not import `a.b` then. A thread that waits
    for a module whose code raises gets the module if it has met it in `sys.modules`, and else imports it again.
    """
    texts = list(layout.files.values())
    if any(each in text for text in texts for each in BREAKS):
        return random.sample(names, 1)
    if any(IMPORT_BELOW in text for text in texts):
        names = [name for name in names if "." not in name] or names[:1]
    chosen = {name.partition(".")[0]: name for name in random.sample(names, min(len(names), 4))}
    return [*chosen.values()]


def make_change(random: Random, layout: Layout, place: str, name: str) -> str:
    """Make a statement that writes or removes a file."""
    inside = [file for file in layout.files if file.startswith(f"{place}/") and not file.endswith("/")]
    if inside and random.random() < 0.4:
        file = random.choice(inside)
        return f"remove({random.choice((file, file.rpartition('/')[0]) if file.count('/') > 1 else (file,))!r})"
    file = f"{place}/{name.replace('.', '/')}{random.choice(('.py', '/__init__.py'))}"
    return f"write({file!r}, {write_module(random, file, for_threads=True) + '#' * random.randint(1, 99)!r})"
