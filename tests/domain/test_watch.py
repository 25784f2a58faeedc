"""Models that are trained and served elsewhere: the same verdicts as for our own, from a table of predictions alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import SourceError, SpecError
from evermodel.data.foreign_log import collect
from evermodel.data.prediction_log import log_schema, read_log, write_day
from evermodel.monitoring.performance.answers import clusters_in, level
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.problems import Problem
from evermodel.monitoring.verdict import MonitoredChampion, judge_day
from evermodel.monitoring.verdict_history import VerdictHistory
from evermodel.monitoring.watched_model import watched_model
from evermodel.pipelines.drift import incident_handler
from evermodel.reports.overview.overview import Overview
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import Window, parse_moment
from support.foreign_log import ForeignModel, day, foreign_rows
from support.guides import commands, examples
from support.small_spec import small_spec
from support.verdicts import a_verdict

NOT_SERVED = Problem("serving", "none", "the model is served elsewhere", known=False)


@pytest.fixture
def model(tmp_path: Path, database: str) -> ForeignModel:
    return ForeignModel(tmp_path, database)


def of_ours(rows: pa.Table, spec: ModelSpec) -> pa.Table:
    """Return the foreign rows as our own scoring would have logged them."""
    names = {
        "prediction_id": "request",
        "event_time": "asked_at",
        "model_version": "release",
        "score": "probability",
    }
    columns = {n: rows[names.get(n, n)] if names.get(n, n) in rows.column_names else pa.nulls(rows.num_rows)
               for n in log_schema(spec).names}  # fmt: skip
    return pa.table(columns).cast(log_schema(spec))


def test_verdicts_from_a_foreign_log_equal_those_from_our_own_to_the_last_digit(model: ForeignModel) -> None:
    """Ours: a champion whose training rows and held-out answers are those of the reference."""
    rows = pa.concat_tables([foreign_rows(range(52)), foreign_rows(range(52, 60), shift=1.0, concept=0.8)])
    model.write(rows)
    past = rows.filter(pc.less(rows["asked_at"], day(28)))
    ours = small_spec(
        name="ours", source={"path": str(model.log)}, time_column="asked_at", id_column="request",
        label=model.spec_data["label"], **{k: model.spec_data[k] for k in ("drift", "performance", "cluster")},
    )  # fmt: skip
    lake = model.folder / "our-lake"
    for number in range(60):
        of_day = rows.filter(
            pc.and_(
                pc.greater_equal(rows["asked_at"], day(number)), pc.less(rows["asked_at"], day(number + 1))
            )
        )
        write_day(ours, lake, day(number).date(), [of_ours(of_day, ours)])
    held_out = past.rename_columns(
        ["score" if n == "probability" else "label" if n == "came_true" else n for n in past.column_names]
    ).append_column("predicted", pa.nulls(past.num_rows, pa.string()))
    champion = MonitoredChampion(
        "7",
        past,
        Window(day(0), day(28)),
        Baseline("7", level(ours, held_out, clusters=clusters_in(ours, held_out)), held_out),
    )

    for number in (50, 60):
        our, _ = judge_day(ours, lake, day(number), champion, was_calm=lambda day: True, serving=NOT_SERVED)
        run = model.run(number)
        found = run.judge()

        words = {"training": "reference", "test rows": "the reference", "held-out predictions": "predictions of the reference"}  # fmt: skip

        def translated(text: str, words: dict[str, str] = words) -> str:
            for old, new in words.items():
                text = text.replace(old, new)
            return text

        assert found == replace(
            our,
            model="churn",
            reference=translated(our.reference),
            columns=tuple(
                replace(c, reference=_label_reference(c.what) or translated(c.reference)) for c in our.columns
            ),
        )
        assert run.verdict() == found
    assert (found.severity, found.problem("performance").severity) == ("critical", "critical")  # type: ignore[union-attr]


def _label_reference(what: str) -> str:
    return "the reference of version 7" if what == "label" else ""


def test_a_new_version_gets_a_reference_and_a_baseline_of_its_own(model: ForeignModel) -> None:
    old, new = foreign_rows(range(35)), foreign_rows(range(35, 70), version="8", shift=1.5)
    model.write(pa.concat_tables([old, new]))
    spec, lake = model.spec, model.settings.lake
    assert spec.watch is not None
    collect(spec, lake, day(0), day(70))

    before, just_after, later = (watched_model(spec, lake, day(number)) for number in (35, 40, 64))

    assert (before.version, before.fitted) == ("7", Window(day(0), day(28)))
    assert before.baseline.level is not None
    assert before.baseline.level.rows == 28 * 40
    # What it can have been trained on: the days before its first answer.
    assert (just_after.version, just_after.fitted) == ("8", Window(day(7), day(35)))
    assert just_after.baseline == Baseline(
        "8", None, None, f"its baseline is known from {day(64):%Y-%m-%d} on"
    )
    assert just_after.answers is None
    assert later.fitted == just_after.fitted
    assert later.baseline.level is not None
    assert later.baseline.rows is not None
    assert set(later.baseline.rows["model_version"].to_pylist()) == {"8"}


def test_late_rows_are_taken_over_and_old_looks_stay_as_they_were(model: ForeignModel) -> None:
    rows = foreign_rows(range(40))
    some = rows.filter(pa.array(np.arange(rows.num_rows) % 40 != 39))  # the last row of each day is late
    model.write(some)
    spec, lake = model.spec, model.settings.lake
    whole = Window(day(0), day(40))

    assert len(collect(spec, lake, day(0), day(38))) == 38
    assert collect(spec, lake, day(0), day(38)) == []
    model.write(rows)
    changed = collect(spec, lake, day(0), day(39))
    # The three days that may still change, and the new one.
    assert changed == [day(number).date() for number in (35, 36, 37, 38)]
    found = read_log(spec, lake, whole)
    assert found.num_rows == 35 * 39 + 4 * 40
    assert set(found["model_version"].to_pylist()) == {"7"}
    # An old look reads nothing again, and a longer past is added in front.
    assert collect(spec, lake, day(0), day(20)) == []
    assert collect(spec, lake, day(-3), day(20)) == []
    # Rows that were withdrawn go, too.
    model.write(rows.filter(pc.less(rows["asked_at"], day(38))))
    assert collect(spec, lake, day(0), day(39)) == [day(38).date()]
    assert read_log(spec, lake, Window(day(38), day(39))).num_rows == 0


def test_labels_come_from_a_table_of_their_own_when_they_are_known(model: ForeignModel) -> None:
    rows = foreign_rows(range(45))
    model.write(rows.drop_columns(["came_true"]))
    table = pa.table(
        {
            "key": rows["request"],
            "known_at": pc.add(rows["asked_at"], pa.scalar(timedelta(hours=20), pa.duration("us"))),
            "came_true": rows["came_true"],
        }
    )
    pq.write_table(table, model.folder / "labels.parquet")
    model.spec_data["watch"]["labels"] = {
        "source": {"path": str(model.folder / "labels.parquet")},
        "id_column": "key",
        "time_column": "known_at",
    }

    found = model.run(45).judge()

    assert (found.performance.rows, found.performance.promised is not None) == (7 * 40, True)
    assert found.problem("quality").severity == "none"  # type: ignore[union-attr]
    model.spec_data["name"], model.spec_data["label"] = "joined", {"column": "came_true", "delay": "1d"}
    del model.spec_data["watch"]["labels"]
    model.write(rows)
    assert model.run(45).judge().performance == found.performance


def test_without_labels_versions_and_classes_drift_is_found_and_performance_unknown(
    model: ForeignModel,
) -> None:
    rows = pa.concat_tables([foreign_rows(range(35)), foreign_rows(range(35, 42), shift=2.0)])
    decided = pc.greater(rows["probability"], 0.5)
    model.write(rows.drop_columns(["came_true", "release"]).append_column("decided", decided))
    del model.spec_data["label"], model.spec_data["watch"]["version"]
    model.spec_data["watch"] |= {"predicted": "decided"}
    model.spec_data["context"] = ["colour"]
    model.spec_data["features"] = {"numeric": ["amount", "age"]}

    run = model.run(42)
    found = run.judge()

    assert (found.version, found.severity) == ("any", "critical")
    assert {c.column for c in found.drifting} == {"all features", "amount", "score"}
    assert "colour" not in {c.column for c in found.columns}  # context is logged, not tested
    assert not found.problem("performance").known  # type: ignore[union-attr]
    assert found.performance.estimated is not None
    log = read_log(run.spec, run.settings.lake, Window(day(35), day(42)))
    assert set(log["predicted"].to_pylist()) == {"0", "1"}
    assert log["colour"].null_count == 0


def test_incidents_and_requests_need_no_registry(model: ForeignModel, tmp_path: Path) -> None:
    model.write(pa.concat_tables([foreign_rows(range(35)), foreign_rows(range(35, 50), shift=2.0)]))
    model.spec_data["alerts"] = {"remind": "3d"}
    actions, wanted = [], []
    for number in (35, 42, 43):
        run = model.run(number)
        verdict = run.judge()
        handler = incident_handler(run, verdict, {})
        handled = {one.kind: one.action for one in handler.handle(verdict, run.as_of, tmp_path)}
        actions.append(handled["drift"])
        recommendation = run.recommendation(verdict)
        run.answer(recommendation.note)
        wanted.append(recommendation.wanted)
        if recommendation.wanted:
            request = run.request(recommendation.note)
            assert request["run_key"] == f"retrain/churn/drift-{day(number):%Y-%m-%d}"
    assert actions == ["quiet", "open", "update"]
    assert wanted == [None, True, False]  # the cool-down refuses the second

    again = model.run(42)
    again.judge()  # keeps what else is known of the window
    newest, middle, oldest = again.history.until()
    assert (middle.severity, middle.facts["request"]["run_key"][-10:]) == ("critical", f"{day(42):%Y-%m-%d}")
    assert [step["action"] for step in middle.facts["transitions"]] == ["open"]
    assert "cool-down" in newest.facts["answer"]
    assert oldest.severity == "none"
    assert [one.end for one in again.history.until(day(42))] == [oldest.end]

    overview = Overview(lambda: model.settings)
    overview.update()  # MLflow does not answer
    (summary,) = overview.store.summaries()
    assert (summary["watched"], summary["champion"]["version"], summary["severity"]) == (
        True,
        "7",
        "critical",
    )
    assert [(one["kind"], one["current"]) for one in summary["incidents"]] == [("drift", "critical")]
    assert [one[0] for one in summary["strip"]] == [f"{day(number):%Y-%m-%d}" for number in (35, 42, 43)]
    assert "columns drift" in summary["last"]["reasons"]["drift"]


def test_the_history_of_verdicts_in_postgresql(postgres_database: str) -> None:
    history = VerdictHistory(postgres_database, "flights")
    ends = [f"2013-08-{number:02}T00:00:00+00:00" for number in (9, 8, 10)]
    for end in ends:
        history.write(a_verdict(end=end, version="7" if end < ends[2] else "8"))
    history.add(parse_moment(ends[0]), answer="no retrain", transitions=[{"action": "open"}])
    history.add(parse_moment(ends[0]), transitions=[{"action": "open"}, {"action": "update"}])
    history.write(a_verdict(end=ends[0], severity="warning"))
    VerdictHistory(postgres_database, "other").write(a_verdict(end=ends[0]))

    past = history.until()
    assert [(one.end[8:10], one.version, one.severity) for one in past] == [
        ("10", "8", "critical"),
        ("09", "7", "warning"),
        ("08", "7", "critical"),
    ]
    assert past[1].facts["answer"] == "no retrain"
    assert [step["action"] for step in past[1].facts["transitions"]] == ["open", "update"]
    assert [one.end for one in history.until(parse_moment(ends[0]))] == [ends[1]]
    assert history.severities(past, "7", 5) == [past[1].facts["severities"], past[2].facts["severities"]]


def test_a_reference_may_be_a_table_of_its_own(model: ForeignModel) -> None:
    rows = foreign_rows(range(28, 45))
    model.write(rows)
    trained = foreign_rows(range(28)).select(["request", "asked_at", "amount", "age", "colour"])
    pq.write_table(trained, model.folder / "trained.parquet")
    model.spec_data["watch"]["reference"]["source"] = {"path": str(model.folder / "trained.parquet")}

    found = model.run(45).judge()

    assert (found.reference_rows, found.severity) == (28 * 40, "none")


def test_a_reference_without_rows_is_an_error(model: ForeignModel) -> None:
    model.write(foreign_rows(range(28, 45)))
    with pytest.raises(SourceError, match=r"has no row in watch\.reference"):
        model.run(45).judge()


@pytest.mark.parametrize(
    ("changes", "said"),
    {
        "two kinds": ({"candidates": [{"name": "a", "estimator": "sklearn.svm.SVC"}]}, "is not trained here"),
        "neither": ({"watch": None}, r"candidates: this field is required \(or `watch`\)"),
        "two roles": ({"id_column": "probability"}, "watch: probability has two roles"),
        "no reference": ({"watch": {"prediction": "p"}}, "watch.reference: this field is required"),
        "order": (
            {"watch": {"prediction": "p", "reference": {"start": "2026-02-01", "end": "2026-01-01"}}},
            "start must be before end",
        ),
        "no label": (
            {"label": None, "watch": {"prediction": "p", "reference": {"start": "2026-01-01", "end": "2026-02-01"},
                                      "labels": {"source": {"path": "x.parquet"}}}},
            "name the `column` of watch.labels",
        ),
    }.values(),
)  # fmt: skip
def test_mistakes_in_a_spec_are_named(model: ForeignModel, changes: dict[str, object], said: str) -> None:
    model.spec_data |= changes
    model.spec_data = {name: value for name, value in model.spec_data.items() if value is not None}
    with pytest.raises(SpecError, match=said):
        _ = model.spec


def test_a_column_of_another_type_is_named(model: ForeignModel) -> None:
    rows = foreign_rows(range(30))
    wrong = rows.set_column(4, "amount", pa.array(["much"] * rows.num_rows))
    model.write(wrong)
    with pytest.raises(SourceError, match=r"the column amount of .+parquet cannot be read as double"):
        model.run(30).judge()


def test_the_commands_of_the_guide_draft_a_spec_and_evaluate_it(
    model: ForeignModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are written on the page, in a folder with the table, without MLflow."""
    rows = foreign_rows(range(90), per_day=10).rename_columns(
        ["request_id", "predicted_at", "score", "model_version", "tenure", "monthly_charges", "contract", "churned"]
    )  # fmt: skip
    monkeypatch.chdir(model.folder)
    pq.write_table(rows, "predictions.parquet")
    for name, value in {"HOME": "home", "LAKE": "lake", "MODELS": "models"}.items():
        monkeypatch.setenv(f"EVERMODEL_{name}", str(model.folder / value))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    guide, *_ = [one for one in examples("bash") if one.page.name == "watch.md"]
    outputs = []
    for words in commands(guide, "evermodel"):
        more = ["--no-report"] if words[0] == "drift" else []
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 0, result.output
        outputs.append(result.output)

    drafted = load_spec(model.folder / "models" / "predictions.yaml")
    assert drafted.watch is not None
    assert (drafted.task, drafted.watch.prediction, drafted.watch.version) == (
        "binary",
        "score",
        "model_version",
    )
    assert (drafted.features.numeric, drafted.features.categorical) == (
        ("tenure", "monthly_charges"),
        ("contract",),
    )
    assert drafted.watch.reference.end.date() == day(45).date()
    assert "predictions, version 7" in outputs[1]
    checked = CliRunner().invoke(app, ["check"])
    assert checked.exit_code == 0, checked.output
    told = CliRunner().invoke(app, ["status"])
    assert told.output.startswith("predictions: watched, version 7\n  window until 2026-04-05T00:00: none"), (
        told
    )
