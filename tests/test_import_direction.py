"""The arrows of docs/architecture.md: classification | detection -> backbones, whose core needs no detectron2."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
CORE = ("spec", "wide", "vgg", "catalogue", "blocks", "forms", "resnet", "networks", "complexity", "naming", "files")
CORE += ("weights", "loading", "export", "adapters", "errors")
FORBIDDEN = {
    "backbones": {"classification", "detection", "tools"},
    "classification": {"detection", "tools"},
    "detection": {"classification", "tools"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages(package):
    for path in (PROJECT / package).rglob("*.py"):
        assert not FORBIDDEN[package] & set(imports(path)), path


@pytest.mark.parametrize("module", CORE)
def test_core(module):
    assert "detectron2" not in set(imports(PROJECT / "backbones" / f"{module}.py"))
