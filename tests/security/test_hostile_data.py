"""Tables, logs and folders of others are data: no name in them becomes SQL, a field of a spec, or a path."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from traceback import format_exception

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from evermodel.alerts.cloud_events import send_events
from evermodel.cli.scaffold import Named, draft_spec
from evermodel.cli.scaffold.table import Origin
from evermodel.cli.scaffold.watch import draft_watch
from evermodel.core.errors import EvermodelError, PermanentError, SourceError, UnsafePathError
from evermodel.data.captures import sagemaker_capture
from evermodel.data.day_table import DayTable
from evermodel.data.foreign_log import collect
from evermodel.data.snapshots.dvc import pointer_md5
from evermodel.data.sources import arrival
from evermodel.data.table_file import TableFile
from evermodel.pipelines.migrate import Migration
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.small_model import settings_in

START = datetime(2026, 1, 5, tzinfo=UTC)
RUN = "source: {kind: python, function: 'os:system'}"
BREAKS = ["\n", "\x85", "\u2028"]  # what ends a line in YAML


def rows(count: int = 400, **columns: list[object]) -> pa.Table:
    base = {
        "id": [str(n) for n in range(count)],
        "at": [START + timedelta(minutes=90 * n) for n in range(count)],
        "amount": [float(n * 7 % 13) for n in range(count)],
        "late": [n % 2 for n in range(count)],
    }
    return pa.table({**base, **columns})


def watched(path: str, feature: str) -> ModelSpec:
    return ModelSpec.model_validate({
        "name": "m", "task": "binary", "source": {"path": path}, "time_column": "at", "id_column": "id",
        "features": {"numeric": [feature]}, "watch": {"prediction": "amount", "reference": {"start": "2026-01-05", "end": "2026-01-08"}},
    })  # fmt: skip


@pytest.fixture
def hostile_names() -> dict[str, list[object]]:
    """Columns that no feature can be: one constant, one of many texts, one that says what the label says."""
    found: dict[str, list[object]] = {}
    for number, end in enumerate(BREAKS):
        found[f"a{number}{end}{RUN}"] = ["same"] * 400
    found[f"b{end}{RUN}"] = [f"text {n}{end}{RUN}" for n in range(400)]
    found[f"c{end}{RUN}"] = [n % 2 for n in range(400)]
    return found


def test_a_name_of_the_data_becomes_no_field_of_a_drafted_spec(
    tmp_path: Path, hostile_names: dict[str, list[object]]
) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(rows(**hostile_names), file)
    named = Named("late", "at", "id")
    draft = draft_spec(Origin(str(file)), named, model="m", today=START)
    roles = dict.fromkeys(("prediction", "label", "time", "id", "version"))
    log = draft_watch(Origin(str(file)), "m", {**roles, "prediction": "amount", "time": "at", "id": "id"})
    for text in (draft.text, log):
        assert yaml.safe_load(text)["source"]["kind"] == "files"
        assert text.count("os:system") >= len(BREAKS), "the names are told"


def test_a_name_of_a_column_becomes_no_sql(tmp_path: Path) -> None:
    evil = f"""x")), (SELECT 1)) FROM day; COPY (SELECT 1) TO '{tmp_path}/ran'; SELECT (hash(("id"""
    file = tmp_path / "t.parquet"
    pq.write_table(rows(**{evil: [1.0] * 400}), file)
    spec = watched(str(file), evil)
    changed = collect(spec, tmp_path / "lake", START, START + timedelta(days=2))
    assert changed == [date(2026, 1, 5), date(2026, 1, 6)]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["../../../out", "a/../../../../out", "a\\..\\b"])
def test_a_partition_value_of_a_table_leads_nowhere_else(tmp_path: Path, source: str) -> None:
    with pytest.raises(UnsafePathError):
        TableFile.new(tmp_path / "lake", START.date(), source)


@pytest.mark.parametrize("path", ["../other/a.parquet", "/etc/passwd", "date=2026-01-05/../../x.parquet"])
def test_an_announced_file_outside_of_its_table_is_put_aside(tmp_path: Path, path: str) -> None:
    table = DayTable(tmp_path / "lake" / "predictions" / "m")
    file = TableFile.new(table.root, START.date(), "serving")
    file.path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"prediction_id": ["1"]}), file.path)
    table.announce(file.entry(table.root), {"prediction_id": "string"}, "w", 1)
    good = next((table.root / "_pending").glob("*.json"))
    note = json.loads(good.read_text())
    note["file"]["path"], note["key"] = path, "evil"
    (good.parent / "evil-000000001.json").write_text(json.dumps(note))

    assert [found.path for found in table.files()] == [file.path]
    assert [left.name for left in (table.root / "_pending").iterdir()] == ["evil-000000001.refused"]


def test_a_link_in_a_folder_of_an_earlier_release_is_not_moved(tmp_path: Path) -> None:
    secret, old = tmp_path / "secret", tmp_path / "old" / "profiles" / "m"
    secret.write_text("of this machine")
    old.mkdir(parents=True)
    (old / "day.json").symlink_to(secret)
    migration = Migration(tmp_path / "old", settings_in(tmp_path / "home"))
    for act in (migration.found, migration.run):
        with pytest.raises(UnsafePathError, match=r"day\.json leads out"):
            act()
    assert not list((tmp_path / "home").rglob("day.json"))


@pytest.mark.parametrize("md5", ["../../../../etc/passwd", "ab/../../../x", "", "0" * 31])
def test_a_pointer_names_content_by_its_md5_alone(tmp_path: Path, md5: str) -> None:
    (tmp_path / "a.parquet.dvc").write_text(yaml.safe_dump({"outs": [{"md5": md5, "path": "a.parquet"}]}))
    assert pointer_md5(tmp_path / "a.parquet") is None


def test_a_captured_request_that_is_too_deep_names_its_line(tmp_path: Path) -> None:
    deep = {"data": "[" * 100_000, "encoding": "JSON"}
    about = {"eventId": "1", "inferenceTime": "2026-01-05T00:00:00Z"}
    line = {"captureData": {"endpointInput": deep, "endpointOutput": deep}, "eventMetadata": about}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    with pytest.raises(SourceError, match=r"a\.jsonl, line 1 cannot be read"):
        sagemaker_capture(START, START + timedelta(days=1), path=f"{tmp_path}/a.jsonl", features=["amount"])


class Refuses(BaseHTTPRequestHandler):
    """Answers every event with 400, and its own address in the text."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_address_of_a_webhook_is_in_no_log_and_no_error(
    webhook: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "httpx")
    caplog.set_level(logging.DEBUG, "httpcore")
    monkeypatch.setattr(
        logging.getLogger("httpx"), "disabled", False
    )  # other tests configure Airflow's logging
    address = f"http://ada:k3y1@{webhook}/services/k3y2?code=k3y3"
    with pytest.raises(PermanentError, match="connection hook refuses") as refused:
        send_events(address, [{"id": "e"}], {"X-Key": "k3y4"}, "connection hook")
    assert f"POST http://{webhook}" in caplog.text
    assert "k3y" not in caplog.text + str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "s3", "memory"])
def test_the_query_of_a_source_s_address_is_in_no_error(tmp_path: Path, scheme: str) -> None:
    """Signed addresses of buckets, in the source and in its tables of events."""
    address = f"{scheme}://ada:k3y1@127.0.0.1:9/a.parquet?sig=k3y2"
    spec = watched(address, "age")
    with pytest.raises(EvermodelError) as failed:
        arrival(spec, Window(START, START + timedelta(days=1)))
    assert "127.0.0.1:9/a.parquet" in str(failed.value)
    traceback = "".join(format_exception(failed.value))  # as logs have it
    assert "k3y" not in f"{traceback}{spec.source.told}"
