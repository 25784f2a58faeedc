"""The addresses of the app: the model and protocol of a prediction request, and the right that each address needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from starlette.types import Scope

from evermodel.modeling.scoring.answer_details import DETAILS, Detail
from evermodel.serving.protocols.codec import Codec
from evermodel.serving.protocols.invocations import InvocationsCodec
from evermodel.serving.protocols.open_inference import OpenInferenceCodec
from evermodel.serving.protocols.predict import PREDICT

OPEN_PATHS = frozenset({"/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"})
ANY_RIGHT = ""
QUERY = "query"  # in the scope's state: the beginning of the request's query
_ANY_TOKEN = frozenset({"/v2", "/version", "/invocations"})  # the last tells that it has no model
_OF_MODEL = re.compile(r"/models/([^/]+)/predict")
_INFER = re.compile(r"/v2/models/([^/]+)/infer")
_OF_V2_MODEL = re.compile(r"/v2/models/([^/]+)(?:/.*)?")
_INVOCATIONS = InvocationsCodec()


class PredictionTarget(NamedTuple):
    """What a prediction request asks for.

    Parameters
    ----------
    asked
        What it wants to know beside the answers.
    """

    model: str
    codec: Codec
    asked: frozenset[Detail] = frozenset()


@dataclass(frozen=True)
class Addresses:
    """The addresses that name no model, and whose they are.

    Parameters
    ----------
    only
        The model that answers at ``/predict``; None if the app serves several.
    invocations
        The model that answers at ``/invocations``; None if none does.
    """

    only: str | None = None
    invocations: str | None = None

    def prediction(self, scope: Scope) -> PredictionTarget | None:
        """Return the model and protocol of a prediction request; None for any other request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path: str = scope["path"]
        if path == "/predict":
            return None if self.only is None else PredictionTarget(self.only, PREDICT, _asked(scope))
        if found := _OF_MODEL.fullmatch(path):
            return PredictionTarget(unquote(found[1]), PREDICT, _asked(scope))
        if found := _INFER.fullmatch(path):
            return PredictionTarget(unquote(found[1]), OpenInferenceCodec(scope))
        if path == "/invocations" and self.invocations is not None:
            return PredictionTarget(self.invocations, _INVOCATIONS)
        return None

    def right(self, scope: Scope) -> str:
        """Return the right that a request needs: ``predict:<model>``, ``admin``, or `ANY_RIGHT` for any token."""
        if found := self.prediction(scope):
            return f"predict:{found.model}"
        path: str = scope["path"]
        if path in _ANY_TOKEN:
            return ANY_RIGHT
        of_model = _OF_V2_MODEL.fullmatch(path)
        return f"predict:{unquote(of_model[1])}" if of_model else "admin"


def _asked(scope: Scope) -> frozenset[Detail]:
    query: bytes = scope.get("state", {}).get(QUERY, b"")
    given = query.split(b"&") if query else ()
    return frozenset(name for name in DETAILS if f"{name}=true".encode() in given)


def codec_of(scope: Scope) -> Codec:
    """Return the protocol that an address belongs to, for errors of requests that are no predictions."""
    path: str = scope["path"]
    if path == "/v2" or path.startswith("/v2/"):
        return OpenInferenceCodec(scope)
    return _INVOCATIONS if path == "/invocations" else PREDICT
