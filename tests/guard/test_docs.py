"""The documentation names what is there: keys, tools, tests, files."""

import importlib.util
import re

import pytest
from run_tools import PROJECT


def page(name):
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def script(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_benchmarks_are_those_of_the_figures():
    module = script("write_benchmarks")
    text = module.TARGET.read_text(encoding="utf-8")
    assert text == module.text(text), "run python docs/write_benchmarks.py"
    assert "| ours, s |" in text.partition(module.BEGIN)[2].partition(module.END)[0]


def test_the_documentation_of_the_keys_is_up_to_date():
    module = script("write_config")
    assert all(module.purposes().values())
    assert module.TARGET.read_text(encoding="utf-8") == module.text(), "run python docs/write_config.py"


def test_the_tables_of_results_are_their_data():
    module, results = script("write_results"), page("results.md")
    readme = module.README.read_text(encoding="utf-8")
    assert (results, readme) == (module.text(module.RESULTS), module.text(module.README)), "run make docs"
    assert "<!-- transfer -->" in readme
    marks = re.findall(r"^<!-- (\w+) -->$", results, re.MULTILINE)
    names = {path.stem for path in module.DATA.glob("*.json") if not path.stem.startswith("bench_")}
    assert set(marks[::2]) == names and set(marks[1::2]) == {"end"}
    cells = "| `resnet50` | C4 | 0, 1 | 20.0 ± 1.4 | 31.5 ± 0.7 | +11.5 | +9.0 to +14.0 | - |"
    row = {"network": "resnet50", "head": "C4", "seeds": [0, 1], "gain": 11.5, "gain_low": 9.0, "gain_high": 14.0}
    row |= {"random": {"AP": [19.0, 21.0]}, "pretrained": {"AP": [31.0, 32.0]}, "pretraining_error": None}
    titles, body = module.transfer({"rows": [row]})
    assert "| " + " | ".join(body[0]) + " |" == cells and len(titles) == len(body[0])


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_picture_has_a_line_for_each_seed_of_each_start(tmp_path, seeds):
    runs = {"pretrained": [[[1, 2.0], [2, 3.0]]] * seeds, "random": [[]]}
    row = {"network": "resnet50", "head": "C4"} | {start: {"AP_by_iteration": curves} for start, curves in runs.items()}
    script("write_results").draw_transfer([row], tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    line = r'<path d="[^"]*" clip-path="[^"]*" style="fill: none; stroke: '
    assert len(re.findall(line + "#0072b2", text)) == seeds and not re.findall(line + "#d55e00", text)


def test_tables_of_claims_and_of_speed_say_what_their_data_say():
    module = script("write_results")
    row = {"claim": "wide wins", "source": "WRN", "error": "test", "networks": ["wide", "thin"]}
    row |= {"errors": [[20.0, 21.0], [25.0]], "verdict": "shown"}
    assert module.claims({"rows": [row]})[1] == [
        ["wide wins", "WRN", "test", "`wide` 20.50 ± 0.71", "`thin` 25.00", "shown"]
    ]
    row = {"table": "wrn", "network": "thin", "seconds": 0.25, "ratio": 2.0, "paper": None}
    assert module.speed({"rows": [row]})[1] == [["`speed:wrn`", "`thin`", "250", "2.00", "-"]]


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
