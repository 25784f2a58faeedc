"""What a protocol of predictions has to say: how its requests and answers are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from evermodel.modeling.scoring.request_rows import Inputs, ParsedRows
from evermodel.serving.fallback import Answered

JSON = "application/json"


class Content(NamedTuple):
    """The body of an answer."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class Codec(Protocol):
    """Reads one request and writes its answer.

    Between the two are the routing, the version, the fallback, the counters and the prediction log, which are the
    same for all protocols.
    """

    def parse(self, body: bytes, inputs: Inputs, max_rows: int, id_column: str) -> ParsedRows:
        """Return the rows of a request's body.

        May be called again with the features of another version. Bodies of more than 32 KB are read in a thread.

        Raises
        ------
        RequestRefusedError
            The body is not one that the protocol or the model allows.
        """

    def answer(self, model: str, request_id: str, answered: Answered) -> Content:
        """Return the answer to the request."""

    def refusal(self, status: int, detail: str, request_id: str) -> bytes:
        """Return the JSON of an error."""
