"""Writes docs/config.md: every key that a run reads, with default, allowed values and purpose.

The tables of keys say what is allowed, the comments beside the defaults what residet's own keys are for.

python docs/write_config.py
"""

import inspect
import re
from pathlib import Path

import classification.config
import classification.schema.table
import detection.config
import detection.schema.table
import residet.config
from residet.schema.kinds import Key, leaves
from residet.schema.shared import SHARED

TARGET = Path(__file__).with_name("config.md")
HEAD = """# Keys of a config

A config is a YAML file, `--config-file FILE`, and `KEY VALUE` pairs at the end of the command, which win. A `_BASE_`
in a YAML file names a file, or several, whose keys the file inherits. A value that a key must not have is refused
before data and weights are read, with the key, the value and what is allowed. A key that a run would not read is
refused too.

A run writes its whole config to OUTPUT_DIR/config.yaml. `--resume` may change the keys that are marked with **r**, and
the log says at the start which were changed; another value of any other key would make another run, and is refused.

This file is written by `python docs/write_config.py`.
"""


def comments(module) -> dict[str, str]:
    """What the comments in a module say about keys, by the name of the key or of the group."""
    found, block, last = {}, [], ""
    group = ""
    for line in inspect.getsource(module).splitlines():
        text = line.strip()
        if text.startswith("# "):
            block.append(text[2:].strip())
        elif match := re.match(r"(cfg|c)\.([A-Z][A-Z_.0-9]+) = ", text):
            name = ("CLASSIFICATION." if match[1] == "c" else "") + match[2]
            found[name] = last = " ".join(block) or last
            block, group = [], name
        elif match := re.match(r'"([A-Z_]+)": .*#\s*(.+)$', text):
            found[f"{group}.{match[1]}"] = match[2][0].upper() + match[2][1:].rstrip(".") + "."
        elif not text:
            block, last = [], ""
    return found


def purposes() -> dict[str, str]:
    """What each key is for."""
    said = {}
    for module in (residet.config, classification.config, detection.config):
        said |= {name: text for name, text in comments(module).items() if text}
    tables = classification.schema.table.TABLE | detection.schema.table.TABLE | SHARED
    return {name: key.purpose or _longest(name, said) for name, key in tables.items()}


def _longest(name: str, said: dict[str, str]) -> str:
    """The comment of a key, or of the group that it is in."""
    while name and name not in said:
        name = name.rpartition(".")[0]
    return said.get(name, "")


def table(keys: dict[str, Key], *defaults: dict[str, object]) -> str:
    """A Markdown table. Where defaults of pretraining and detection differ, both are given in this order."""
    said, rows = purposes(), ["| key | default | allowed | what for |", "| --- | --- | --- | --- |"]
    for name, key in keys.items():
        values = list(dict.fromkeys(_code(default[name]) for default in defaults if name in default))
        mark = " **r**" if key.resume else ""
        cells = (f"`{name}`{mark}", ", ".join(values), key.kind.allowed, said[name])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _code(value: object) -> str:
    return f"`{list(value) if isinstance(value, tuple) else value!r}`"


def text() -> str:
    """The content of docs/config.md."""
    pretraining, detecting = (leaves(side.config.default_config()) for side in (classification, detection))
    own = {name: key for name, key in classification.schema.table.TABLE.items() if SHARED.get(name) is not key}
    detectors = {name: key for name, key in detection.schema.table.TABLE.items() if SHARED.get(name) is not key}
    return "\n".join(
        (
            HEAD,
            "## Both\n\nWhere two defaults are given, the first is pretraining's, the second detection's.\n",
            table(SHARED, pretraining, detecting),
            "\n## Pretraining\n",
            table(own, pretraining),
            "\n## Detection\n",
            table(detectors, detecting),
            "",
        )
    )


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
