"""The data sources of Evidently's report: reference and window of each test."""

from __future__ import annotations

from evermodel.monitoring.drift.drawing import Chosen, Source
from evermodel.monitoring.drift.log_rows import LogRows
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.profiles import answers
from evermodel.monitoring.drift.reference_and_current import ColumnarRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.verdict import ColumnDrift


def sources_of(references: References, window: ColumnarRows) -> tuple[Chosen, Chosen]:
    """Return functions that find reference and window of a test.

    Predictions are those of the evaluated version on both sides.
    """
    log = LogRows(window, answers(references.spec))

    def name(drift: ColumnDrift) -> str:
        return of_version(drift.column, references.version) if drift.what == "prediction" else drift.column

    def before(drift: ColumnDrift) -> tuple[Source, str] | None:
        of = references.of_answers if drift.what == "prediction" else references.of
        side = of(drift.column).side
        return None if side is None else (side, name(drift))

    def now(drift: ColumnDrift) -> tuple[Source, str] | None:
        return log, name(drift)

    return before, now
