"""The registry: one version per run key, aliases moved by compare-and-set, and the history of what served."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from evermodel.core.audit import audit
from evermodel.core.errors import NoChampionError, RegistryConflictError
from evermodel.core.formats import loads, stamped
from evermodel.registry.ownership import own, require_own
from evermodel.registry.tags import OWNER, PROMOTION, RUN_KEY

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
AUTOMATIC = "evermodel"  # who did what no person asked for


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


def alias_version(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """Return the version an alias points to, or None when model or alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def champion(client: MlflowClient, model: str) -> ModelVersion:
    """Return the version that serves.

    Raises
    ------
    NoChampionError
        The model has no champion yet.
    """
    version = alias_version(client, model, CHAMPION)
    if version is None:
        raise NoChampionError(
            f"model {model} has no champion yet",
            f"run the DAG retrain_{model} once, or evermodel train {model}; its first version starts cold",
        )
    return version


def versions_of(client: MlflowClient, model: str, run_key: str) -> list[ModelVersion]:
    """Return the versions registered under a run key, oldest first."""
    found = client.search_model_versions(f"name = '{model}' and tags.`{RUN_KEY}` = '{run_key}'")
    return sorted(found, key=lambda version: int(version.version))


def register(
    client: MlflowClient,
    model: str,
    run_key: str,
    *,
    source: str,
    run_id: str,
    tags: Mapping[str, str],
    description: str = "",
) -> ModelVersion:
    """Register a logged model once per run key and call it the challenger.

    A step that was killed half way and runs again finds the version it had made. Should two processes get here at
    once, the lower version stays and the other is deleted.

    Parameters
    ----------
    source
        URI of the logged model.
    run_id
        MLflow run that trained it.
    tags
        Lineage of the version: snapshot, code, spec, decision.
    """
    _ensure_model(client, model)
    tags_of_model = _model_tags(client, model)
    require_own(model, tags_of_model)
    if OWNER not in tags_of_model:
        own(client, model)
    existing = versions_of(client, model, run_key)
    if not existing:
        client.create_model_version(
            model,
            source,
            run_id,
            tags={RUN_KEY: run_key, **tags},
            description=description,
            model_id=source.removeprefix("models:/") if source.startswith("models:/m-") else None,
        )
        existing = versions_of(client, model, run_key)
    version, *twins = existing
    for twin in twins:
        _delete_version(client, model, twin.version)
    served = {promotion.version for promotion in history(client, model)}
    if str(version.version) not in served:
        _set_alias(client, model, CHALLENGER, str(version.version))
    return client.get_model_version(model, version.version)


def promote(
    client: MlflowClient,
    model: str,
    version: str,
    *,
    expected: str | None,
    by: str,
    reason: str,
    run_key: str,
    at: datetime | None = None,
    kind: Literal["promotion", "rollback"] = "promotion",
) -> Promotion:
    """Make a version the champion, if the champion is still the one it was judged against.

    The order of the writes makes a crash at any point safe: first the intent (a tag of the model that names both
    versions), then ``champion``, then ``previous``; doing it again completes what is missing.

    Parameters
    ----------
    version
        The version to promote.
    expected
        The champion's version when the decision was made; None for a cold start.

    Raises
    ------
    RegistryConflictError
        Somebody else changed the champion since.
    WrongEnvironmentError
        The model belongs to another environment.
    """
    tags = _model_tags(client, model)
    require_own(model, tags)
    done, complete = _find_promotion(tags, run_key)
    if done is not None and complete:
        return done  # what was promoted since then stays
    current = alias_version(client, model, CHAMPION)
    current_version = None if current is None else str(current.version)
    if done is None or current_version not in (done.previous, done.version):
        if current_version not in (expected, version):
            raise RegistryConflictError(
                f"model {model}: the champion is version {current_version}, but version {version} was judged "
                f"against {expected or 'no champion'}",
                "run the retrain DAG again, so that the challenger is judged against today's champion",
            )
        stamp = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
        done = Promotion(version, expected, stamp, by, reason, run_key, kind)
        _write_promotion(client, model, done, complete=False)
    _point_aliases(client, model, done)
    _write_promotion(client, model, done, complete=True)
    audit(
        done.kind,
        model,
        version=done.version,
        previous=done.previous,
        by=done.by,
        reason=done.reason,
        run_key=run_key,
    )
    return done


def promotion_recorded(client: MlflowClient, model: str, run_key: str) -> bool:
    """Tell whether a promotion under a run key was begun, completed or not."""
    return _find_promotion(_model_tags(client, model), run_key)[0] is not None


def history(client: MlflowClient, model: str) -> list[Promotion]:
    """Return every completed promotion of a model, oldest first."""
    return history_of(_model_tags(client, model))


def history_of(tags: Mapping[str, str]) -> list[Promotion]:
    """Return every completed promotion among the tags of a registered model, oldest first."""
    promotions = [promotion for promotion, complete in _records_of(tags) if complete]
    return sorted(promotions, key=lambda promotion: promotion.at)


def model_tag(client: MlflowClient, model: str, key: str) -> Any:
    """Read a JSON tag of a registered model; None when model or tag does not exist."""
    value = _model_tags(client, model).get(key)
    return None if value is None else json.loads(value)


def set_model_tag(client: MlflowClient, model: str, key: str, value: Any) -> None:
    """Write a JSON tag of a registered model."""
    client.set_registered_model_tag(model, key, json.dumps(value, sort_keys=True))


def _ensure_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _set_alias(client: MlflowClient, model: str, alias: str, version: str) -> None:
    """Point an alias to a version; two processes that make the same alias at once collide in MLflow's database."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(model, alias, version)
    except MlflowException:
        found = alias_version(client, model, alias)
        if found is None or str(found.version) != version:
            client.set_registered_model_alias(model, alias, version)


def _delete_version(client: MlflowClient, model: str, version: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_model_version(model, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the other process may have been quicker
            raise


def _tag_of(run_key: str) -> str:
    # A run key may be longer than a tag's name and hold signs that MLflow refuses there.
    return PROMOTION + hashlib.sha256(run_key.encode()).hexdigest()[:16]


def _model_tags(client: MlflowClient, model: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(model).tags)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _records_of(tags: Mapping[str, str]) -> list[tuple[Promotion, bool]]:
    values = [loads(value, f"tag {key}") for key, value in tags.items() if key.startswith(PROMOTION)]
    return [(Promotion(**value["promotion"]), value["complete"]) for value in values]


def _find_promotion(tags: Mapping[str, str], run_key: str) -> tuple[Promotion | None, bool]:
    records = _records_of(tags)
    return next((record for record in records if record[0].run_key == run_key), (None, False))


def _write_promotion(client: MlflowClient, model: str, promotion: Promotion, *, complete: bool) -> None:
    value = stamped({"promotion": asdict(promotion), "complete": complete})
    client.set_registered_model_tag(model, _tag_of(promotion.run_key), json.dumps(value))


def _point_aliases(client: MlflowClient, model: str, promotion: Promotion) -> None:
    _set_alias(client, model, CHAMPION, promotion.version)
    if promotion.previous is not None:
        _set_alias(client, model, PREVIOUS, promotion.previous)
    challenger = alias_version(client, model, CHALLENGER)
    if challenger is not None and str(challenger.version) == promotion.version:
        client.delete_registered_model_alias(model, CHALLENGER)
