"""A model behind an HTTP endpoint: of `mlflow models serve`, or of the Open Inference Protocol (V2) that MLServer, KServe and Triton speak."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ModelFormatError, SourceUnavailableError
from evermodel.core.logins import without_login

if TYPE_CHECKING:
    import httpx
    import pandas as pd

_ROWS = 1000  # of one request
_SECONDS = 60.0


def inputs_of(address: str) -> dict[str, str]:
    """Return the inputs that an endpoint of V2 names, with their datatypes; none of another endpoint, or of one tensor."""
    import httpx

    if "/v2/models/" not in address:
        return {}
    with httpx.Client(timeout=_SECONDS) as client:
        found = _json(client, "GET", address.removesuffix("/infer"))
    inputs = found.get("inputs") or []
    return {one["name"]: one["datatype"] for one in inputs} if len(inputs) > 1 else {}


def ask(address: str, rows: pd.DataFrame) -> list[Any]:
    """Return an endpoint's answer of each row, a thousand rows a request."""
    import httpx

    answers: list[Any] = []
    with httpx.Client(timeout=_SECONDS) as client:
        for start in range(0, len(rows), _ROWS):
            part = rows.iloc[start : start + _ROWS]
            found = (
                _of_v2(client, address, part)
                if "/v2/models/" in address
                else _of_mlflow(client, address, part)
            )
            if len(found) != len(part):
                raise ModelFormatError(
                    f"{without_login(address)}: {len(found)} answers to {len(part)} rows",
                    "look at its response",
                )
            answers += found
    return answers


def _of_mlflow(client: httpx.Client, address: str, rows: pd.DataFrame) -> list[Any]:
    split = {"columns": list(rows.columns), "data": [list(row) for row in _values(rows)]}
    found = _json(
        client,
        "POST",
        f"{address.removesuffix('/invocations').rstrip('/')}/invocations",
        {"dataframe_split": split},
    )
    answers = found["predictions"]
    if answers and isinstance(answers[0], dict):
        answers = [list(row.values()) for row in answers]
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in answers]


def _of_v2(client: httpx.Client, address: str, rows: pd.DataFrame) -> list[Any]:
    named = inputs_of(address)
    if named:
        data = [
            (name, kind, [len(rows), 1], [row[0] for row in _values(rows[[name]])])
            for name, kind in named.items()
        ]
    else:
        flat = [value for row in _values(rows) for value in row]
        data = [("input-0", "FP64", list(rows.shape), flat)]
    tensors = [
        {"name": n, "datatype": kind, "shape": shape, "data": values} for n, kind, shape, values in data
    ]
    infer, body = f"{address.removesuffix('/infer')}/infer", {"inputs": tensors}
    try:  # MLServer gives probabilities only to who asks for them
        found = _json(client, "POST", infer, {**body, "outputs": [{"name": "predict_proba"}]})
    except ModelFormatError:
        found = _json(client, "POST", infer, body)
    outputs = found["outputs"]
    last = outputs[-1]  # of a classifier: labels, then probabilities
    width = math.prod(last["shape"][1:])
    values = last["data"]
    return values if width == 1 else [values[place : place + width] for place in range(0, len(values), width)]


def _values(rows: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in JSON's types."""
    for row in rows.astype(object).where(rows.notna(), None).itertuples(index=False, name=None):
        yield tuple(getattr(value, "item", lambda value=value: value)() for value in row)


def _json(client: httpx.Client, method: str, address: str, body: Any = None) -> dict[str, Any]:
    import httpx

    told = without_login(address)
    try:
        response = client.request(method, address, json=body)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
    except httpx.HTTPStatusError as error:
        said = error.response.text[:300]
        raise ModelFormatError(
            f"{told} answers {error.response.status_code}: {said}", "check its address and inputs"
        ) from error
    except (httpx.HTTPError, ValueError) as error:
        raise SourceUnavailableError(
            f"{told} does not answer: {error}", "check its address, and that it runs"
        ) from error
    return found
