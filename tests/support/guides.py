"""The examples of the pages: each fenced block with its page, its line and, where it is not run, the reason."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from support.paths import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.S | re.M)  # fmt: skip
_ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "2>", "<"}


@dataclass(frozen=True)
class Example:
    """One fenced block; ``reason`` says why it is not run, and is empty where it is."""

    page: Path
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def examples(*languages: str) -> list[Example]:
    """Return the blocks in these languages, or all blocks."""
    found = [example for page in PAGES for example in _of(page)]
    return [example for example in found if not languages or example.language in languages]


def _of(page: Path) -> list[Example]:
    text = page.read_text(encoding="utf-8")
    return [
        Example(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            textwrap.dedent(match["text"]),
            match["reason"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


def commands(example: Example, program: str) -> list[list[str]]:
    """Return the words behind a program's name, for each time that a block calls it."""
    lines = example.text.replace("\\\n", " ").splitlines()
    if example.language == "console":  # what has no prompt is the answer
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [words for line in lines for words in _calls(line, program)]


def _calls(line: str, program: str) -> list[list[str]]:
    if program not in line:
        return []
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = list(lexer)
    calls = []
    for place, word in enumerate(words):
        begins = place == 0 or words[place - 1] in _ENDS or "=" in words[place - 1]
        if word == program and begins:
            rest = words[place + 1 :]
            end = next((n for n, one in enumerate(rest) if one in _ENDS), len(rest))
            calls.append(rest[:end])
    return calls
