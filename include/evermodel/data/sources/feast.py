"""Features that Feast joins to rows, as of each row's time: in a process of Feast's own interpreter, by Parquet files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import EvermodelError, SourceError, SourceUnavailableError
from evermodel.core.settings import feast_python
from evermodel.data.sources import feast_process
from evermodel.data.sources.relation import MAY_PASS
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 100_000
_LOGIN = re.compile(r"//[^/@\s]+@")
_NOT_INSTALLED = {"ImportError", "FeastExtrasDependencyImportError", "FeastModuleImportError"}


class FeastFeatures:
    """What a model's `source.feast` gives.

    Parameters
    ----------
    scratch
        Folder of the files that both processes exchange; the machine's (`TMPDIR`) if not given.
    """

    def __init__(self, spec: ModelSpec, scratch: Path | None = None) -> None:
        self._spec, self._scratch = spec, scratch

    def join(self, duck: duckdb.DuckDBPyConnection, rows: str, time: str, wanted: Sequence[str]) -> str:
        """Return the SQL of a table's rows with some of Feast's features.

        Each key is asked for once a moment: Feast keeps one of several rows of the same key and time.

        Parameters
        ----------
        rows
            The table.
        time
            SQL of its time column, a TIMESTAMPTZ.
        """
        views = [view for view in self._views if set(view.given).intersection(wanted)]
        at, joins, picked = self._shown_at(time), "", ["r.*"]
        with self._folder() as folder:
            for number, view in enumerate(views):
                keys = ", ".join(map(_name, view.key))
                there = " AND ".join(f"{_name(name)} IS NOT NULL" for name in view.key)
                asked = f"SELECT DISTINCT {keys}, {at} AS event_timestamp FROM {rows} WHERE {there}"
                numbered = f"SELECT row_number() OVER () AS evermodel_row, * FROM ({asked})"
                duck.execute(f"CREATE OR REPLACE TEMP TABLE evermodel_asked_{number} AS {numbered}")
                duck.execute(f"COPY evermodel_asked_{number} TO '{folder}/rows-{number}.parquet'")
            self._ask(folder, [(view, [n for n in view.given if n in wanted]) for view in views])
            for number, view in enumerate(views):
                names = [name for name in view.given if name in wanted]
                self._keep(duck, number, f"{folder}/features-{number}.parquet", names)
                same = [f"r.{_name(name)} = g{number}.{_name(name)}" for name in view.key]
                on = " AND ".join([*same, f"{at} = g{number}.event_timestamp"])
                joins += f" LEFT JOIN evermodel_given_{number} g{number} ON {on}"
                picked += [f"g{number}.{_name(name)}" for name in names]
        return f"SELECT {', '.join(picked)} FROM {rows} r{joins}"

    def by_key(
        self, view: FeatureView, period: datetime, duck: duckdb.DuckDBPyConnection
    ) -> Iterator[pa.RecordBatch]:
        """Give each key with a view's features as of a moment; see `read_by_key`."""
        with self._folder() as folder:
            self._ask(folder, [(view, list(view.given))], at=period)
            keys = [_name(name) for name in view.key]
            picked = ", ".join([*keys, *self._typed(view.given)])
            file = f"{folder}/features-0.parquet"
            yield from duck.sql(f"SELECT {picked} FROM read_parquet('{file}')").to_arrow_reader(_BATCH_ROWS)

    def materialize(self, until: datetime) -> None:
        """Have Feast bring its own online store up to a moment."""
        with self._folder() as folder:
            self._ask(folder, [], materialize=until)

    @property
    def _views(self) -> list[FeatureView]:
        return [view for view in self._spec.feature_views if view.given]

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=".evermodel-feast-", dir=self._scratch) as folder:
            yield Path(folder)

    def _shown_at(self, time: str) -> str:
        """Return the SQL of the time as of which a row has its features; see `OnlineSpec.shown_at`."""
        online = self._spec.features.online
        if online is None:
            return time
        period, delay = (round(span.total_seconds() * 1e6) for span in (online.every, online.delay))
        since = f"(epoch_us({time}) - {delay})"
        return f"make_timestamptz({since} - ({since} % {period} + {period}) % {period})"

    def _keep(self, duck: duckdb.DuckDBPyConnection, number: int, file: str, names: Sequence[str]) -> None:
        """Read the answer, whose rows are in another order, and perhaps fewer."""
        typed = ", ".join(self._typed(names))
        duck.execute(
            f"CREATE OR REPLACE TEMP TABLE evermodel_given_{number} AS SELECT a.*, {typed} "
            f"FROM evermodel_asked_{number} a JOIN read_parquet('{file}') f USING (evermodel_row)"
        )

    def _typed(self, names: Sequence[str]) -> list[str]:
        """Return the features with one type whatever is missing: numbers, of which NaN is none, or texts."""
        numeric = self._spec.features.numeric
        return [
            f"nullif({_name(n)}::DOUBLE, 'NaN') AS {_name(n)}"
            if n in numeric
            else f"{_name(n)}::VARCHAR AS {_name(n)}"
            for n in names
        ]

    def _ask(
        self,
        folder: Path,
        parts: Sequence[tuple[FeatureView, list[str]]],
        at: datetime | None = None,
        materialize: datetime | None = None,
    ) -> None:
        feast = self._spec.source.feast
        assert feast is not None
        if not (Path(feast.repo) / "feature_store.yaml").is_file():
            raise SourceError(
                f"model {self._spec.name}: there is no feature_store.yaml in {Path(feast.repo).absolute()}",
                "set `source.feast.repo` to the folder of Feast's repository",
            )
        request = {
            "repo": str(Path(feast.repo).absolute()),
            "service": feast.service,
            "as_known": feast.as_known,
            "parts": [{"key": view.key, "features": names} for view, names in parts],
            "at": at and at.isoformat(),
            "materialize": materialize and materialize.isoformat(),
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        python = self._python()
        try:
            done = subprocess.run(
                # Isolated: what PYTHONPATH names, and the modules beside the program, are this process' own.
                [python, "-I", feast_process.__file__, folder],
                env={"FEAST_USAGE": "False", **os.environ},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise SourceError(
                f"model {self._spec.name}: {python} cannot be started ({error.strerror})",
                "set EVERMODEL_FEAST_PYTHON to the Python of an environment with Feast",
            ) from None
        if done.returncode:
            raise self._failure(folder / "error.json", python, done)

    def _python(self) -> str:
        """Return Feast's interpreter: the one that is set, or this one where Feast is installed in it."""
        if found := feast_python():
            return found
        if importlib.util.find_spec("feast") is not None:
            return sys.executable
        raise SourceError(
            f"model {self._spec.name}: `source.feast` needs Feast, which has an environment of its own",
            "run `python -m venv feast-env && feast-env/bin/pip install feast`, and set EVERMODEL_FEAST_PYTHON to feast-env/bin/python",
        )

    def _failure(self, file: Path, python: str, done: subprocess.CompletedProcess[str]) -> EvermodelError:
        where = f"model {self._spec.name}: Feast"
        if not file.exists():
            end = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
            last = (done.stderr.strip().splitlines() or [""])[-1]
            advice = "signal 9 usually means out of memory: shorten the window, or use another offline store of Feast"
            return SourceError(_LOGIN.sub("//", f"{where}'s process died ({end}) {last}".strip()), advice)
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kinds = set(told["kinds"])
        message = next(iter(told["message"].strip().splitlines()), told["kinds"][0])
        problem = _LOGIN.sub("//", f"{where}: {message}")
        if kinds & _NOT_INSTALLED:
            return SourceError(problem, f"install it in Feast's environment, that of {python}")
        if kinds & MAY_PASS and "FileNotFoundError" not in kinds:
            return SourceUnavailableError(problem, "check that Feast's stores are up; the read is retried")
        advice = (
            "correct `source.feast`"
            if "RequestError" in kinds
            else "check Feast's repository with `feast apply`"
        )
        return SourceError(problem, advice)


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
