"""Blocks of Slack's Block Kit within its limits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from evermodel.alerts.text import clipped, link, one_line, width

MOST_HEADER = 150
MOST_SECTION = 3000
MOST_FIELD = 2000
MOST_FIELDS = 10
MOST_BLOCKS = 50
# Slack refuses a message whose blocks hold more text than this in all, with "msg_blocks_too_long". The limit is not
# documented; 9,600 characters pass and 11,300 do not.
MOST_TEXT = 9000
_NOTE_ROOM = 60

Block = dict[str, Any]


def header(title: str) -> Block:
    """Return the title line of a message."""
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": clipped(one_line(title), MOST_HEADER), "emoji": True},
    }


def section(*lines: str) -> Block:
    """Return a paragraph of mrkdwn lines that are already escaped; lines that do not fit are omitted whole."""
    return {"type": "section", "text": _mrkdwn(_joined(lines, MOST_SECTION))}


def fields(values: Mapping[str, str]) -> Block:
    """Return label and value pairs in two columns; values are escaped already."""
    pairs = list(values.items())[:MOST_FIELDS]
    return {
        "type": "section",
        "fields": [_mrkdwn(_joined((f"*{label}*", value), MOST_FIELD)) for label, value in pairs],
    }


def context(*lines: str) -> Block:
    """Return small grey lines of mrkdwn that are already escaped."""
    return {"type": "context", "elements": [_mrkdwn(_joined(lines, MOST_FIELD))]}


def divider() -> Block:
    """Return a thin line."""
    return {"type": "divider"}


class Button(NamedTuple):
    """A button: its action id, its label, and its value."""

    action: str
    label: str
    value: str
    style: Literal["primary", "danger"] | None


@dataclass(frozen=True)
class ButtonForm:
    """What a button is about: texts, which are its value as JSON."""

    def dumps(self) -> str:
        """Return the value of a button."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read the value of a button; raises ValueError for anything else."""
        found = json.loads(text)
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(found, dict) or found.keys() != names:
            raise ValueError(f"not the value of a button: {cls.__name__} has {', '.join(sorted(names))}")
        if not all(isinstance(value, str) for value in found.values()):
            raise ValueError(f"not the value of a button: {cls.__name__} holds texts")
        return cls(**found)


def buttons(block_id: str, *pressed: Button) -> Block:
    """Return a row of buttons, each with a confirmation dialog."""
    elements = [
        {
            "type": "button",
            "action_id": button.action,
            "text": {"type": "plain_text", "text": button.label},
            "value": button.value,
            **({"style": button.style} if button.style else {}),
            "confirm": {
                "title": {"type": "plain_text", "text": f"{button.label}?"},
                "text": {"type": "plain_text", "text": "This takes effect at once."},
                "confirm": {"type": "plain_text", "text": button.label},
                "deny": {"type": "plain_text", "text": "Cancel"},
            },
        }
        for button in pressed
    ]
    return {"type": "actions", "block_id": block_id, "elements": elements}


def links_block(links: Mapping[str, str]) -> list[Block]:
    """Return one line of links, or no block if there are none."""
    made = [link(url, label) for label, url in links.items() if url]
    return [section(" · ".join(_fitting(made, MOST_SECTION, gap=3)))] if made else []


def fitted(head: Block, body: Sequence[Block], tail: Sequence[Block]) -> list[Block]:
    """Return the blocks that fit into one message; the head and the tail always stay.

    Parameters
    ----------
    body
        Blocks made by this module, the most important first: the last ones are dropped first.
    tail
        At most four blocks.
    """
    room = MOST_TEXT - _text_width(head) - sum(map(_text_width, tail))
    kept: list[Block] = []
    for block in body[: MOST_BLOCKS - 2 - len(tail)]:
        room -= _text_width(block)
        if room < _NOTE_ROOM:
            break
        kept.append(block)
    left_out = len(body) - len(kept)
    note = [context(f"{left_out} more parts did not fit.")] if left_out else []
    return [head, *kept, *note, *tail]


def _mrkdwn(text: str) -> Block:
    # verbatim: names of people or channels inside data must not become mentions.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _joined(lines: Sequence[str], most: int) -> str:
    return "\n".join(_fitting([line for line in lines if line], most, gap=1)) or "-"


def _fitting(parts: Sequence[str], most: int, gap: int) -> list[str]:
    kept: list[str] = []
    room = most - 2
    for part in parts:
        room -= width(part) + gap
        if room < 0:
            return [*kept, "…"]
        kept.append(part)
    return kept


def _text_width(block: Block) -> int:
    parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
    texts = [part["text"] for part in parts if part]
    return sum(width(text["text"] if isinstance(text, dict) else text) for text in texts)
