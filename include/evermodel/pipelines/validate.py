"""The step of a retrain that validates: find schema and last good run, store report and clean snapshot."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evermodel.core.paths import inside
from evermodel.core.storage import path_in
from evermodel.data.snapshots.dvc import pointer_text
from evermodel.data.snapshots.store import snapshot_store
from evermodel.data.validation.infer import infer_schema
from evermodel.data.validation.point_in_time import leak_checks
from evermodel.data.validation.profile import SnapshotProfile
from evermodel.data.validation.quarantine import clean_snapshot, quarantine
from evermodel.data.validation.report import ValidationReport
from evermodel.data.validation.schema_file import TableSchema, find_schema, read_schema, store_schema, to_yaml
from evermodel.data.validation.validator import Validation, validate
from evermodel.registry import tags as tag
from evermodel.registry.tracking import artifact_url, experiment_id, log_json, may_pass, read_json
from evermodel.reports.validation_page import validation_page

if TYPE_CHECKING:
    from pathlib import Path

    from evermodel.data.snapshots.bucket import BucketSnapshots
    from evermodel.data.snapshots.dvc import SnapshotStore
    from evermodel.data.snapshots.snapshot import Snapshot
    from evermodel.registry.client import Run
    from evermodel.registry.retrain_run import RetrainRun
    from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__name__)
REPORT_FILE = "validation.json"
PAGE_FILE = "validation.html"
PROFILE_FILE = "validation_profile.json"
SCHEMA_FILE = "schema.yaml"
_LOOKED_AT = 100


@dataclass(frozen=True)
class Validated:
    """The report, and the snapshot for the next steps: the extracted one, or the one without quarantined rows."""

    report: ValidationReport
    snapshot: Snapshot


@dataclass(frozen=True)
class LastGoodRun:
    """The last run of a model whose data was good."""

    name: str
    profile: SnapshotProfile


def validate_snapshot(retrain: RetrainRun, snapshot: Snapshot) -> Validated:
    """Validate the snapshot of a retrain, and store the report in MLflow in every case.

    The first snapshot that passes writes the schema file, if there is none. Rows that break a check of severity
    ``quarantine`` go to ``quarantine/<model>/`` in the lake, and the other rows become the snapshot of this run;
    if a fatal check failed, they are kept there for inspection.

    Raises
    ------
    ValidationError
        A check of severity ``fail`` failed, or too many rows would be quarantined, of all or of the newest.
    SpecError
        The schema file cannot be used.
    """
    spec, settings = retrain.spec, retrain.settings
    retrain.require({tag.SNAPSHOT_EXTRACTED: str(snapshot)})
    store = snapshot_store(settings)
    place = find_schema(spec.name, settings)
    schema = None if place is None else read_schema(place)
    good = last_good(retrain)
    aside = inside(settings.lake / "quarantine" / spec.name, f"{snapshot.digest}.parquet")
    with store.local(snapshot.path) as file:
        found = validate(spec, file, schema, None if good is None else good.profile, snapshot.window)
        leaks = tuple(c for c in leak_checks(spec, file, snapshot.digest) if c.severity != "off")
        found = replace(found, report=replace(found.report, checks=(*found.report.checks, *leaks)))
        if found.report.set_aside:
            held_back = quarantine(file, found.rules, aside)
            _LOG.warning("%d rows are quarantined in %s", held_back, aside)
        kept, found = _cleaned(spec, snapshot, file, found, store)
    if place is None and spec.validation.infer_schema and not found.report.failures:
        schema = infer_schema(spec, found.profile, snapshot.window)
        place = store_schema(schema, spec.name, f"snapshot {kept.digest}", settings)
    report = replace(
        found.report, schema="" if place is None else str(place), against="" if good is None else good.name
    )
    run = retrain.mlflow_run(
        {
            tag.SNAPSHOT: kept.path,
            tag.SNAPSHOT_MD5: kept.md5,
            tag.QUARANTINE: path_in(settings.lake, aside) if found.report.set_aside else "",
            tag.VALIDATION: report.verdict,
        }
    )
    _keep(retrain, run, replace(found, report=report), schema, good)
    if not report.failures:
        name = kept.path.rpartition("/")[2]
        retrain.client.log_text(run.info.run_id, pointer_text(name, kept.md5), f"{name}.dvc")
    report.require(artifact_url(settings.tracking_uri, run, PAGE_FILE))
    return Validated(report, kept)


def _cleaned(
    spec: ModelSpec,
    snapshot: Snapshot,
    file: Path,
    found: Validation,
    store: SnapshotStore | BucketSnapshots,
) -> tuple[Snapshot, Validation]:
    """Make the snapshot without quarantined rows, if there are any and no check failed."""
    if found.report.failures or not found.report.set_aside:
        return snapshot, found
    clean, rows = clean_snapshot(file, found.rules, (spec.time_column, spec.id_column))
    path = f"{snapshot.path.rpartition('/')[0]}/{clean.name}"
    kept = replace(snapshot, path=path, digest=clean.stem, md5=store.track(clean), rows=rows)
    # The next snapshot is compared with the cleaned snapshot, not with bad rows.
    return kept, replace(found, profile=validate(spec, clean, window=snapshot.window).profile)


def last_good(retrain: RetrainRun) -> LastGoodRun | None:
    """Return the newest other run as of the same or an earlier day whose snapshot did not fail, in numbers."""
    from mlflow.exceptions import MlflowException

    runs = retrain.client.search_runs(
        [experiment_id(retrain.client, retrain.spec.name)],
        filter_string=f"tags.`{tag.KIND}` = 'retrain' and tags.`{tag.VALIDATION}` != 'failed'",
        order_by=["attributes.start_time DESC"],
        max_results=_LOOKED_AT,
    )
    now = retrain.as_of.isoformat()
    earlier = [
        run
        for run in runs
        if run.data.tags.get(tag.RUN_KEY) != retrain.run_key and run.data.tags.get(tag.AS_OF, "~") <= now
    ]
    for run in sorted(earlier, key=lambda run: run.data.tags[tag.AS_OF], reverse=True):
        try:
            data = read_json(retrain.client, run.info.run_id, PROFILE_FILE)
        except (MlflowException, OSError) as error:
            if may_pass(error):
                raise
            continue  # it has none yet, or it was made by a release that kept none
        return LastGoodRun(f"{run.info.run_name} ({run.info.run_id})", SnapshotProfile.from_json(data))
    return None


def _keep(
    retrain: RetrainRun, run: Run, found: Validation, schema: TableSchema | None, good: LastGoodRun | None
) -> None:
    client, run_id, report = retrain.client, run.info.run_id, found.report
    log_json(client, run_id, report.to_json(), REPORT_FILE)
    before = None if good is None else good.profile
    page = validation_page(retrain.spec, report, found.profile, before, retrain.run_key)
    client.log_text(run_id, page, PAGE_FILE)
    if schema is not None:
        client.log_text(run_id, to_yaml(schema), SCHEMA_FILE)
    if not report.failures:
        log_json(client, run_id, found.profile.to_json(), PROFILE_FILE)
