"""Format numbers: an old form is read, one to come is refused and not misread."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update

from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import serving_reports
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import FORMAT, loads, stamped
from evermodel.data.prediction_log import log_schema, read_log, write_plain_day
from evermodel.data.validation.schema_file import read_schema
from evermodel.evaluation.decision import Decision
from evermodel.modeling.skops_files import MOVED_TYPES, TRUSTED_TYPES
from evermodel.monitoring.retrain_history import Request, requests
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.tags import RETRAIN_REQUEST
from evermodel.registry.traffic_plan import TrafficPlan, split
from support.serving_reports import reports_in
from support.small_model import between, moment, small_spec

NEWER = FORMAT + 2
PLAN = TrafficPlan("small", "canary", "1", "2", split("1", "2", 0.1), "salt", "", "", "test", "test", "key")


def newer(text: str) -> str:
    return json.dumps({**json.loads(text), "format": NEWER})


def test_a_newer_format_is_refused_with_advice() -> None:
    with pytest.raises(NewerFormatError) as caught:
        loads(newer("{}"), "plan.json")
    assert str(caught.value) == (
        f"plan.json was written by a newer release (format {NEWER}; this release reads up to {FORMAT})\n"
        "  What to do: upgrade evermodel"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_plans_and_messages_are_read_with_and_without_a_number() -> None:
    entry = QueuedMessage("post", "open", {"key": "k"})
    for bare in (PLAN.to_json(), stamped(PLAN.to_json())):
        assert TrafficPlan.from_json(bare) == PLAN
    for text in (entry.to_text(), json.dumps(vars(entry))):
        assert QueuedMessage.from_text(text) == entry
    with pytest.raises(NewerFormatError, match="traffic plan of model small"):
        TrafficPlan.from_json(json.loads(newer(json.dumps(PLAN.to_json()))))
    with pytest.raises(NewerFormatError):
        QueuedMessage.from_text(newer(entry.to_text()))


def test_a_number_changes_no_digest_and_no_name() -> None:
    decision = Decision(
        "small", "key", "linear", "models:/m-1", None, "roc_auc", "cold_start", True, False, "said so", 9,
        (0.8, 0.7, 0.9), None, None, (),
    )  # fmt: skip
    assert decision.digest == "8b3caa6934c8a262"
    assert Destination("slack", {"connection": "c", "channel": "#a"}).name == "slack-c-_a-6616df1d"


def test_requests_of_an_earlier_release_count() -> None:
    request = Request("retrain/small/drift-2024-01-02", moment(1).isoformat(), "drift")
    for value in (vars(request), stamped(vars(request))):
        assert requests({f"{RETRAIN_REQUEST}2024-01-02": json.dumps(value)}) == [request]


def test_a_report_of_a_newer_process_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = moment(0).isoformat()
    report = ServingReport("small", "host-1-a", "test", "host", 1, at, at, "1")
    reports = reports_in(tmp_path)
    for pid in (1, 2):
        reports.write(replace(report, instance=f"host-{pid}", pid=pid))
    mine = serving_reports.c.instance == "host-2"
    with open_database(reports.address).writing() as connection:
        text = connection.scalar(select(serving_reports.c.content).where(mine))
        connection.execute(update(serving_reports).where(mine).values(content=newer(str(text))))
    assert [found.pid for found in reports.live("small")] == [1]
    assert "written by a newer release" in caplog.text


def test_a_prediction_log_says_its_format(tmp_path: Path) -> None:
    spec = small_spec(tmp_path / "small.parquet")
    schema = log_schema(spec)
    rows = pa.Table.from_pylist([{"prediction_id": "a", "event_time": moment(0.5)}], schema)
    file = write_plain_day(spec, tmp_path, f"{moment(0):%Y-%m-%d}", rows)
    assert pq.read_metadata(file).metadata[b"evermodel.format"] == str(FORMAT).encode()
    assert read_log(spec, tmp_path, between(0, 1)).equals(rows)

    pq.write_table(rows, file)  # as releases before the number did
    assert read_log(spec, tmp_path, between(0, 1)).equals(rows)
    pq.write_table(rows.replace_schema_metadata({"evermodel.format": str(NEWER)}), file)
    with pytest.raises(NewerFormatError, match=r"batch\.parquet"):
        read_log(spec, tmp_path, between(0, 1))


def test_a_newer_schema_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "small.schema.yaml"
    file.write_text(f"columns: {{a: {{dtype: float64}}}}\nevermodel: {{format: {NEWER}}}\n")
    with pytest.raises(NewerFormatError, match=r"small\.schema\.yaml"):
        read_schema(file)


def test_a_moved_class_is_written_by_its_new_path() -> None:
    for old, module in MOVED_TYPES.items():
        assert f"{module}.{old.rpartition('.')[2]}" in TRUSTED_TYPES
        assert old not in TRUSTED_TYPES
