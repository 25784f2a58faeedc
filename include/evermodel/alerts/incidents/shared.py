"""Drift that one source brings to several models: one message with a line for each, and their own in its thread."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from evermodel.alerts.blocks import Block, divider, fitted, header, section
from evermodel.alerts.message import MOST_PLAIN, SIGNS, Message, MessageSeverity, shortened
from evermodel.alerts.publisher import Publisher, slack_destination
from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.alerts.text import code, link, one_line, plain_strokes, words
from evermodel.core.database.tables import shared_incidents
from evermodel.core.formats import json_digest, loads, stamped
from evermodel.monitoring.problems import RANK, Severity
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TOGETHER = timedelta(days=1)  # between the ends of the windows of two models
_LINES, _LINES_A_BLOCK, _COLUMNS = 50, 10, 4


@dataclass(frozen=True)
class Member:
    """A model's incident about drift.

    Parameters
    ----------
    columns
        The inputs that drift.
    url
        The model's page.
    """

    model: str
    incident: str
    severity: Severity
    columns: tuple[str, ...]
    url: str = ""
    over: bool = False

    @property
    def key(self) -> str:
        """Identity of its first message."""
        return f"{self.model}/{self.incident}"


@dataclass(frozen=True)
class SharedIncident:
    """Incidents of several models about columns of one source.

    Parameters
    ----------
    upstream
        The source, for people.
    opened
        End of the window with which the first one was opened, ISO 8601.
    message
        The first message of the first member, without the lines of the others.
    members
        The first is the one whose message shows all.
    """

    upstream: str
    opened: str
    message: dict[str, Any]
    members: tuple[Member, ...]

    @property
    def first(self) -> Member:
        """The member whose message shows all."""
        return self.members[0]

    @property
    def worst(self) -> Severity:
        """The worst severity of those that are not over."""
        return max(
            (one.severity for one in self.members if not one.over), key=RANK.__getitem__, default="none"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The drifting columns that the most members have, the most frequent first."""
        named = [column for one in self.members for column in one.columns]
        return tuple(sorted(dict.fromkeys(named), key=lambda column: -named.count(column)))

    def takes(self, member: Member, as_of: datetime) -> bool:
        """Tell whether a new incident has the same cause: a common column, windows that end within a day."""
        near = abs(as_of - parse_moment(self.opened)) <= _TOGETHER
        return self.worst != "none" and near and bool({*self.columns}.intersection(member.columns))

    def having(self, member: Member) -> SharedIncident:
        """Return a copy with a member added, or replaced; one that is over keeps its columns."""
        known = {one.key: one for one in self.members}
        before = known.get(member.key)
        if before is not None and member.over:
            member = replace(before, over=True)
        known[member.key] = member
        return replace(self, members=tuple(known.values()))

    def shown(self) -> Message:
        """Return the first member's message with a line for each member; as it is where there is one alone."""
        message = Message(**self.message)
        if len(self.members) == 1:
            return message
        lines = [_line(one) for one in self.members[:_LINES]]
        body: list[Block] = [
            section(*lines[start : start + _LINES_A_BLOCK]) for start in range(0, len(lines), _LINES_A_BLOCK)
        ]
        if len(self.members) > _LINES:
            body.append(section(f"and {len(self.members) - _LINES} more models"))
        body += [divider(), section(f"{code(self.first.model)}, *the first of them*")]
        own, tail = _parted(message.blocks[1:])
        severity = self._severity
        title = f"{SIGNS[severity]} {one_line(self._title)}"
        plain = [f"[{severity}] {one_line(self._title)}", *map(_plain_line, self.members[:_LINES])]
        return replace(
            message,
            title=title,
            text=shortened(plain_strokes("\n".join([*plain, message.text])), MOST_PLAIN),
            blocks=fitted(header(title), [*body, *own], tail),
            severity=severity,
        )

    @property
    def _severity(self) -> MessageSeverity:
        return "resolved" if self.worst == "none" else self.worst

    @property
    def _title(self) -> str:
        state = "resolved" if self.worst == "none" else f"({self.worst})"
        return f"{len(self.members)} models: drift in {_listed(self.columns)} of {self.upstream} {state}"


@dataclass(frozen=True)
class _Place:
    """Where a shared incident is reported: a channel, and the source it is about."""

    channel: Destination
    upstream: str

    @property
    def sha256(self) -> str:
        """The place, as the database has it."""
        return json_digest([self.channel.name, self.upstream])


def _place_of(spec: ModelSpec) -> _Place:
    """Return where drift of a model's source is reported."""
    return _Place(slack_destination(spec.alerts), spec.source.upstream or spec.source.told)


def tell_together(
    connection: Connection, publisher: Publisher, member: Member, as_of: datetime, *, opens: bool
) -> None:
    """Put the messages of a member that joins others into the first one's thread, and refresh the first one's message.

    Parameters
    ----------
    connection
        Of the transaction that queues the batch, and holds its destinations.
    publisher
        Has the batch with the member's messages.
    opens
        Whether the incident opens now: it joins another one, or may be joined.
    """
    place, batch = _place_of(publisher.spec), publisher.batch
    assert batch is not None
    own = next((e.read() for to, e, _ in batch.entries if to == place.channel and e.key == member.key), None)
    shared = _join(connection, place, member, own, as_of, opens)
    if shared is None or len(shared.members) == 1:
        return
    batch.entries[:] = [(to, _in_thread(entry, to, shared, member), png) for to, entry, png in batch.entries]
    publisher.refresh("update", shared.shown(), url=shared.first.url)


def _in_thread(
    entry: QueuedMessage, to: Destination, shared: SharedIncident, member: Member
) -> QueuedMessage:
    """Return a message as a reply to the first member's; the channel sees what makes it worse, and the end of all."""
    first = shared.first.key
    if to.kind != "slack" or entry.key == first:
        return entry
    if entry.key.endswith("-second"):
        thread = "" if member.key == first else f"{first}-second"
        return replace(entry, thread=thread, broadcast=False)
    others = (one.severity for one in shared.members if one.key != member.key and not one.over)
    worse = RANK[member.severity] > max(map(RANK.__getitem__, others), default=-1)
    told = (
        shared.worst == "none" if entry.event == "resolve" else worse and entry.event in ("open", "escalate")
    )
    return replace(entry, thread=first, broadcast=told)


def _join(
    connection: Connection, place: _Place, member: Member, own: Message | None, as_of: datetime, opens: bool
) -> SharedIncident | None:
    """Return the shared incident with the member in it, as it is stored; None for one that is not known and does not open."""
    number, shared = next(_matching(connection, place, member, as_of, opens), (None, None))
    if shared is None:
        if own is None or not opens:
            return None
        shared = SharedIncident(place.upstream, as_of.isoformat(), own.to_json(), (member,))
        row = {"place_sha256": place.sha256, "content": _text(shared)}
        connection.execute(insert(shared_incidents).values(row))
        return shared
    shared = shared.having(member)
    if own is not None and member.key == shared.first.key:
        shared = replace(shared, message=own.to_json())
    mine = shared_incidents.c.number == number
    if shared.worst == "none":
        connection.execute(delete(shared_incidents).where(mine))
    else:
        connection.execute(update(shared_incidents).where(mine).values(content=_text(shared)))
    return shared


def _matching(
    connection: Connection, place: _Place, member: Member, as_of: datetime, may_join: bool
) -> Iterator[tuple[int, SharedIncident]]:
    found = list(_stored(connection, place))
    yield from (one for one in found if any(known.key == member.key for known in one[1].members))
    yield from (one for one in found if may_join and one[1].takes(member, as_of))


def _stored(connection: Connection, place: _Place) -> Iterator[tuple[int, SharedIncident]]:
    table = shared_incidents.c
    query = select(table.number, table.content).where(table.place_sha256 == place.sha256)
    for number, text in connection.execute(query.order_by(table.number).with_for_update()):
        data = loads(text, "a shared incident")
        members = tuple(Member(**{**one, "columns": tuple(one["columns"])}) for one in data["members"])
        yield number, SharedIncident(data["upstream"], data["opened"], data["message"], members)


def _text(shared: SharedIncident) -> str:
    return json.dumps(stamped(asdict(shared)))


def _line(member: Member) -> str:
    name = link(member.url, member.model) if member.url else code(member.model)
    state = "resolved" if member.over else member.severity
    return f"• {name} {state}: {words(_listed(member.columns), 200)}"


def _plain_line(member: Member) -> str:
    state = "resolved" if member.over else member.severity
    return f"{member.model} {state}: {_listed(member.columns)}"


def _listed(columns: Sequence[str]) -> str:
    more = len(columns) - _COLUMNS
    return ", ".join(columns[:_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def _parted(blocks: Sequence[Block]) -> tuple[list[Block], list[Block]]:
    """Return what may be left out, and what stays: buttons, links and the last line."""
    start = next((place for place, block in enumerate(blocks) if block["type"] == "actions"), len(blocks) - 2)
    return list(blocks[:start]), list(blocks[start:])
