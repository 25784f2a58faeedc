"""Where the report finds the two sides of each test: what the verdict held against each other."""

from __future__ import annotations

from evermodel.drift.drawing import Chosen, Source
from evermodel.drift.log_rows import LogRows
from evermodel.drift.profile import of_version
from evermodel.drift.profiles import answers
from evermodel.drift.references import References
from evermodel.drift.sides import Rows
from evermodel.drift.verdict import ColumnDrift


def sources_of(references: References, window: Rows) -> tuple[Chosen, Chosen]:
    """Return functions that find reference and window of a test.

    Answers are those of the judged version on both sides.
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
