"""Every command that a page shows is one that its program takes: names, arguments and options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from evermodel.cli import app
from support.guides import PAGES, Example, commands, examples
from support.paths import PROJECT

SHELL = ("bash", "sh", "console")
ROOT: Any = typer.main.get_command(app)
INLINE = re.compile(r"`evermodel ([^`|]+)`")


def _taken(words: list[str]) -> None:
    """Parse a command line as the program does, and run nothing."""
    context = ROOT.make_context("evermodel", list(words))
    while hasattr(context.command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def _target(words: list[str]) -> Any:
    """Return the command or group that words begin with."""
    found = ROOT
    for word in words:
        if hasattr(found, "commands") and not word.startswith(("-", "…")):
            found = found.commands[word]
    return found


def test_every_block_says_what_it_is() -> None:
    assert [str(one) for one in examples() if not one.language] == []


def test_calls_are_found_behind_variables_and_before_pipes() -> None:
    text = 'A=1 evermodel check  # why\nevermodel init "a b" \\\n  --label c > log 2>&1 &\ncp evermodel x\n'
    block = Example(Path("page.md"), 1, "bash", text, "")
    assert commands(block, "evermodel") == [["check"], ["init", "a b", "--label", "c"]]


@pytest.mark.parametrize("block", examples(*SHELL), ids=str)
def test_the_command_line_takes_what_a_block_shows(block: Example) -> None:
    for words in commands(block, "evermodel"):
        _taken(words)


@pytest.mark.parametrize(
    "words", [["trian"], ["train"], ["train", "x", "--as_of", "2013-01-01"], ["data", "lst"]]
)
def test_what_it_does_not_take_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|Missing"):
        _taken(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_exist_with_their_options(page: Path) -> None:
    for said in INLINE.findall(" ".join(page.read_text(encoding="utf-8").split())):
        words = said.split()
        command = _target(words)
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, said


def test_targets_of_make_and_names_of_benchmarks_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)
        assert set(named) <= targets, page.name
        for name in re.findall(r"make bench NAME=([a-z_]+)", text):
            assert (PROJECT / "benchmarks" / f"{name}.py").exists() or (
                PROJECT / "benchmarks" / name
            ).exists(), name
        for name in re.findall(r"python -m benchmarks\.([a-z_]+)", text):
            assert (PROJECT / "benchmarks" / f"{name}.py").exists(), name
        for name in re.findall(r"`python (docs/[a-z_]+\.py)", text):
            assert (PROJECT / name).exists(), name
