"""The commands of the documentation: from blocks of code, and from text between backquotes."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from run_tools import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), *sorted((PROJECT / "configs").rglob("*.md"))]
SHELL = ("", "bash", "sh", "console")  # languages of fenced blocks that hold commands
INLINE = re.compile(
    r"`((?:tools/\w+\.py|residet [a-z-]+|torchrun|python|make|pip) [^`]+|tools/\w+\.py|residet [a-z-]+)`"
)


@dataclass(frozen=True)
class Command:
    """A command as a page has it.

    Attributes:
        page: the page, below the project.
        line: number of its first line.
        text: the command without prompt and comment, its lines joined.
        inline: whether it stands between backquotes, where a tool's name may stand alone.
    """

    page: str
    line: int
    text: str
    inline: bool = False

    def __str__(self):
        return f"{self.page}:{self.line}: {self.text}"

    def words(self):
        """The words as a shell makes them, without variables in front."""
        words = shlex.split(self.text, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        return words


def block_lines(text):
    """(number, line) of each line in a block of commands; a line of "" ends a block."""
    fence, before = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("```"):
            fence = bare[3:] if fence is None else None
            yield number, ""
        elif fence is not None:
            if fence in SHELL:
                yield number, bare
        elif line.startswith("    ") and before in ("blank", "block"):
            before = "block"
            yield number, bare
            continue
        elif before == "block" and bare:
            yield number, ""
        before = ("block" if before == "block" else "blank") if not bare else "text"


def commands_in(page):
    """Every command line of a page's blocks, then every command between backquotes."""
    name, text = str(page.relative_to(PROJECT)), page.read_text(encoding="utf-8")
    first, joined = 0, ""
    for number, line in block_lines(text):
        first = first if joined else number
        joined += line.removeprefix("$ ")
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if joined and not joined.startswith("#"):
            yield Command(name, first, joined)
        joined = ""
    for number, line in enumerate(text.splitlines(), 1):
        for found in INLINE.findall(line):
            if "…" not in found:
                yield Command(name, number, found, inline=True)


def commands_of(*pages):
    """Every command of the pages, each a path."""
    return [command for page in pages for command in commands_in(Path(page))]
