"""The unit of a request, and its place between 0 and 1, which stays the same during a rollout."""

from __future__ import annotations

from hashlib import blake2b

from starlette.types import Scope

SUBJECT_HEADER = "X-Subject-ID"
_HEADER = SUBJECT_HEADER.lower().encode()
_LONGEST_SUBJECT = 200


def unit_of(scope: Scope) -> bytes:
    """Return the unit that stays with one version: the header ``X-Subject-ID``, or the request's id without one.

    A subject of more than 200 bytes is ignored.
    """
    for name, value in scope["headers"]:
        if name == _HEADER and 0 < len(value) <= _LONGEST_SUBJECT:
            return bytes(value)
    request_id: str = scope["state"]["request_id"]
    return request_id.encode()


def key_of(salt: str) -> bytes:
    """Return the key with which the places of a rollout differ from those of others."""
    return blake2b(salt.encode(), digest_size=32).digest()


def place(unit: bytes, key: bytes) -> float:
    """Return the place of a unit, uniform over [0, 1) and the same for the same key in every process.

    >>> place(b"caller-7", key_of("rollout 1")) == place(b"caller-7", key_of("rollout 1"))
    True
    """
    digest = blake2b(unit, digest_size=8, key=key).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53  # 53 bits, as many as a float holds
