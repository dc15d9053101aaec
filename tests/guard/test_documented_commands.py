"""Every command of the documentation: its arguments, configs, keys, values, networks and weights are there.

The commands are parsed, not run; tests/tools/test_documented_walks.py runs those of the pages that say so.
"""

import ast
import glob
import importlib
import re
from pathlib import Path

from backbones.catalogue import get_spec
from backbones.weights.published import find
from classification.config import default_config as classification_config
from classification.papers.reproduce import entries
from classification.schema.keys import check_keys as check_classification
from detection.comparison.paper import papers
from detection.config import default_config as detection_config
from detection.localisation.config import default_config as localisation_config
from detection.schema.keys import check_keys as check_detection
from residet.config import merge_config, merge_options

import pytest
import tomllib
from documented_commands import PAGES, Command, commands_of
from run_tools import PROJECT, kept_state
from torch.distributed.run import get_args_parser

COMMANDS = commands_of(*PAGES)
# Pages that have blocks which are no commands: a tree of files.
TREES = {"docs/architecture.md"}
# Commands of other programs, which are not looked into.
OTHERS = {"docker", "eval", "sbatch", "mkdir", "cp"}
# A network that a page adds to the catalogue as an example.
EXAMPLES = {"resnext50_2x32d"}
# The tools that take a config: what makes its defaults, and what checks its keys.
SIDES = dict.fromkeys(("pretrain", "reproduce"), (classification_config, check_classification))
SIDES |= dict.fromkeys(
    ("train_net", "compare", "propose", "inspect_data", "new_config"), (detection_config, check_detection)
)
SIDES |= {"localise": (localisation_config, None)}
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+ ")


def is_users(path):
    """Whether a path stands for a file or folder of the user's: with a word in capitals, or among the outputs."""
    return bool(re.search(r"(^|/)[A-Z][A-Z0-9_]*(/|\.|:|$)", path)) or path.startswith("output/")


def tool_of(words):
    """(module of a tool, its arguments) of the words of a command; None of another program's command."""
    words = [Path(words[0]).name if words[0].startswith(".venv/") else words[0], *words[1:]]
    if words[0] == "srun":
        words = words[1:]
    if words[0] == "torchrun":
        parsed = get_args_parser().parse_args(words[1:])
        words = [parsed.training_script, *parsed.training_script_args]
    if words[:3] == ["python", "-m", "residet"]:
        words = words[2:]
    elif words[0] == "python" and words[1].startswith("tools/"):
        words = words[1:]
    if words[0] == "residet":
        names = importlib.import_module("command").TOOLS
        return (names[words[1]], words[2:]) if words[1] != "--help" else ("command", words[1:])
    if re.fullmatch(r"tools/\w+\.py", words[0]):
        return Path(words[0]).stem, words[1:]
    return None


def is_text(command):
    """Whether a line of a block is no command: a row of a table, part of a tree of files, or a variable's value."""
    return (
        command.text.startswith("|")
        or command.page in TREES
        or bool(re.match(r"[A-Z]+=\S+$|[A-Z]+=\$\(", command.text))
    )


@pytest.fixture(autouse=True)
def tools():
    with kept_state():
        yield


def parsed(tool, argv):
    """The arguments of a tool's command; None of --help.

    "…" stands for more of the same, N for a number, a variable such as $RESUME for nothing.
    """
    module = importlib.import_module(tool)
    try:
        return getattr(module, "parse", module.main)(
            ["1" if word == "N" else word for word in argv if word != "…" and word[0] != "$"]
        )
    except SystemExit as e:
        assert not e.code, f"exit code {e.code}"
    return None


def check_config_of(tool, args, made):
    """The config that a command names, with its KEY VALUE pairs, which are all checked."""
    if tool not in SIDES:
        return
    make, check = SIDES[tool]
    opts = getattr(args, "opts", []) or []
    names = [getattr(args, name, None) for name in ("config_file", "config")]
    sources = expanded(args.source) if tool == "compare" else [name for name in names if name]
    for source in sources or [""]:
        cfg = make()
        file = "" if is_users(source) or source in made else source
        merge_config(cfg, file, [])
        if getattr(args, "dataset", ""):
            cfg.CLASSIFICATION.DATASET = args.dataset
        merge_options(cfg, [] if opts == ["KEY", "VALUE"] else opts, "command line")
        if check and file:
            check(cfg, opts[::2])


def expanded(patterns):
    """Paths that a shell would make of patterns; of the user's files the pattern itself."""
    found = []
    for pattern in patterns:
        head, braces, tail = re.fullmatch(r"([^{]*)(?:\{([^}]*)\})?(.*)", pattern).groups()
        for word in braces.split(",") if braces else [""]:
            path = f"{head}{word}{tail}"
            matches = glob.glob(path, root_dir=PROJECT) if "*" in path and not is_users(path) else [path]
            assert matches, f"{path}: no file"
            found += matches
    return found


def check_names(tool, args):
    """The networks, published weights and tables that a command names."""
    archs = [getattr(args, "arch", None), *getattr(args, "archs", [])]
    for arch in archs if tool != "complexity" else args.arch:
        if arch and not arch.isupper() and arch not in EXAMPLES:
            get_spec(arch)
    weights = getattr(args, "weights", None) or []
    for name in [weights] if isinstance(weights, str) else weights:
        if re.match(r"(torchvision|timm|detectron2):", name):
            find(name)
    if tool == "reproduce":
        entries([t for t in args.table if t != "TABLE" and t.partition(":")[0] not in ("speed", "small")])


def check_other(words):
    """A command of another program: what it names of this project is there."""
    program = words[0].removeprefix(".venv/bin/")
    if program in OTHERS or words[0] == "export":
        return
    if program == "make":
        targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif program in ("pip", "python") and "pip" in words[:3]:
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [extra for word in words for group in re.findall(r"\[([\w,]+)\]", word) for extra in group.split(",")]
        assert set(named) <= set(extras)
        pins = re.findall(r"labgym==[\d.]+", " ".join(words))
        assert set(pins) <= set(re.findall(r"labgym==[\d.]+", (PROJECT / "Makefile").read_text()))
    elif program == "python" and words[1] == "-c":
        for node in ast.walk(ast.parse(words[2])):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
    elif program.startswith("benchmarks/"):
        source = (PROJECT / program).read_text()
        assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in source] == []
    elif program == "python" and not words[1].startswith("-"):
        assert (PROJECT / words[1]).is_file()
    elif program != "python":
        pytest.fail(f"{program}: no program that this test knows")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_of_a_page_is_one_that_the_tools_take(page):
    commands = [command for command in commands_of(page) if not is_text(command)]
    made = {word for command in commands for word in re.findall(r"--output (\S+)", command.text)}
    wrong = []
    for command in commands:
        try:
            check_command(command, made)
        except (Exception, pytest.fail.Exception) as e:
            wrong.append(f"{command}\n    {type(e).__name__}: {e}")
    assert not wrong, "\n".join(wrong)


def check_command(command, made):
    """Raises if a tool does not take the command."""
    if KEY.match(command.text):  # KEY VALUE pairs alone
        merge_options(detection_config(), command.words(), str(command))
        return
    words = command.words()
    tool = tool_of(words)
    if tool is None:
        check_other(words)
        return
    name, argv = tool
    if command.inline and not argv:  # the tool's name alone
        importlib.import_module(name)
        return
    args = parsed(name, argv)
    if args is not None and not isinstance(args, int):
        check_config_of(name, args, made)
        check_names(name, args)


def placeholders(command):
    """The words in capitals of a command that stand for something of the user's, such as DIR or W in W.pth."""
    tool = None if KEY.match(command.text) else tool_of(command.words())
    if tool is None or (command.inline and not tool[1]):
        return set()
    args = parsed(*tool)
    opts = [] if args is None or isinstance(args, int) else getattr(args, "opts", None) or []
    words = tool[1][: len(tool[1]) - len(opts)] if opts and tool[1][-len(opts) :] == opts else tool[1]
    if "opts" in vars(args or object):
        words = [word for word in words if word not in opts]
    return {part for word in words for part in re.split(r"[/:.|]", word) if re.fullmatch(r"[A-Z][A-Z0-9_]*", part)}


def test_every_word_in_capitals_is_explained():
    """docs/commands.md says what a command needs that the tests do not have, and no more."""
    text = (
        (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8").partition("## What do the words in capitals")[2]
    )
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    explained = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert set().union(*(placeholders(command) for command in COMMANDS if not is_text(command))) == explained


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("residet train --dat DIR --colour red", "exit code 2"),
        ("residet trane --data DIR", "trane"),
        ("residet train --data DIR --config-file faster_rcnn_resnet49", "no such config"),
        ("residet train --data DIR SOLVER.BASE_RL 0.1", "Non-existent config key"),
        ("residet train --data DIR --config-file faster_rcnn_resnet50 SOLVER.BASE_LR fast", "not a number"),
        ("residet train --data DIR --arch resnet49", "resnet49"),
        ("residet train --data DIR --weights torchvision:resnet49", "resnet49"),
        ("tools/compare.py configs/nowhere/*.yaml --data DIR", "no file"),
        ("torchrun --nproc-per-node 8 tools/pretrain.py --arch resnet49", "resnet49"),
        ("residet reproduce resnet_cifar11 --data CIFAR10", "resnet_cifar11"),
        ("make demos", "demos"),
        ("pip install 'residet[exports]'", "exports"),
        ("python docs/examples/run_tflite.py", "is_file"),
        ("MODEL.BACKBON.NAME resnet50", "Non-existent config key"),
        ("resident train", "no program"),
    ],
)
def test_a_wrong_command_is_found(text, words):
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        check_command(Command("page.md", 1, text), made=set())
    assert words in str(caught.value)


@pytest.mark.parametrize("path", sorted((PROJECT / "tools").glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_of_a_tools_help_are_commands_that_the_tool_takes(path):
    lines = ast.get_docstring(ast.parse(path.read_text())).replace("\\\n", "").splitlines()
    examples = [line for line in lines if line.startswith(("tools/", "torchrun", "residet "))]
    assert examples or path.stem == "doctor"
    for example in examples:
        check_command(Command(path.name, 1, example), made=set())


def test_the_commands_are_found():
    pages = {command.page for command in COMMANDS}
    assert {"README.md", "docs/start.md", "docs/predict.md", "configs/README.md"} <= pages
    assert len(COMMANDS) > 150
    assert "residet new DIR --arch resnet18 --output cells.yaml" in {command.text for command in COMMANDS}


def test_the_figures_of_the_page_on_clusters_are_the_papers():
    cells = [
        c for paper in papers().values() for table in paper for row in table["rows"].values() for c in row.values()
    ]
    text = (PROJECT / "docs" / "clusters.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(paper/\S+)` \|[^|]*\| ([^|]*) \|$", text, re.M)
    assert rows
    for config, figures in rows:
        printed = [cell.printed for cell in cells if cell.config == config and "metric-" not in cell.figure]
        assert [float(figure) for figure in re.findall(r"\d+\.\d", figures)] == printed, config
