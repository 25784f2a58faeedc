"""A page that shows a message about as Slack would, for people without Slack."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Sequence

from evermodel.alerts.blocks import Block
from evermodel.alerts.message import Message

_COLOURS = {
    "info": "#1264a3",
    "warning": "#e8a400",
    "critical": "#d1242f",
    "resolved": "#2b8a5a",
    "failure": "#d1242f",
}
_MARKS = re.compile(
    r"```\n?(?P<block>.*?)\n?```|`(?P<code>[^`\n]+)`|<(?P<url>https?://[^|>\s]+)\|(?P<label>[^>]*)>"
    r"|<(?:@(?P<person>\w+)|!(?:subteam\^)?(?P<group>\w+))>"
    r"|(?<![\w*])\*(?P<bold>[^*\n]+)\*(?![\w*])",
    re.DOTALL,
)
_STYLE = """
body { margin: 0; padding: 24px; background: #fff; color: #1d1c1d;
       font: 15px/1.46 Lato, "Slack-Lato", "Helvetica Neue", Arial, sans-serif; }
.message { display: flex; gap: 10px; max-width: 720px; }
.avatar { flex: none; width: 36px; height: 36px; border-radius: 8px; background: #4a154b; color: #fff;
          font-weight: 900; text-align: center; line-height: 36px; }
.content { min-width: 0; flex: 1; }
.who b { font-weight: 900; }
.app { background: #eee; color: #616061; font-size: 10px; font-weight: 700; padding: 1px 3px; border-radius: 2px; }
.blocks { border-left: 4px solid var(--colour); padding: 2px 0 2px 14px; margin-top: 6px; }
h1 { font-size: 18px; line-height: 1.3; margin: 2px 0 8px; font-weight: 900; overflow-wrap: anywhere; }
.section { margin: 8px 0; overflow-wrap: anywhere; }
.fields { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 8px 16px; margin: 8px 0;
          overflow-wrap: anywhere; }
.context { color: #616061; font-size: 13px; margin: 8px 0; overflow-wrap: anywhere; }
.button { display: inline-block; border: 1px solid #bbb; border-radius: 4px; padding: 4px 12px; margin: 4px 8px 4px 0;
          font-weight: 700; }
hr { border: 0; border-top: 1px solid #ddd; margin: 12px 0; }
a { color: #1264a3; text-decoration: none; } a:hover { text-decoration: underline; }
.mention { color: #1264a3; background: #e8f5fa; border-radius: 3px; padding: 0 2px; }
code { font: 12px/1.5 Monaco, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: #c01343; background: #f6f6f6;
       border: 1px solid #ddd; border-radius: 3px; padding: 2px 3px 1px; }
pre { font: 12px/1.5 Monaco, Menlo, Consolas, "DejaVu Sans Mono", monospace; background: #f8f8f8; margin: 4px 0;
      border: 1px solid #ddd; border-radius: 4px; padding: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; border: 1px solid #ddd; border-radius: 8px; margin-top: 8px; }
.answer { margin: 14px 0 0 46px; max-width: 674px; border-left: 2px solid #e5e5e5; padding-left: 14px; }
.thread, .note { color: #616061; font-size: 13px; margin-top: 4px; }
.note { border-top: 1px solid #eee; margin-top: 20px; padding-top: 8px; }
"""


def preview_html(message: Message, image: bytes | None, thread: str | None) -> str:
    """Draw a message as one page without outside parts.

    Parameters
    ----------
    message
        What to show.
    image
        Content of a PNG to show below it.
    thread
        Name of the message it answers to, or None.
    """
    place = f"in the thread of {thread}" if thread else ""
    note = "Preview of a message that was not sent: there is no Slack connection in Airflow."
    return _page(message.title, _message_html(message, image, place), note)


def thread_html(first: Message, answers: Sequence[Message | bytes]) -> str:
    """Draw a message and its thread as one page without outside parts.

    Parameters
    ----------
    first
        The first message.
    answers
        Messages, or contents of PNGs, that answer to it.
    """
    drawn = [_image_html(a, "") if isinstance(a, bytes) else _message_html(a, None, "") for a in answers]
    shown = "\n".join(f'<div class="answer">{part}</div>' for part in drawn)
    return _page(first.title, _message_html(first, None, "") + shown, "")


def _page(title: str, content: str, note: str) -> str:
    below = f'<div class="note">{html.escape(note)}</div>' if note else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body>{content}
{below}
</body></html>
"""


def _message_html(message: Message, image: bytes | None, place: str) -> str:
    blocks = "\n".join(_BLOCKS[block["type"]](block) for block in message.blocks)
    answers = f'<div class="thread">{html.escape(place)}</div>' if place else ""
    return f"""<div class="message" style="--colour: {_COLOURS[message.severity]}">
<div class="avatar" aria-hidden="true">E</div>
<div class="content"><div class="who"><b>evermodel</b> <span class="app">APP</span></div>{answers}
<div class="blocks">
{blocks}
</div>{_image_html(image, message.title) if image else ""}</div></div>"""


def _image_html(image: bytes, title: str) -> str:
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(image).decode()}">'


def _header(block: Block) -> str:
    return f"<h1>{_plain(block['text']['text'])}</h1>"


def _section(block: Block) -> str:
    if "fields" in block:
        cells = "".join(f"<div>{mrkdwn_html(field['text'])}</div>" for field in block["fields"])
        return f'<div class="fields">{cells}</div>'
    return f'<div class="section">{mrkdwn_html(block["text"]["text"])}</div>'


def _context(block: Block) -> str:
    return f'<div class="context">{" ".join(mrkdwn_html(part["text"]) for part in block["elements"])}</div>'


def _divider(block: Block) -> str:
    return "<hr>"


def _actions(block: Block) -> str:
    labels = [_plain(button["text"]["text"]) for button in block["elements"]]
    shown = "".join(f'<span class="button">{label}</span>' for label in labels)
    return f"<div>{shown}</div>"


_BLOCKS: dict[str, Callable[[Block], str]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "divider": _divider,
    "actions": _actions,
}


def mrkdwn_html(text: str) -> str:
    """Turn Slack's mrkdwn, as far as our messages use it, into HTML; everything else is shown as it is.

    Examples
    --------
    >>> mrkdwn_html("*a* < `b`")
    '<b>a</b> &lt; <code>b</code>'
    """
    made, end = [], 0
    for mark in _MARKS.finditer(text):
        made += [_lines(text[end : mark.start()]), _marked(mark)]
        end = mark.end()
    return "".join([*made, _lines(text[end:])])


def _marked(mark: re.Match[str]) -> str:
    if mark["block"] is not None:
        return f"<pre>{_plain(mark['block'])}</pre>"
    if mark["code"] is not None:
        return f"<code>{_plain(mark['code'])}</code>"
    if mark["url"] is not None:
        return f'<a href="{_plain(mark["url"])}" rel="noreferrer">{_plain(mark["label"])}</a>'
    if mark["bold"] is not None:
        return f"<b>{_plain(mark['bold'])}</b>"
    return f'<span class="mention">@{_plain(mark["person"] or mark["group"])}</span>'


def _lines(text: str) -> str:
    return _plain(text).replace("\n", "<br>")


def _plain(text: str) -> str:
    # Slack's three escapes are undone first, then everything is escaped for HTML, quotes included.
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(escaped, character)
    return html.escape(text)
