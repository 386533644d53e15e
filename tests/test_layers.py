"""The floors of the house: a module imports from its own floor and from those below, never upward.

Here the floors are written down, and nowhere else. `python -m tests.test_layers` prints them.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A name is a module of `tango_beam`, or a package with a slash behind it.
FLOORS = (
    ("values", "errors", "arrays", "machine", "json_record", "logs", "command_line"),
    (
        "plain functions and values",
        "routing",
        "batching",
        "record_columns",
        "text_columns",
        "progress",
        "terminal",
        "html_page",
        "options",
        "local_output",
        "checkpoint_files",
        "answer_metrics",
    ),
    ("statistics", "guarantees/"),
    ("asking endpoints", "endpoints/"),
    ("the cascade as a value", "answers/", "config", "cascade_directory"),
    ("models", "models/"),
    ("reading formats", "io/"),
    ("from names to loaded tiers", "resolve"),
    (
        "the cascade as a transform",
        "coders",
        "rebatching",
        "placement",
        "audit",
        "branches",
        "scoring",
        "tier",
        "cascade",
    ),
    ("the run directory", "run/"),
    ("the main job", "job/"),
    ("the other commands", "calibration/", "comparing/", "evaluation/", "tuning/", "training/"),
    ("the command that takes the others together", "building/"),
    ("table of contents, and entry points", "", "pipelines/"),
)
NO_BEAM_UP_TO = "from names to loaded tiers"
# What a user waits for before a misspelt option is refused.
HEAVY = {"numpy", "pyarrow", "torch", "apache_beam", "transformers", "scipy", "rich"}
LIGHT = ("errors", "command_line", "options")


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


MODULES = dict(sources("tango_beam", "pipelines"))


def imports(path, every=True):
    """Modules that a file imports, those within functions too; as (package, name) or (module,)."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if every else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path, known):
    """Of what a file imports, the modules of this repository."""
    for name in imports(path):
        while name:
            if name in known:
                yield name
                break
            name = name.rpartition(".")[0]


def place(module):
    """What of `FLOORS` a module belongs to."""
    parts = module.split(".")
    if parts[0] == "pipelines":
        return "pipelines/"
    inside = (ROOT / "tango_beam" / Path(*parts[1:2])).is_dir() and len(parts) > 1
    return f"{parts[1]}/" if inside else ".".join(parts[1:])


def floor(module):
    found = [number for number, (_, *names) in enumerate(FLOORS) if place(module) in names]
    assert found, f"{module} stands on no floor: add it to FLOORS"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_upward(module):
    for other in ours(MODULES[module], MODULES):
        assert floor(other) <= floor(module), f"{module} imports {other}, which stands above it"
        same = place(other) == place(module)
        packages = place(module).endswith("/") and place(other).endswith("/")
        if floor(other) == floor(module) and packages and floor(module) < len(FLOORS) - 1:
            assert same, f"{module} imports {other}, which stands beside it"


def rings(graph):
    """Names on some way back to themselves."""
    reached = {name: set(nexts) for name, nexts in graph.items()}
    grown = True
    while grown:
        grown = False
        for nexts in reached.values():
            more = set().union(*(reached.get(other, set()) for other in nexts)) - nexts
            nexts |= more
            grown |= bool(more)
    return sorted(name for name, nexts in reached.items() if name in nexts)


def test_no_ring_of_files():
    known = dict(sources("tango_beam", "pipelines", "benchmarks", "tests"))
    graph = {name: {*ours(path, known)} - {name} for name, path in known.items()}
    assert rings(graph) == []


def test_no_ring_of_packages():
    graph: dict[str, set] = {}
    for name, path in MODULES.items():
        others = {place(other) for other in ours(path, MODULES)}
        graph.setdefault(place(name), set()).update(others - {place(name)})
    assert rings(graph) == []


def test_no_test_imports_a_benchmark():
    for name, path in sources("tests"):
        assert not [other for other in imports(path) if other.startswith("benchmarks")], name


@pytest.mark.parametrize("module", MODULES)
def test_beam_is_imported_on_its_own_floors_alone(module):
    last = [title for title, *_ in FLOORS].index(NO_BEAM_UP_TO)
    others = place(module) in FLOORS[-2]
    if floor(module) <= last or others:
        allowed = {"tango_beam.command_line"}  # asks Beam for its options when it is given some
        beam = [name for name in imports(MODULES[module]) if name.startswith("apache_beam")]
        assert module in allowed or not beam


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in MODULES
        if name.removeprefix("tango_beam.") in LIGHT
        or name.endswith((".options", ".settings"))
        or name.startswith("pipelines.")
    ],
)
def test_a_misspelt_option_waits_for_nothing_heavy(module):
    top = {name.split(".")[0] for name in imports(MODULES[module], every=False)}
    assert not top & HEAVY


if __name__ == "__main__":
    for number, (title, *names) in enumerate(FLOORS):
        print(f"{number:2}  {title}: {', '.join(name or 'tango_beam' for name in names)}")
