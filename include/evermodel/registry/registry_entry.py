"""A registered model in one read: aliases, tags, the champions' history, and the traffic plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import NewerFormatError, NoChampionError, WrongEnvironmentError
from evermodel.core.formats import loads, stamped
from evermodel.core.settings import current_environment
from evermodel.registry.tags import OWNER, PROMOTION, TRAFFIC_PLAN
from evermodel.registry.tracking import ignoring
from evermodel.registry.traffic_plan import TrafficPlan

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
KEPT_RECORDS = (
    100  # of the history, at least: older ones go when they are older than a year, and the audit log has all
)


@dataclass(frozen=True)
class Promotion:
    """One line of the history: which version became champion when, after which, by whom and why.

    Parameters
    ----------
    kind
        ``promotion``, or ``rollback`` to a version that had served before.
    """

    version: str
    previous: str | None
    at: str
    by: str
    reason: str
    run_key: str
    kind: Literal["promotion", "rollback"] = "promotion"


@dataclass(frozen=True)
class PromotionRecord:
    """A promotion as stored in its tag, written before the first alias moves.

    Parameters
    ----------
    after
        Run key of the promotion before this one.
    by_alias
        The alias ``previous`` had to move for it, so that nothing is missing once it points to `promotion.previous`.
    """

    promotion: Promotion
    complete: bool = False
    after: str | None = None
    by_alias: bool = False


@dataclass(frozen=True)
class RegistryEntry:
    """A model's registry entry at one moment; empty if it does not exist.

    A promotion writes its record first, then ``champion``, and last ``previous``; where ``previous`` need not move, it
    marks the record as complete instead. So a promotion took place, whole, if its record is marked, if a later record
    names it as the one before (whoever wrote that had seen the aliases), or, when it is newer than all of those, if
    ``previous`` is where its last write puts it. Every record is later than those that were there, so that one that
    was abandoned never passes for the newest.

    Parameters
    ----------
    aliases
        Version by alias.
    born
        Time of creation, in milliseconds since 1970.
    """

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    born: int = 0

    @classmethod
    def read(cls, client: MlflowClient, name: str) -> RegistryEntry:
        """Read the entry with one request."""
        with ignoring("RESOURCE_DOES_NOT_EXIST"):
            return cls.of(name, client.get_registered_model(name))
        return cls(name, {}, {})

    @classmethod
    def of(cls, name: str, found: RegisteredModel) -> RegistryEntry:
        """Build the entry from MLflow's client."""
        aliases = {alias: str(version) for alias, version in found.aliases.items()}
        return cls(name, aliases, dict(found.tags), int(found.creation_timestamp or 0))

    @property
    def champion(self) -> str | None:
        """The champion."""
        return self.aliases.get(CHAMPION)

    @property
    def previous(self) -> str | None:
        """The previous champion."""
        return self.aliases.get(PREVIOUS)

    @property
    def challenger(self) -> str | None:
        """The version registered last, until it is promoted."""
        return self.aliases.get(CHALLENGER)

    def require_champion(self) -> str:
        """Return the champion; raises `NoChampionError` if the model has none yet."""
        if self.champion is None:
            raise no_champion(self.name)
        return self.champion

    def require_own(self, environment: str | None = None) -> None:
        """Raise `WrongEnvironmentError` if another environment owns the model; default: that of this process."""
        owner, here = self.tags.get(OWNER), environment or current_environment()
        if owner is not None and owner != here:
            raise WrongEnvironmentError(
                f"model {self.name} in this registry belongs to the environment {owner}, but this process runs in {here}",
                f"correct MLFLOW_TRACKING_URI or EVERMODEL_ENVIRONMENT; transfer a version with "
                f"`evermodel promote {self.name} VERSION --from {here} --to {owner}`. If the registry belongs to a new "
                f"environment, delete the tag {OWNER} of the registered model",
            )

    @cached_property
    def records(self) -> tuple[PromotionRecord, ...]:
        """Every record of a promotion, oldest first; unreadable ones (written by hand) are omitted."""
        found = [
            read_record(text, f"tag {key}") for key, text in self.tags.items() if key.startswith(PROMOTION)
        ]
        return tuple(sorted(filter(None, found), key=lambda record: record.promotion.at))

    @cached_property
    def promotions(self) -> tuple[Promotion, ...]:
        """The promotions and rollbacks that took place, oldest first."""
        followed = {record.after for record in self.records}
        past = [r.promotion for r in self.records if r.complete or r.promotion.run_key in followed]
        newer = [r for r in self.records if r.by_alias and r.promotion.previous == self.previous]
        last = [r.promotion for r in newer if not past or r.promotion.at > past[-1].at]
        serving = [promotion for promotion in last if promotion.version == self.champion]
        return (*past, *(serving or last)[-1:])

    @cached_property
    def plan(self) -> TrafficPlan | None:
        """The last traffic plan, in any state; None if there is none.

        Raises
        ------
        ValueError
            The tag was written by hand, or by a newer release.
        """
        data = self.read_json(TRAFFIC_PLAN)
        return None if data is None else TrafficPlan.from_json(data)

    @property
    def foreign_alias(self) -> str:
        """Return which champion evermodel did not set; empty if alias and history agree."""
        known = {self.promotions[-1].version if self.promotions else None}
        known |= {record.promotion.version for record in self.records[-1:]}
        if self.champion in known:
            return ""
        last = f"version {self.promotions[-1].version}" if self.promotions else "of none"
        return (
            f"the champion is {f'version {self.champion}' if self.champion else 'missing'}, but the last recorded "
            f"promotion is {last}: the alias was moved outside evermodel"
        )

    def begun(self, run_key: str) -> PromotionRecord | None:
        """Return the record of a run key's promotion, completed or not."""
        return next((record for record in self.records if record.promotion.run_key == run_key), None)

    def completed(self, run_key: str) -> Promotion | None:
        """Return the promotion of a run key if it took place."""
        return next((promotion for promotion in self.promotions if promotion.run_key == run_key), None)

    def unfinished(self, run_key: str) -> PromotionRecord | None:
        """Return the record of a run key if it is the newest and can be completed."""
        record = self.begun(run_key)
        if record is None or record != self.records[-1] or self.completed(run_key) is not None:
            return None
        return record if self.champion in (record.promotion.previous, record.promotion.version) else None

    def read_json(self, tag: str) -> Any:
        """Read a JSON tag; None if there is none."""
        return json.loads(self.tags[tag]) if tag in self.tags else None


def line_of_succession(past: Sequence[Promotion]) -> list[str]:
    """Return the champions that were not rolled back from, oldest first; the last one serves.

    >>> def promoted(version, kind="promotion"):
    ...     return Promotion(version, None, "", "", "", "", kind)
    >>> line_of_succession([promoted("1"), promoted("2"), promoted("3"), promoted("2", "rollback")])
    ['1', '2']
    """
    line: list[str] = []
    for promotion in past:
        if promotion.kind == "rollback" and promotion.version in line:
            del line[line.index(promotion.version) + 1 :]
        elif not line or line[-1] != promotion.version:
            line.append(promotion.version)
    return line


def no_champion(model: str) -> NoChampionError:
    """Return the error for a model without a champion."""
    return NoChampionError(
        f"model {model} has no champion yet",
        f"run the DAG {dag_id('retrain', model)} once, or evermodel train {model}",
    )


def record_text(record: PromotionRecord) -> str:
    """Return a record as it is stored."""
    return json.dumps(stamped(asdict(record)))


def read_record(text: str, what: str) -> PromotionRecord | None:
    """Read a record; None if it cannot be read. Fields that a newer release added are ignored.

    Parameters
    ----------
    what
        Names it in the error.

    Raises
    ------
    NewerFormatError
        A newer release wrote it in a format that this one does not know.
    """
    try:
        value = loads(text, what)
        return PromotionRecord(
            **_known(
                PromotionRecord, {**value, "promotion": Promotion(**_known(Promotion, value["promotion"]))}
            )
        )
    except NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _known(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
