"""A foreign model as its user names it: what it says of itself, and the answers that it gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.errors import ModelFormatError
from evermodel.core.html import printable
from evermodel.core.sandbox import SandboxError, run_closed
from evermodel.modeling.foreign import endpoint
from evermodel.modeling.foreign.formats import described, format_of
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pyarrow as pa

_WORKER = "evermodel.modeling.foreign.worker"
_TEXT_TYPES = ("string", "BYTES", "boolean")


@dataclass(frozen=True)
class OpeningRules:
    """How files of models are opened.

    Parameters
    ----------
    trust
        Open them in a process with network and files; for systems without a sandbox.
    code
        Folders with modules that a pickle imports.
    seconds, memory
        Limits of the process, in seconds and bytes.
    """

    trust: bool = False
    code: tuple[Path, ...] = ()
    seconds: float = 300.0
    memory: int = 8 << 30


@dataclass(frozen=True)
class ForeignModel:
    """A model that somebody else made.

    Parameters
    ----------
    place
        Path of its file or folder, or the address of its endpoint.
    rules
        How a file is opened.
    """

    place: str
    rules: OpeningRules = OpeningRules()

    @property
    def is_endpoint(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.place.startswith(("http://", "https://"))

    def describe(self) -> ForeignDescription:
        """Return what the model says of itself.

        Raises
        ------
        ModelFormatError
            It cannot be read.
        SandboxError
            It cannot be opened safely.
        """
        if self.is_endpoint:
            inputs = endpoint.inputs_of(self.place)
            texts = tuple(name for name, kind in inputs.items() if kind in _TEXT_TYPES)
            return ForeignDescription("endpoint", tuple(inputs), len(inputs), (), texts)
        path = Path(self.place)
        signed = described(path)["inputs"] if format_of(path) == "mlflow" else {}
        found = self._open(None)
        features = tuple(signed) or tuple(found["features"])
        categorical = {name for name, kind in signed.items() if kind in _TEXT_TYPES} | {*found["categorical"]}
        return ForeignDescription(
            printable(found["kind"]),
            features,
            found["count"] or len(features),
            tuple(found["classes"]),
            tuple(sorted(categorical)),
        )

    def answers(self, rows: pa.Table) -> Floats:
        """Return the model's answers: one number a row, or rows x classes.

        Parameters
        ----------
        rows
            Its inputs, in its order.
        """
        if self.is_endpoint:
            found = endpoint.ask(self.place, rows.to_pandas())
        else:
            found = self._open(rows)["answers"]
        try:
            answers = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelFormatError(
                f"{self.told}: its answers are no numbers ({error})", "adopt what gives scores"
            ) from error
        if answers.ndim not in (1, 2) or len(answers) != rows.num_rows:
            raise ModelFormatError(
                f"{self.told}: answers of shape {answers.shape} to {rows.num_rows} rows",
                "it must answer each row with a number",
            )
        return answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers

    @property
    def told(self) -> str:
        """The model in messages."""
        from evermodel.core.logins import without_login

        return without_login(self.place) if self.is_endpoint else self.place

    def _open(self, rows: pa.Table | None) -> dict[str, Any]:
        path, rules = Path(self.place).absolute(), self.rules
        order = {
            "path": str(path),
            "kind": format_of(path),
            "code": [str(place.absolute()) for place in rules.code],
            "trust": rules.trust,
            "rows": rows is not None,
        }
        said = run_closed(_WORKER, _parts(order, rows), seconds=rules.seconds, memory=rules.memory)
        return _checked(self.told, said, rows is not None)


@dataclass(frozen=True)
class ForeignDescription:
    """What a model says of itself; see `evermodel.modeling.foreign.formats.OpenedModel`."""

    kind: str
    features: tuple[str, ...]
    count: int
    classes: tuple[bool | int | float | str, ...]
    categorical: tuple[str, ...]


def _parts(order: dict[str, Any], rows: pa.Table | None) -> Iterator[bytes]:
    import pyarrow as pa

    yield json.dumps(order).encode() + b"\n"
    if rows is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        yield sink.getvalue().to_pybytes()


def _checked(told: str, said: bytes, with_rows: bool) -> dict[str, Any]:
    """Return the process's answer: of a hostile model it may be anything."""
    try:
        found = json.loads(said)
        if "refused" in found:
            problem, advice = found["refused"]
            raise SandboxError(printable(problem), printable(advice))
        if "error" in found:
            raise ModelFormatError(
                f"{told} cannot be opened or asked: {printable(found['error'])[:500]}",
                "install the libraries it was made with, name folders of its own modules with --code, or check its features",
            )
        texts = [found["kind"], *found["features"], *found["categorical"]]
        if not all(isinstance(text, str) for text in texts) or not isinstance(found["count"], int):
            raise TypeError("texts")
        if not all(isinstance(one, bool | int | float | str) for one in found["classes"]):
            raise TypeError("classes")
        if with_rows and not isinstance(found["answers"], list):
            raise TypeError("answers")
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFormatError(
            f"{told}: its process answered with something unreadable ({error})", "do not use it"
        ) from error
    return {**found, "features": list(map(printable, found["features"]))}


def inputs_for(
    description: ForeignDescription, named: Sequence[str], columns: Sequence[str]
) -> tuple[str, ...]:
    """Return the model's inputs among the columns of a table.

    Parameters
    ----------
    named
        Inputs that a person named, in the model's order; empty: those that the model knows, or all columns if they are
        as many as it takes.
    """
    wanted = tuple(named) or description.features
    own_names = bool(wanted) and not all(
        name in (f"Column_{place}", f"f{place}") for place, name in enumerate(wanted)
    )
    if not own_names:
        wanted = tuple(columns)
        if description.count not in (0, len(wanted)):
            raise ModelFormatError(
                f"the model takes {description.count} inputs and knows no names of them; the table has {len(wanted)} columns left",
                "name them in the model's order with --features a,b,c",
            )
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ModelFormatError(
            f"the table has no column {', '.join(missing[:5])} that the model takes",
            "add it in a view, or name the inputs with --features",
        )
    return wanted
