"""The gallery has every message, and each says what a person needs."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from itertools import product

import pytest

from evermodel import alerts
from evermodel.alerts.message import Message
from evermodel.alerts.outbox import thread_html
from evermodel.monitoring.problems import KINDS
from support.message_states import RESPONSES, SEVERITIES, states, views
from support.slack_limits import block_problems


@pytest.fixture(scope="module")
def gallery() -> dict[str, list[Message]]:
    return states()


def test_every_message_that_the_package_builds_is_in_the_gallery(gallery: dict[str, list[Message]]) -> None:
    builders = set()
    for found in pkgutil.walk_packages(alerts.__path__, "evermodel.alerts."):
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            mine = function.__module__ == found.name and name.endswith("_message")
            if mine and inspect.signature(function).return_annotation == "Message":
                builders.add(name)
    assert builders | {"shown"} == set(gallery)  # that of `SharedIncident`
    assert all(gallery.values())


def test_incidents_are_there_in_every_kind_severity_and_state() -> None:
    found = {
        (one.problem.kind, one.worst, "over" if one.over else one.response.partition(" ")[0])
        for one in views()
    }
    answers = ["", "over", *(response.kind.capitalize() for response in RESPONSES)]
    assert set(product(KINDS, SEVERITIES, answers)) <= found


def test_each_message_fits_slack_and_can_be_read(gallery: dict[str, list[Message]]) -> None:
    for name, messages in gallery.items():
        for message in messages:
            assert block_problems(message.blocks) == [], name
            assert "None" not in message.text.replace("None of", ""), (name, message.text)
            assert "+00:00" not in message.text + json.dumps(message.blocks), (name, message.text)
            assert "_" not in message.title, (name, message.title)  # names of the code
            assert message.title in thread_html(message, [])
