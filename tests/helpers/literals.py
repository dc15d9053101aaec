"""The texts in the project's code."""

import ast

from run_tools import PROJECT

PACKAGES = ("backbones", "residet", "classification", "detection", "tools")


def literals():
    """Every text in the code, with "…" in the place of each value of an f-string."""
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
