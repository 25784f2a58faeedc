"""Makes rows of a request's columns, for protocols that send each feature as one list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from evermodel.modeling.scoring.request_json import TURN
from evermodel.modeling.scoring.request_rows import (
    KEY_HINT,
    LOOKED_UP,
    EnoughError,
    Inputs,
    ParsedRows,
    Problems,
    identity_of,
    text_of,
    unknown_name,
)


def parse_columns(
    columns: Mapping[str, Sequence[Any]], rows: int, inputs: Inputs, id_column: str
) -> ParsedRows:
    """Check the columns of a request, and return its rows as `parse_rows` does.

    Parameters
    ----------
    columns
        The values by feature, each ``rows`` long; None is an unknown value. The column ``id_column`` may be missing.

    Raises
    ------
    RequestRefusedError
        A feature is missing, unknown, or has a value that the model does not take (422).

    Examples
    --------
    >>> inputs = Inputs(("amount", "colour"), frozenset({"amount"}))
    >>> parse_columns({"colour": ["red", None], "amount": [1, 2.5]}, 2, inputs, "id").rows
    [(1.0, 'red'), (2.5, None)]
    """
    problems = Problems()
    checked: list[Sequence[Any]] = []
    given: dict[str, Sequence[Any]] = {}
    own_ids: Sequence[str | None] = [None] * rows
    left_out = 0
    with suppress(EnoughError):
        for name, read in inputs.readers:
            if name in columns:
                checked.append(_read(name, columns[name], read, problems))
            elif name in inputs.looked_up:
                checked.append([LOOKED_UP] * rows)
                left_out += 1
            else:
                problems.append(f"{name}: is missing (send null if the values are unknown)")
        if left_out:
            problems += [f"{name}: is missing ({KEY_HINT})" for name in inputs.keys if name not in columns]
        given = {n: _read(n, columns[n], text_of, problems) for n in inputs.beside if n in columns}
        if len(columns) > len(checked) - left_out + len(given):
            for name in columns:
                if name not in inputs.known and name != id_column:
                    problems.append(unknown_name(name, inputs, id_column, problems))
        if id_column in columns:
            own_ids = _own_ids(columns[id_column], inputs, id_column, problems)
    problems.refuse()
    context = [given.get(name, [None] * rows) for name in inputs.context]
    return ParsedRows(list(zip(*checked, strict=True)), list(own_ids), list(zip(*context, strict=True)))


def _read(name: str, values: Sequence[Any], read: Callable[[Any], Any], problems: Problems) -> Sequence[Any]:
    TURN.get()()
    try:
        return list(map(read, values))
    except ValueError:
        for row, value in enumerate(values):
            try:
                read(value)
            except ValueError as error:
                problems.append(f"row {row}: {name}: {error}")
        return values


def _own_ids(
    values: Sequence[Any], inputs: Inputs, id_column: str, problems: Problems
) -> Sequence[str | None]:
    if id_column not in inputs.names:
        return _read(id_column, values, identity_of, problems)
    # An older version may have a feature of this name, whose values need not be ids.
    return list(map(_identity_or_none, values))


def _identity_or_none(value: Any) -> str | None:
    with suppress(ValueError):
        return identity_of(value)
    return None
