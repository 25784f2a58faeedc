"""The limits of Slack's Block Kit, written down apart from the code that has to keep to them."""

from __future__ import annotations

from typing import Any

_ANY_TEXT = {"mrkdwn", "plain_text"}


def block_problems(blocks: Any) -> list[str]:
    """Return what Slack would hold against a list of blocks."""
    if not isinstance(blocks, list):
        return ["blocks must be an array [json-pointer:/blocks]"]
    found = ["no more than 50 items allowed [json-pointer:/blocks]"] if len(blocks) > 50 else []
    for number, block in enumerate(blocks):
        found += [f"{problem} [json-pointer:/blocks/{number}]" for problem in _one_block(block)]
    return found


def _one_block(block: Any) -> list[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "divider":
        return []
    if kind == "header":
        return _text_problems(block.get("text"), 150, {"plain_text"})
    if kind == "context":
        elements = block.get("elements", [])
        return _count(elements, 10) + [p for e in elements for p in _text_problems(e, 3000, _ANY_TEXT)]
    if kind == "section":
        if "text" not in block and not block.get("fields"):
            return ["missing required field: text or fields"]
        found = _text_problems(block["text"], 3000, _ANY_TEXT) if "text" in block else []
        if "fields" in block:
            found += _count(block["fields"], 10)
            found += [p for f in block["fields"] for p in _text_problems(f, 2000, _ANY_TEXT)]
        return found
    if kind == "actions":
        elements = block.get("elements", [])
        return _count(elements, 25) + [p for e in elements for p in _button_problems(e)]
    return [f"unsupported type: {kind}"]


def _button_problems(button: Any) -> list[str]:
    if button.get("type") != "button" or not button.get("action_id"):
        return ["unsupported element"]
    found = _text_problems(button.get("text"), 75, {"plain_text"})
    if units(button.get("value", "")) > 2000:
        found.append("must be less than 2001 characters")
    confirm = button.get("confirm", {})
    for part, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        found += _text_problems(confirm[part], most, _ANY_TEXT) if confirm else []
    return found


def _text_problems(text: Any, most: int, kinds: set[str]) -> list[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        return ["failed to match all allowed schemas"]
    if not isinstance(text.get("text"), str) or not text["text"]:
        return ["must be more than 0 characters"]
    return [f"must be less than {most + 1} characters"] if units(text["text"]) > most else []


def _count(items: Any, most: int) -> list[str]:
    return [] if isinstance(items, list) and 1 <= len(items) <= most else [f"must have 1 to {most} items"]


def blocks_width(blocks: list[dict[str, Any]]) -> int:
    """Return the length of all text in a list of valid blocks."""
    parts = [
        part
        for block in blocks
        for part in (block.get("text"), *block.get("fields", ()), *block.get("elements", ()))
        if part
    ]
    texts = [part["text"] for part in parts]
    return sum(units(text["text"] if isinstance(text, dict) else text) for text in texts)


def units(text: str) -> int:
    """Return the length as Slack counts it, in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
