"""The process that opens a foreign model: closed off before it imports a library; rows come on its standard input, answers go to its output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.sandbox import SandboxError, close_off, limit

if TYPE_CHECKING:
    from evermodel.modeling.foreign.formats import OpenedModel


def main() -> None:
    """Answer one order: a line of JSON, then the rows as an Arrow stream if there are any."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the model prints is no answer
    limit(*map(int, sys.argv[-2:]))
    given = sys.stdin.buffer
    order = json.loads(given.readline())
    path, code = Path(order["path"]), [Path(place) for place in order["code"]]
    try:
        if not order["trust"]:
            close_off([path, *code])
        sys.path += map(str, code)
        data = _answered(path, order, given)
    except SandboxError as error:
        data = {"refused": [error.problem, error.advice]}
    except Exception as error:  # noqa: BLE001 - third-party code may raise anything
        data = {"error": f"{type(error).__name__}: {error}"}
    answer.write(json.dumps(data))
    answer.flush()
    os._exit(0)  # nothing of the model runs at the end


def _answered(path: Path, order: dict[str, Any], given: Any) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    from evermodel.modeling.foreign.formats import load

    rows = pa.ipc.open_stream(given).read_pandas() if order["rows"] else None
    model: OpenedModel = load(path, order["kind"])
    data: dict[str, Any] = {
        "kind": model.kind,
        "features": list(map(str, model.features)),
        "count": model.count,
        "classes": [one if isinstance(one, bool | int | float | str) else str(one) for one in model.classes],
        "categorical": list(map(str, model.categorical)),
    }
    if rows is not None:
        data["answers"] = np.asarray(model.answer(rows), dtype=np.float64).tolist()
    return data


if __name__ == "__main__":
    main()
