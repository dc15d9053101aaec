"""The documentation names what is there: keys, tools, tests, files."""

import importlib.util
import re

import pytest
from run_tools import PROJECT


def page(name):
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def test_the_documentation_of_the_keys_is_up_to_date():
    spec = importlib.util.spec_from_file_location("write_config", PROJECT / "docs" / "write_config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all(module.purposes().values())
    assert module.TARGET.read_text(encoding="utf-8") == module.text(), "run python docs/write_config.py"


def test_every_tool_is_in_the_list_of_commands():
    scripts = {f"tools/{path.name}" for path in (PROJECT / "tools").glob("*.py") if path.stem != "command"}
    assert set(re.findall(r"`(tools/\w+\.py)`", page("commands.md"))) == scripts


def test_every_test_that_a_promise_names_is_there():
    names = re.findall(r"`([\w/]+/test_\w+\.py)`", page("guarantees.md"))
    assert names
    assert [name for name in names if not (PROJECT / "tests" / name).is_file()] == []


@pytest.mark.parametrize("package", ["backbones", "residet", "classification", "detection", "localisation"])
def test_architecture_names_every_module(package):
    named = set(re.findall(r"\w+\.py", page("architecture.md")))
    modules = (PROJECT / package).rglob("*.py")
    assert [str(path) for path in modules if not path.name.startswith("__") and path.name not in named] == []
