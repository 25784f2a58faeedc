"""A message to people, ready for Slack and readable without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.alerts.blocks import Block, context, fitted, header, links_block
from evermodel.alerts.text import clipped, one_line, plain_strokes, width
from evermodel.core.html import printable

MessageSeverity = Literal["info", "warning", "critical", "resolved", "failure"]
MOST_PLAIN = 4000
# Shapes differ as well as colours, for people who cannot tell red from green.
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
        Names the message within its model: the same event makes the same key, however often it is reported.
    title
        The header, in a few words.
    text
        The whole message as plain text, for notifications, logs and screen readers; not escaped.
    blocks
        The message in Slack's Block Kit, within its limits.
    severity
        What kind of message it is.
    model
        The model it is about.
    """

    key: str
    title: str
    text: str
    blocks: list[Block]
    severity: MessageSeverity
    model: str

    @property
    def identity(self) -> str:
        """What names the message among those of all models."""
        return f"{self.model}/{self.key}"

    @property
    def plain_title(self) -> str:
        """The first line of the plain text, for subjects of mails and the like."""
        return self.text.partition("\n")[0]

    @property
    def fallback(self) -> str:
        """The plain text as Slack wants it in ``text``: escaped, and short enough for an update."""
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
    """Put a message together from its parts.

    Parameters
    ----------
    title
        What happened, without the sign of the severity.
    plain
        Lines of the plain text, not escaped.
    body
        Blocks between the header and the links.
    links
        Label and address; empty addresses are left out.
    footer
        A last grey line, escaped already.
    actions
        Blocks with buttons, after the body.
    """
    full_title = f"{SIGNS[severity]} {one_line(title)}"
    # The signs and strokes that we add are ASCII here: pagers, terminals and mail headers show nothing else for sure.
    said = [f"[{severity}] {one_line(title)}", *(printable(line) for line in plain if line)]
    text = plain_strokes("\n".join(said))
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
