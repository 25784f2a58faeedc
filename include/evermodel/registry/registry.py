"""The registry in MLflow: one version per run key, aliases moved under the model's lease, and the champions' history."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from evermodel.core.errors import LeaseLostError, PromotionError, RegistryConflictError
from evermodel.core.formats import stamped
from evermodel.core.settings import database_of
from evermodel.registry import registry_entry
from evermodel.registry.audit import audit
from evermodel.registry.registry_entry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Promotion,
    PromotionRecord,
    RegistryEntry,
    no_champion,
    record_text,
)
from evermodel.registry.tags import OWNER, PROMOTION, RUN_KEY, TRAFFIC_PLAN
from evermodel.registry.tracking import ignoring, may_pass, paged
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.core.database.lease import Lease
    from evermodel.registry.client import MlflowClient, ModelVersion
    from evermodel.registry.held_model import HeldModel
    from evermodel.registry.traffic_plan import TrafficPlan

AUTOMATIC = "evermodel"  # the actor of automatic changes
_LOG = logging.getLogger(__name__)
_KEPT_FOR = timedelta(days=400)  # the audit of a year reads them
_FORGOTTEN_AT_ONCE = 10
# What registries answer that search by name alone.
_NO_TAG_SEARCH = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND"}
# MLflow's answers that a repetition does not change.
_REFUSALS = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}


@dataclass(frozen=True)
class ModelRegistry:
    """The registered models of one MLflow server.

    Parameters
    ----------
    environment
        The environment that changes are made for; the process's own if not given.
    """

    client: MlflowClient
    environment: str | None = None

    def read(self, model: str) -> RegistryEntry:
        """Read a model with its aliases, tags and promotions, with one request; empty if there is no such model."""
        return RegistryEntry.read(self.client, model)

    @contextmanager
    def holding(self, model: str) -> Iterator[HeldModel]:
        """Hold a model's lease for the time of a block, and read the model with one request.

        What another process began and did not finish is completed first, or given up if it can no longer take place.

        Raises
        ------
        LeaseHeldError
            Another process changes the model, and does not end within minutes.
        LeaseLostError
            This process was stopped for so long that another one took the lease over; what it had begun is completed.
        """
        from evermodel.core.database.lease import leased
        from evermodel.core.database.schema import open_database
        from evermodel.registry.held_model import HeldModel

        database, name = open_database(database_of(self.environment)), f"model/{model}"
        try:
            with leased(database, name) as lease:
                held = HeldModel(lease, self.read(model))
                begun = held.begun()
                if begun is not None:
                    done = self._completed(held, begun)
                    held = HeldModel(lease, self.read(model), done)
                yield held
        except LeaseLostError:
            with leased(database, name) as lease:
                self._undo_late_moves(HeldModel(lease, self.read(model)))
            raise

    def champion(self, model: str) -> ModelVersion:
        """Return the champion; raises `NoChampionError` if the model has none yet."""
        version = self.at_alias(model, CHAMPION)
        if version is None:
            raise no_champion(model)
        return version

    def at_alias(self, model: str, alias: str) -> ModelVersion | None:
        """Return the version an alias points to, or None when model or alias does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            # MLflow's logins may not ask for an alias of a model that does not exist; whether it does, they may.
            if error.error_code == "PERMISSION_DENIED" and not self.read(model).born:
                return None
            raise

    def version(self, model: str, version: str) -> ModelVersion:
        """Return a registered version; raises `PromotionError` if it does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(model, version)
        except MlflowException as error:
            if may_pass(error):
                raise
            known = sorted(int(v.version) for v in self.client.search_model_versions(f"name = '{model}'"))
            raise PromotionError(
                f"model {model} has no version {version}",
                f"its versions are {', '.join(map(str, known))}"
                if known
                else "it has no version; run a retrain",
            ) from None

    def versions(self, model: str, run_key: str) -> list[ModelVersion]:
        """Return the versions registered under a run key, oldest first."""
        from mlflow.exceptions import MlflowException

        try:
            found = list(
                self.client.search_model_versions(f"name = '{model}' and tags.`{RUN_KEY}` = '{run_key}'")
            )
        except MlflowException as error:
            if error.error_code not in _NO_TAG_SEARCH:
                raise
            found = [version for version in self._all_versions(model) if version.tags.get(RUN_KEY) == run_key]
        return sorted(found, key=lambda version: int(version.version))

    def _all_versions(self, model: str) -> Iterator[ModelVersion]:
        """Read each version by itself, in a registry that cannot search by tag and leaves tags out of its lists."""
        for version in paged(self.client.search_model_versions, f"name = '{model}'"):
            yield self.client.get_model_version(model, str(version.version))

    def write_json(self, model: str, tag: str, value: Any) -> None:
        """Write a JSON tag of a registered model."""
        self.client.set_registered_model_tag(model, tag, json.dumps(value, sort_keys=True))

    def write_plan(self, plan: TrafficPlan, *, after: TrafficPlan | None, by: str = "") -> TrafficPlan:
        """Write a traffic plan, if the plan in the registry has not changed since it was read.

        Parameters
        ----------
        after
            The plan that was read before; None if there was none.
        by
            Who changes it, for the audit log; the person who started the rollout if not given.

        Raises
        ------
        RegistryConflictError
            Another process has changed the plan.
        """
        with self.holding(plan.model) as held:
            stored = held.entry.plan
            if stored == plan:
                return plan
            if stored != after:
                revision = stored.revision if stored else 0
                raise RegistryConflictError(
                    f"model {plan.model}: another process has changed the traffic plan (revision {revision})",
                    "check it with evermodel status, and try again",
                )
            self._write_plan(held, plan, by or plan.by)
        return plan

    def _write_plan(self, held: HeldModel, plan: TrafficPlan, by: str) -> None:
        audit(
            self.client,
            "traffic",
            plan.model,
            held.entry.tags,
            strategy=plan.strategy,
            state=plan.state,
            revision=plan.revision,
            shares=",".join(f"{arm.version}:{arm.share:g}" for arm in plan.arms),
            by=by,
            reason=plan.verdict or plan.reason,
        )
        held.lease.keep()
        self.write_json(plan.model, TRAFFIC_PLAN, stamped(plan.to_json()))

    def register(
        self,
        model: str,
        run_key: str,
        *,
        source: str,
        run_id: str,
        tags: Mapping[str, str],
        description: str = "",
    ) -> ModelVersion:
        """Register a logged model once per run key, as the challenger.

        A step that is interrupted and runs again finds its version. If two processes register at
        once, the lower version stays and the other is deleted.

        Parameters
        ----------
        source
            URI of the logged model.
        """
        seen = self.read(model)
        if not seen.born:
            with ignoring("RESOURCE_ALREADY_EXISTS"):
                self.client.create_registered_model(model)
        seen.require_own(self.environment)
        owner = self.environment or os.environ.get("EVERMODEL_ENVIRONMENT", "").strip()
        if OWNER not in seen.tags and owner:
            self.client.set_registered_model_tag(model, OWNER, owner)
        existing = self.versions(model, run_key)
        if not existing:
            model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
            if model_id and not self.client.tracking_uri.startswith("http"):
                # Without a server MLflow would search the process's own registry.
                source = self.client.get_logged_model(model_id).artifact_location
            self.client.create_model_version(
                model,
                source,
                run_id,
                tags={RUN_KEY: run_key, **tags},
                description=description,
                model_id=model_id,
            )
            existing = self.versions(model, run_key)
        version, *twins = existing
        for twin in twins:
            with ignoring("RESOURCE_DOES_NOT_EXIST"):  # another process may have created it
                self.client.delete_model_version(model, twin.version)
        if str(version.version) not in {promotion.version for promotion in seen.promotions}:
            self._point(model, CHALLENGER, str(version.version))
        return self.client.get_model_version(model, version.version)

    def promote(
        self,
        held: HeldModel,
        version: str,
        *,
        expected: str | None,
        by: str,
        reason: str,
        run_key: str,
        at: datetime | None = None,
        kind: Literal["promotion", "rollback"] = "promotion",
    ) -> Promotion:
        """Make a version the champion, if the champion is still the one it was compared with.

        At most four requests and the three of a line of the audit log: the record (a tag that names both versions), the line,
        ``champion``, ``challenger`` if the version bears it, and ``previous``, or the record's mark where that need not move;
        see `RegistryEntry`. The database knows what was begun before the first of them, so that whoever takes the lease
        next writes what is missing after a crash.

        Parameters
        ----------
        held
            The model; see `holding`.
        expected
            The champion's version when the decision was made; None for a cold start.
        at
            When it happens; moved behind the last record's time if it is not later.

        Raises
        ------
        RegistryConflictError
            The champion has changed since the evaluation.
        WrongEnvironmentError
            The model belongs to another environment.
        """
        seen = held.entry
        seen.require_own(self.environment)
        done = seen.completed(run_key)
        if done is not None:
            return done  # what was promoted since then stays
        record = seen.unfinished(run_key)  # begun by an earlier release, or with another database
        if record is None:
            _require_champion(seen, expected, version)
            promotion = Promotion(version, expected, _stamp(at, seen), by, reason, run_key, kind)
            last = seen.promotions[-1].run_key if seen.promotions else None
            record = PromotionRecord(
                promotion, after=last, by_alias=expected is not None and expected != seen.previous
            )
        held.begin(record)
        self._carry_out(held, record)
        held.finish()
        self._forget(held)
        return record.promotion

    def _forget(self, held: HeldModel) -> None:
        """Delete the tags of old records, some at a time: every answer about the model has them all; the audit log stays."""
        from mlflow.exceptions import MlflowException

        records = held.entry.records[: -registry_entry.KEPT_RECORDS]
        old = [r for r in records if _age(r, held.entry.records[-1]) > _KEPT_FOR]
        for record in old[:_FORGOTTEN_AT_ONCE]:
            held.lease.keep()
            try:
                self.client.delete_registered_model_tag(held.entry.name, _tag_of(record))
            except MlflowException as error:  # the promotion took place
                _LOG.warning(
                    "model %s: an old line of its history is not deleted: %s", held.entry.name, error
                )
                return

    def _carry_out(self, held: HeldModel, record: PromotionRecord) -> None:
        """Write what is missing of a promotion, in its order."""
        seen, promotion = held.entry, record.promotion
        if seen.unfinished(promotion.run_key) is None:
            self._write_record(held.lease, seen.name, record)
            if foreign := seen.foreign_alias:
                audit(
                    self.client,
                    "foreign alias",
                    seen.name,
                    seen.tags,
                    found=foreign,
                    run_key=promotion.run_key,
                )
        facts = {name: value for name, value in asdict(promotion).items() if name not in ("at", "kind")}
        audit(self.client, promotion.kind, seen.name, seen.tags, **facts)
        self._move_aliases(held, record)

    def _completed(self, held: HeldModel, record: PromotionRecord) -> Promotion | None:
        """Complete what another process began; None if that can no longer take place."""
        from mlflow.exceptions import MlflowException

        seen, promotion = held.entry, record.promotion
        said = f"the {promotion.kind} of version {promotion.version} by {promotion.by} ({promotion.run_key})"
        if seen.completed(promotion.run_key) is None:
            if seen.champion not in (promotion.previous, promotion.version):
                _LOG.warning(
                    "model %s: %s was interrupted, and is given up: the champion is version %s",
                    seen.name, said, seen.champion,
                )  # fmt: skip
                held.finish()
                return None
            try:
                self._carry_out(held, record)
            except MlflowException as error:
                if error.error_code not in _REFUSALS or seen.champion == promotion.version:
                    raise
                _LOG.warning("model %s: %s was interrupted, and is given up: %s", seen.name, said, error)
                held.finish()
                return None
            _LOG.warning("model %s: %s was interrupted, and is completed now", seen.name, said)
        held.finish()
        return promotion

    def _undo_late_moves(self, held: HeldModel) -> None:
        """Move the aliases back to where the last promotion left them, after this process may have moved them too late."""
        begun, last = held.begun(), held.begun(finished=True)
        if begun is not None:
            self._completed(held, begun)
        elif last is not None:
            for alias, version in ((CHAMPION, last.promotion.version), (PREVIOUS, last.promotion.previous)):
                if version is not None and held.entry.aliases.get(alias) != version:
                    held.lease.keep()
                    self._point(held.entry.name, alias, version)

    def _move_aliases(self, held: HeldModel, record: PromotionRecord) -> None:
        from mlflow.exceptions import MlflowException

        lease, seen, promotion = held.lease, held.entry, record.promotion
        if seen.champion != promotion.version:
            lease.keep()
            self._point(seen.name, CHAMPION, promotion.version)
        if seen.challenger == promotion.version:
            lease.keep()
            self.client.delete_registered_model_alias(seen.name, CHALLENGER)
        if promotion.previous and promotion.previous != seen.previous:
            lease.keep()
            try:
                self._point(seen.name, PREVIOUS, promotion.previous)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                record = replace(record, by_alias=False)  # deleted meanwhile
        if not record.by_alias:
            self._write_record(lease, seen.name, replace(record, complete=True))

    def _write_record(self, lease: Lease, model: str, record: PromotionRecord) -> None:
        lease.keep()
        self.client.set_registered_model_tag(model, _tag_of(record), record_text(record))

    def _point(self, model: str, alias: str, version: str) -> None:
        """Point an alias to a version; two processes that create the same alias at once collide in MLflow's database."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.set_registered_model_alias(model, alias, version)
        except MlflowException:
            found = self.at_alias(model, alias)
            if found is None or str(found.version) != version:
                self.client.set_registered_model_alias(model, alias, version)


def _tag_of(record: PromotionRecord) -> str:
    # A run key may be longer than a tag name and contain characters that MLflow refuses.
    return PROMOTION + hashlib.sha256(record.promotion.run_key.encode()).hexdigest()[:16]


def _age(record: PromotionRecord, newest: PromotionRecord) -> timedelta:
    return parse_moment(newest.promotion.at) - parse_moment(record.promotion.at)


def _require_champion(seen: RegistryEntry, expected: str | None, version: str) -> None:
    """Raise `RegistryConflictError` unless the champion is the expected one, or the version by a move outside evermodel."""
    by_hand = seen.champion == version and (not seen.promotions or seen.promotions[-1].version != version)
    if seen.champion != expected and not by_hand:
        raise RegistryConflictError(
            f"model {seen.name}: the champion is version {seen.champion}, but version {version} was evaluated "
            f"against {expected or 'no champion'}",
            "run the retrain DAG again to compare the challenger with the current champion",
        )


def _stamp(at: datetime | None, seen: RegistryEntry) -> str:
    """Return a moment that is later than every record's."""
    moments = [parse_moment(at or datetime.now(UTC))]
    moments += [parse_moment(r.promotion.at) + timedelta(milliseconds=1) for r in seen.records[-1:]]
    return max(moments).isoformat(timespec="milliseconds")
