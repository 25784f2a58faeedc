"""A message, rendered for Slack and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.alerts.blocks import Block, context, fitted, header, links_block
from evermodel.alerts.text import clipped, one_line, plain_strokes, width
from evermodel.core.html import printable

MessageSeverity = Literal["info", "warning", "critical", "resolved", "failure"]
MOST_PLAIN = 4000
# Shapes differ as well as colours, for colour-blind readers.
SIGNS: dict[MessageSeverity, str] = {
    "info": "\N{INFORMATION SOURCE}\N{VARIATION SELECTOR-16}",
    "warning": "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}",
    "critical": "\N{LARGE RED CIRCLE}",
    "resolved": "\N{WHITE HEAVY CHECK MARK}",
    "failure": "\N{CROSS MARK}",
}


@dataclass(frozen=True)
class Message:
    """One message.

    Parameters
    ----------
    key
        Identity of the message within its model: the same event always has the same key.
    text
        The whole message as plain text, for notifications, logs and screen readers; not escaped.
    blocks
        The message in Slack's Block Kit, within its limits.
    """

    key: str
    title: str
    text: str
    blocks: list[Block]
    severity: MessageSeverity
    model: str

    @property
    def identity(self) -> str:
        """Identity of the message among those of all models."""
        return f"{self.model}/{self.key}"

    @property
    def plain_title(self) -> str:
        """The first line of the plain text, for example for mail subjects."""
        return self.text.partition("\n")[0]

    @property
    def fallback(self) -> str:
        """The plain text for Slack's ``text``: escaped, and short enough for an update."""
        return clipped(self.text, MOST_PLAIN)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


def compose(
    *,
    key: str,
    model: str,
    severity: MessageSeverity,
    title: str,
    plain: Iterable[str],
    body: Sequence[Block],
    links: Mapping[str, str],
    footer: str,
    actions: Sequence[Block] = (),
) -> Message:
    """Build a message from its parts.

    Parameters
    ----------
    title
        The title without the sign of the severity.
    plain
        Lines of the plain text, not escaped.
    links
        Label and address; empty addresses are omitted.
    footer
        A last grey line, escaped already.
    actions
        Blocks with buttons, after the body.
    """
    full_title = f"{SIGNS[severity]} {one_line(title)}"
    # Added signs and strokes are ASCII, which all pagers, terminals and mail headers show.
    lines = [f"[{severity}] {one_line(title)}", *(printable(line) for line in plain if line)]
    text = plain_strokes("\n".join(lines))
    last = [
        *actions,
        *links_block(links),
        context(" · ".join(part for part in ("evermodel", footer) if part)),
    ]
    return Message(
        key=one_line(key),
        title=full_title,
        text=shortened(text, MOST_PLAIN),
        blocks=fitted(header(full_title), body, last),
        severity=severity,
        model=model,
    )


def shortened(text: str, most: int) -> str:
    """Cut plain text to a width, marking the cut.

    Examples
    --------
    >>> shortened("abcdef", 5)
    'ab...'
    """
    if width(text) <= most:
        return text
    kept = text[: most - 3]
    while width(kept) > most - 3:
        kept = kept[:-1]
    return kept + "..."
