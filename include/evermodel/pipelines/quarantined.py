"""The rows that the last retrain with a quarantine left out, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evermodel.core.paths import inside
from evermodel.data.validation.quarantine import QuarantineReason, reasons_in
from evermodel.registry import tags as tag
from evermodel.registry.tracking import experiment_id

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.registry.client import MlflowClient
    from evermodel.spec import ModelSpec


@dataclass(frozen=True)
class Quarantined:
    """The rows that one run quarantined.

    Parameters
    ----------
    verdict
        How its validation ended: ``quarantined``, or ``failed`` if it stopped.
    file
        Where the rows are.
    """

    run: str
    as_of: str
    verdict: str
    file: str
    reasons: tuple[QuarantineReason, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(reason.rows for reason in self.reasons)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**asdict(self), "rows": self.rows}


def last_quarantined(client: MlflowClient, spec: ModelSpec, settings: Settings) -> Quarantined | None:
    """Return what the newest run with a quarantine left out; None if there is no such run.

    Raises
    ------
    SourceError
        The file with the rows is gone or damaged.
    """
    runs = client.search_runs(
        [experiment_id(client, spec.name)],
        filter_string=f"tags.`{tag.KIND}` = 'retrain' and tags.`{tag.QUARANTINE}` != ''",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        return None
    tags = runs[0].data.tags
    file = inside(settings.lake, tags[tag.QUARANTINE])
    reasons = tuple(reasons_in(file, spec.time_column, spec.id_column))
    run, as_of = tags.get(tag.RUN_KEY, runs[0].info.run_id), tags.get(tag.AS_OF, "")[:10]
    return Quarantined(run, as_of, tags.get(tag.VALIDATION, ""), str(file), reasons)
