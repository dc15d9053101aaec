"""The arrows of docs/architecture.md, held module by module.

tools -> classification | detection -> residet -> backbones; within detection:
report -> comparison -> detection/*.py -> evaluation -> inference -> heads, data.
"""

import ast
from pathlib import Path

import pytest
from run_tools import PROJECT

# Each package or folder, and the packages that its modules may import, itself aside. The longest name that fits a
# module counts: `detection/data/layouts/voc.py` belongs to `detection.data.layouts`.
RESIDET = {"residet", "residet.engine", "residet.schema"}
ARROWS = {
    "backbones": {"backbones.weights"},
    "backbones.weights": {"backbones"},
    "backbones.portable": {"backbones", "backbones.weights"},
    "residet.cli": {"backbones", "backbones.weights"},
    "residet.schema": {"residet.engine", "residet.cli", "backbones"},
    "residet": {"residet.cli", "residet.schema", "backbones", "backbones.weights"},
    "residet.engine": {"residet", "backbones", "backbones.weights"},
    "classification": {
        "backbones.portable",
        "classification.data",
        "classification.papers",
        "classification.schema",
        *RESIDET,
        "backbones",
        "backbones.weights",
    },
    "classification.schema": {"classification", "classification.data", *RESIDET, "backbones"},
    # What the papers print stands beside the runs, and above them where it starts runs.
    "classification.papers": {"classification", "classification.data", *RESIDET, "backbones"},
    "classification.data": {"residet", "residet.engine", "backbones", "backbones.weights"},
    "detection.localisation": {
        "detection.data.layouts",
        "detection.data.layouts.ilsvrc",
        *RESIDET,
        "backbones",
        "backbones.weights",
    },
    "detection.data.layouts": {
        "detection.data.layouts.objects",
        "detection.data.layouts.ilsvrc",
        "detection.data.layouts.yolo",
        "residet",
        "backbones",
    },
    "detection.data.layouts.ilsvrc": {"detection.data.layouts", "backbones"},
    "detection.data.layouts.objects": {"detection.data.layouts", "backbones"},
    "detection.data.layouts.yolo": {"detection.data.layouts", "backbones"},
    "detection.data": {"detection.data.layouts", "residet", "residet.engine", "backbones", "backbones.weights"},
    "detection.heads": {"backbones", "backbones.weights"},
    "detection.inference": {"detection.data", "detection.data.layouts", "detection.heads", *RESIDET, "backbones"},
    "detection.evaluation": {"detection.data", "detection.data.layouts", "detection.inference", *RESIDET, "backbones"},
    "detection.exporting": {"detection.heads", "backbones", "backbones.portable"},
    "detection.prediction": {"detection.data", "detection.data.layouts", "residet", "backbones"},
}
ARROWS["detection"] = {
    "detection.data",
    "detection.data.layouts",
    "detection.heads",
    "detection.inference",
    "detection.evaluation",
    "detection.exporting",
    "detection.prediction",
}
ARROWS["detection"] |= {"detection.schema", *RESIDET, "backbones.portable", "backbones", "backbones.weights"}
ARROWS["detection.schema"] = ARROWS["detection"] | {"detection"}
# What is made of finished runs stands above the runs.
ARROWS["detection.comparison"] = ARROWS["detection"] | {"detection"}
ARROWS["detection.report"] = ARROWS["detection.comparison"] | {"detection.comparison"}
OURS = {name.split(".")[0] for name in ARROWS} | {"tools", "tests", "benchmarks"}


def folder_of(module):
    """The longest name in ARROWS that the dotted name of a module begins with; else its first part."""
    fits = [name for name in ARROWS if module == name or module.startswith(name + ".")]
    return max(fits, key=len, default=module.split(".")[0])


def imports(path):
    """Dotted names of the modules that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(folder):
    return [path for path in Path(PROJECT, *folder.split(".")).glob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_what_lies_below_it(folder):
    assert files_of(folder)
    for path in files_of(folder):
        ours = {folder_of(name) for name in imports(path) if name.split(".")[0] in OURS}
        assert ours <= ARROWS[folder] | {folder}, path


@pytest.mark.parametrize("path", [*files_of("backbones"), *files_of("backbones.weights")], ids=lambda path: path.stem)
def test_networks_and_their_weights_need_no_detectron2(path):
    needs = any(name.split(".")[0] == "detectron2" for name in imports(path))
    assert needs == (path.stem == "registry")


def test_modules_import_each_other_in_no_circle():
    """Over all packages, module by module, imports within functions too."""
    names = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts): path
        for folder in ARROWS
        for path in files_of(folder)
    }
    below = {
        name: {m for i in imports(path) for m in (i, i.rpartition(".")[0]) if m in names and m != name}
        for name, path in names.items()
    }
    while free := [name for name, imported in below.items() if not imported]:
        for name in free:
            del below[name]
        for imported in below.values():
            imported.difference_update(free)
    assert not below


@pytest.mark.parametrize("folder", [*ARROWS, "tools", "benchmarks", "benchmarks.accuracy", "tests"])
def test_folders_and_files_stay_small(folder):
    """A folder has about 15 files at most, and a file of the packages about 300 lines, one subject each."""
    files = files_of(folder)
    assert len(files) <= (18 if folder in ("tools", "benchmarks") else 16)  # a tool, or a question, is a file
    if folder != "tests":
        assert all(len(path.read_text().splitlines()) <= 300 for path in files)
