"""Format numbers: what is stored says how it was written, and a newer form than this release knows is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

from evermodel.core.errors import NewerFormatError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 1  # 0 is what releases wrote that stored no number
_KEY = "format"
_PARQUET_KEY = "evermodel.format"
PARQUET_METADATA = {_PARQUET_KEY: str(FORMAT)}


def stamped(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with the format number, ready to be stored."""
    return {**data, _KEY: FORMAT}


def unstamped(data: Mapping[str, Any], what: object) -> dict[str, Any]:
    """Return stored data without its format number.

    Parameters
    ----------
    what
        Names the file, artifact or tag in the error.

    Raises
    ------
    NewerFormatError
        A newer release wrote it.

    Examples
    --------
    >>> unstamped({"rows": 3}, "an old file"), unstamped(stamped({"rows": 3}), "today's file")
    ({'rows': 3}, {'rows': 3})
    """
    require_known(data.get(_KEY, 0), what)
    return {key: value for key, value in data.items() if key != _KEY}


def loads(text: str | bytes, what: object) -> dict[str, Any]:
    """Read a JSON object that was `stamped`; see `unstamped`."""
    return unstamped(json.loads(text), what)


def json_digest(data: Any) -> str:
    """Return the SHA-256 of plain data as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def require_known_parquet(metadata: Mapping[bytes, bytes] | None, what: object) -> None:
    """Refuse a Parquet file of a newer format by the key-value metadata of its footer or schema."""
    require_known(int((metadata or {}).get(_PARQUET_KEY.encode(), 0)), what)


def require_known(number: int, what: object) -> None:
    """Raise `NewerFormatError` if a format number is above that of this release."""
    if number > FORMAT:
        raise NewerFormatError(
            f"{what} was written by a newer release (format {number}; this release reads up to {FORMAT})",
            "upgrade evermodel",
        )


class JsonData:
    """Base of dataclasses that are stored or sent as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(cast(Any, self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cast(Self, _adapter(cast(Any, cls)).validate_python(data))


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # here, so that `evermodel --help` starts without it

    return TypeAdapter(kind)
