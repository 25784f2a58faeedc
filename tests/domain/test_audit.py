from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evermodel.cli.audit_file import keep_audit
from evermodel.core.audit import audit

PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')


@given(st.text())
def test_a_line_can_be_read_back_whatever_people_write(reason: str) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("evermodel.audit")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        audit("promotion", "flights", version="3", previous=None, reason=reason)
    finally:
        log.removeHandler(handler)
    (line,) = lines
    assert len(line.splitlines()) == 1
    found = {key: json.loads(value) if value.startswith('"') else value for key, value in PAIR.findall(line)}
    assert found == {"event": "promotion", "model": "flights", "version": "3", "reason": reason}


def test_nothing_is_said_of_what_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evermodel.audit")
    audit("rollback", "flights", previous=None)
    assert caplog.messages == ["event=rollback model=flights"]


def promoting() -> typer.Typer:
    """A program with the root of ours, and one command that changes something."""
    program = typer.Typer()
    program.callback()(keep_audit)
    program.command("promote")(lambda: audit("promotion", "flights", by="ada"))
    return program


def test_a_command_appends_to_the_file_of_its_home_and_leaves_no_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path / "home"))
    log = logging.getLogger("evermodel.audit")
    handlers = list(log.handlers)
    for _ in range(2):
        done = CliRunner().invoke(promoting(), ["promote"])
        assert (done.exit_code, done.output) == (0, "")
    lines = (tmp_path / "home" / "audit.log").read_text(encoding="utf-8").splitlines()
    said = "level=INFO logger=evermodel.audit event=promotion model=flights by=ada"
    assert [line.partition(" ")[2] for line in lines] == [said, said]
    assert log.handlers == handlers


def test_a_home_that_takes_no_file_fails_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(promoting(), ["promote"])
    assert done.exit_code == 0
    assert "could not be written" in done.stderr
