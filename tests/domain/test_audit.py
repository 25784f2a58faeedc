from __future__ import annotations

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.audit import audit

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
