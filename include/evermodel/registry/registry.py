"""The registry in MLflow: one version per run key, aliases moved by compare-and-set, and the champions' history."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from evermodel.core.errors import PromotionError, RegistryConflictError
from evermodel.core.formats import stamped
from evermodel.registry.audit import audit
from evermodel.registry.registry_entry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Promotion,
    PromotionRecord,
    RegistryEntry,
    no_champion,
)
from evermodel.registry.tags import OWNER, PROMOTION, RUN_KEY, TRAFFIC_PLAN
from evermodel.registry.tracking import ignoring
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion
    from evermodel.registry.traffic_plan import TrafficPlan

AUTOMATIC = "evermodel"  # the actor of automatic changes


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
        except MlflowException:
            known = sorted(int(v.version) for v in self.client.search_model_versions(f"name = '{model}'"))
            raise PromotionError(
                f"model {model} has no version {version}",
                f"its versions are {', '.join(map(str, known))}"
                if known
                else "it has no version; run a retrain",
            ) from None

    def versions(self, model: str, run_key: str) -> list[ModelVersion]:
        """Return the versions registered under a run key, oldest first."""
        found = self.client.search_model_versions(f"name = '{model}' and tags.`{RUN_KEY}` = '{run_key}'")
        return sorted(found, key=lambda version: int(version.version))

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
        seen = self.read(plan.model)
        stored = seen.plan
        if stored == plan:
            return plan
        if stored != after:
            revision = stored.revision if stored else 0
            raise RegistryConflictError(
                f"model {plan.model}: another process has changed the traffic plan (revision {revision})",
                "check it with evermodel status, and try again",
            )
        audit(
            self.client,
            "traffic",
            plan.model,
            seen.tags,
            strategy=plan.strategy,
            state=plan.state,
            revision=plan.revision,
            shares=",".join(f"{arm.version}:{arm.share:g}" for arm in plan.arms),
            by=by or plan.by,
            reason=plan.verdict or plan.reason,
        )
        self.write_json(plan.model, TRAFFIC_PLAN, stamped(plan.to_json()))
        return plan

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
        seen: RegistryEntry,
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

        At most four requests and the three of a line of the audit log, whose order makes a crash at any point safe: the record (a
        tag that names both versions), the line, ``champion``, ``challenger`` if the version bears it, and ``previous``, or the record's mark where
        that need not move. Doing it again writes what is missing; see `RegistryEntry`.

        Parameters
        ----------
        seen
            The model, read just now: what is compared before anything is set.
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
        model = seen.name
        seen.require_own(self.environment)
        done = seen.completed(run_key)
        if done is not None:
            return done  # what was promoted since then stays
        record = seen.unfinished(run_key)
        if record is None:
            if seen.champion not in (expected, version):
                raise RegistryConflictError(
                    f"model {model}: the champion is version {seen.champion}, but version {version} was evaluated "
                    f"against {expected or 'no champion'}",
                    "run the retrain DAG again to compare the challenger with the current champion",
                )
            promotion = Promotion(version, expected, _stamp(at, seen), by, reason, run_key, kind)
            last = seen.promotions[-1].run_key if seen.promotions else None
            record = PromotionRecord(
                promotion, after=last, by_alias=expected is not None and expected != seen.previous
            )
            self._write_record(model, record)
            if foreign := seen.foreign_alias:
                audit(self.client, "foreign alias", model, seen.tags, found=foreign, run_key=run_key)
        done = record.promotion
        facts = {name: value for name, value in asdict(done).items() if name not in ("at", "kind")}
        audit(self.client, done.kind, model, seen.tags, **facts)
        self._move_aliases(seen, record)
        return done

    def _move_aliases(self, seen: RegistryEntry, record: PromotionRecord) -> None:
        from mlflow.exceptions import MlflowException

        model, promotion = seen.name, record.promotion
        if seen.champion != promotion.version:
            self._point(model, CHAMPION, promotion.version)
        if seen.challenger == promotion.version:
            self.client.delete_registered_model_alias(model, CHALLENGER)
        if promotion.previous and promotion.previous != seen.previous:
            try:
                self._point(model, PREVIOUS, promotion.previous)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                record = replace(record, by_alias=False)  # deleted meanwhile
        if not record.by_alias:
            self._write_record(model, replace(record, complete=True))

    def _write_record(self, model: str, record: PromotionRecord) -> None:
        # A run key may be longer than a tag name and contain characters that MLflow refuses.
        digest = hashlib.sha256(record.promotion.run_key.encode()).hexdigest()[:16]
        self.client.set_registered_model_tag(model, PROMOTION + digest, json.dumps(stamped(asdict(record))))

    def _point(self, model: str, alias: str, version: str) -> None:
        """Point an alias to a version; two processes that create the same alias at once collide in MLflow's database."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.set_registered_model_alias(model, alias, version)
        except MlflowException:
            found = self.at_alias(model, alias)
            if found is None or str(found.version) != version:
                self.client.set_registered_model_alias(model, alias, version)


def _stamp(at: datetime | None, seen: RegistryEntry) -> str:
    """Return a moment that is later than every record's."""
    moments = [parse_moment(at or datetime.now(UTC))]
    moments += [parse_moment(r.promotion.at) + timedelta(milliseconds=1) for r in seen.records[-1:]]
    return max(moments).isoformat(timespec="milliseconds")
