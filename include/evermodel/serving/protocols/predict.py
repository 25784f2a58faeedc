"""The app's own protocol: rows of named features, as JSON."""

from __future__ import annotations

from typing import Any

import orjson

from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs, ParsedRows, parse_rows
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.codec import Content


class PredictCodec:
    """Reads ``{"rows": [{feature: value}]}``; `evermodel.serving.schemas` has the answer."""

    def parse(self, body: bytes, inputs: Inputs, max_rows: int, id_column: str) -> ParsedRows:
        """Return the rows of a request's body; see `parse_rows`."""
        return parse_rows(body, inputs, max_rows, id_column)

    def answer(self, model: str, request_id: str, answered: Answered) -> Content:
        """Return the answer to the request."""
        content: dict[str, Any] = {
            "model": model,
            "version": answered.version,
            "request_id": request_id,
            "predictions": list(map(_prediction, answered.ids, answered.answers)),
        }
        for prediction, detail in zip(content["predictions"], answered.details, strict=False):
            prediction.update(detail)
        if answered.fallback is not None:
            content["fallback"] = answered.fallback
        return Content(orjson.dumps(content))

    def refusal(self, status: int, detail: str, request_id: str) -> bytes:
        """Return the JSON of an error."""
        return orjson.dumps({"detail": detail, "request_id": request_id})


PREDICT = PredictCodec()


def _prediction(row_id: str, answer: Answer) -> dict[str, Any]:
    if answer.decision is not None:
        return {"id": row_id, "score": answer.score, "decision": answer.decision}
    if answer.rank is not None:
        return {"id": row_id, "score": answer.score, "rank": answer.rank}
    if answer.label is None:
        return {"id": row_id, "score": answer.score}
    return {"id": row_id, "score": answer.score, "label": answer.label}
