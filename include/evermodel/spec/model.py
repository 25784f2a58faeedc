"""The model spec as one frozen object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from evermodel.core.formats import json_digest
from evermodel.spec.alerts import AlertsSpec
from evermodel.spec.decision import DecisionSpec, MetricsSpec
from evermodel.spec.drift import DriftSpec, PerformanceSpec, RespondSpec, RetrainPolicy
from evermodel.spec.feast import feast_problems
from evermodel.spec.features import Aggregate, FeaturesSpec, FeatureView, OwnCode, aggregate_problems
from evermodel.spec.gate import GateSpec
from evermodel.spec.parts import (
    BY_DAY,
    BY_ROW,
    METRIC_NAMES,
    Column,
    ColumnNote,
    ImportPath,
    LabelSpec,
    ResourcesSpec,
    ScheduleSpec,
    Span,
    SpecSection,
    Task,
)
from evermodel.spec.rollout import RollbackSpec, RolloutSpec
from evermodel.spec.serving import ScoreSpec, ServingSpec
from evermodel.spec.source import BaseSource, SourceSpec
from evermodel.spec.training import CandidateSpec, SplitSpec, TrainingSpec
from evermodel.spec.validation import ValidationSpec
from evermodel.spec.watch import WatchSpec

__all__ = ["CandidateSpec", "ModelSpec"]

# Columns that the prediction log, and its join with the labels, add to the features.
RESERVED = (
    "prediction_id",
    "event_time",
    "model_version",
    "score",
    "predicted",
    "source",
    "request_id",
    "subject_hash",
    "label",
)


class ModelSpec(SpecSection):
    """The declaration of one model."""

    _written: Mapping[str, Any] | None = PrivateAttr(None)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name in DAG ids, registry and lake.")
    description: str = ""
    owner: str = "ml"
    team: str | None = Field(
        None, min_length=1, description="Role of Airflow (FAB) that may see, run and edit the model's DAGs."
    )
    intended_use: str = Field("", description="What the model is for; shown on the model card.")
    limits: str = Field("", description="What the model must not be used for; shown on the model card.")
    task: Task = "binary"
    source: SourceSpec
    time_column: str = Field(min_length=1, description="Time at which the row's features were known.")
    id_column: str = Field(min_length=1, description="Identifies a row, and joins predictions with labels.")
    label: LabelSpec = Field(
        LabelSpec.model_construct(column=""),
        description="Required, unless the model is only watched: then drift is monitored without labels, too.",
    )
    features: FeaturesSpec
    context: tuple[Column, ...] = Field(
        (),
        description="Columns that are kept with the rows, as text, and that no model sees: for slices, fairness, `cluster` and business metrics.",
    )
    documentation: dict[str, ColumnNote] = Field(
        default_factory=dict,
        description="Notes on columns, by name: shown with each feature on the Models page, and sent to OpenLineage.",
    )
    group_column: Column | None = Field(
        None, description="Of a ranking: the column of `context` whose equal values make one list to rank."
    )
    watch: WatchSpec | None = Field(
        None,
        description="Monitor a model that is trained and served elsewhere; takes the place of `candidates`.",
    )
    cluster: str = Field(
        BY_DAY,
        min_length=1,
        description="Rows that belong together and count as one in an evaluation: `day`, a feature or column of `context`, or `row` (all independent).",
    )
    meta: dict[str, Any] = Field(
        default_factory=dict, description="Anything of your own, kept with the spec and not interpreted."
    )
    leaks: tuple[str, ...] = Field((), description="Columns that leak the label; rejected as features.")
    schedule: ScheduleSpec = ScheduleSpec()
    split: SplitSpec = SplitSpec()
    candidates: tuple[CandidateSpec, ...] = Field(
        (), description="Required, unless the model is only watched."
    )
    trusted_types: tuple[ImportPath, ...] = Field(
        (),
        description="Classes and functions of packages in EVERMODEL_TRUSTED_PACKAGES that a stored model may name.",
    )
    training: TrainingSpec = TrainingSpec()
    seed: int = Field(0, ge=0)
    validation: ValidationSpec = ValidationSpec()
    metrics: MetricsSpec = MetricsSpec()
    decision: DecisionSpec | None = Field(
        None, description="How probabilities become decisions; default: at `performance.threshold`."
    )
    gate: GateSpec = GateSpec()
    approval: Literal["auto", "manual"] = "auto"
    approval_timeout: Span = Field(
        timedelta(days=3), description="Time until a version without an answer is rejected."
    )
    approvers: tuple[str, ...] = Field(
        (), description="Airflow users who may approve; required where approval is manual."
    )
    score: ScoreSpec = ScoreSpec()
    drift: DriftSpec = DriftSpec()
    performance: PerformanceSpec = PerformanceSpec()
    respond: RespondSpec = RespondSpec()
    retrain: RetrainPolicy = RetrainPolicy()
    alerts: AlertsSpec = AlertsSpec()
    serving: ServingSpec = ServingSpec()
    rollout: RolloutSpec = RolloutSpec()
    rollback: RollbackSpec = RollbackSpec()
    resources: ResourcesSpec = ResourcesSpec()
    environments: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Overrides for an environment, by its name (EVERMODEL_ENVIRONMENT).",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, data: Any) -> Any:
        """Name the task's first metric where the gate names none."""
        names = METRIC_NAMES.get(data.get("task", "binary")) if isinstance(data, dict) else None
        gate = data.get("gate", {}) if names else None
        if names and isinstance(gate, dict) and gate.get("metric") is None:
            return {**data, "gate": {**gate, "metric": names[0]}}
        return data

    @model_validator(mode="after")
    def _check_columns(self) -> ModelSpec:
        problems = [*self._kind_problems(), *self._column_problems(), *self._value_problems()]
        noted = [name for name in self.documentation if name not in self.columns]
        problems += [f"documentation: {name} is not a column of this model" for name in noted]
        features = self.features
        problems += aggregate_problems(
            features.aggregates, self.source.tables, features.numeric, features.categorical
        )
        problems += self.gate.problems(self.task, self.features, self.context)
        problems += self.metrics.problems(
            self.gate.metrics, None if self.decision is None else self.decision.rule
        )
        problems += [] if self.decision is None else self.decision.problems(self.task)
        problems += self.training.problems(self.task, self.split)
        problems += self.serving.fallback.problems(self.task)
        problems += self._group_problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _kind_problems(self) -> list[str]:
        """Return what contradicts the kind of the model: trained here, or watched."""
        if self.watch is None:
            problems = [] if self.labelled else ["label: this field is required"]
            return problems + ([] if self.candidates else ["candidates: this field is required (or `watch`)"])
        problems = ["candidates: a model with `watch` is not trained here (remove one of the two)"] * bool(
            self.candidates
        )
        if self.watch.labels is not None and not self.labelled:
            problems.append("label: name the `column` of watch.labels with the label")
        own = [self.id_column, self.time_column, *self.logged]
        return problems + [f"watch: {name} has two roles" for name in self.watch.columns if name in own]

    def _column_problems(self) -> list[str]:
        names, logged = self.features.names, self.logged
        problems = [
            f"{'context' if n in self.context else 'features'}: {n} is listed twice"
            for n, count in Counter(logged).items()
            if count > 1
        ]
        if not names:
            problems.append("features: name at least one numeric or categorical column")
        roles = {"id_column": self.id_column, "time_column": self.time_column}
        if self.labelled:
            roles = {"label.column": self.label.column, **roles}
        for role, column in roles.items():
            if column in logged:
                field = "features" if column in names else "context"
                problems.append(
                    f"{field}: {column} is the {role.removesuffix('_column').removesuffix('.column')} column"
                )
        twice = [column for column, count in Counter(roles.values()).items() if count > 1]
        problems += [
            f"label.column: {column} has two roles (label, id and time must differ)" for column in twice
        ]
        if self.cluster not in (BY_DAY, BY_ROW, *logged):
            problems.append(
                f"cluster: {self.cluster} is not a feature of this model (list it under context, or write day, or row)"
            )
        problems += [f"features: {n} is also listed under leaks" for n in names if n in self.leaks]
        problems += [
            f"{'features' if n in names else 'context'}: {n} is a column of the prediction log, rename it"
            for n in logged
            if n in RESERVED
        ]
        known = {*names, self.id_column, self.label.column, self.time_column}
        for field, columns in (
            ("validation.ranges", self.validation.ranges),
            ("validation.max_null_share_by_column", self.validation.max_null_share_by_column),
            ("validation.severity", self.validation.columns_of_severity),
            ("drift.columns", self.drift.columns or ()),
            ("drift.by_column", self.drift.by_column),
        ):
            problems += [f"{field}: {c} is not a column of this model" for c in columns if c not in known]
        problems += [
            f"performance.slices: {c} is not a feature of this model (or list it under context)"
            for c in self.performance.slices
            if c not in logged
        ]
        if self.features.online is not None and not self.joined:
            problems.append("features.online: needs `features.aggregates` or `source.feast`")
        if self.source.feast is not None:
            made = [aggregate.name for aggregate in self.features.aggregates]
            problems += feast_problems(self.source.feast, names, made)
        unknown = any(a.table not in self.source.tables for a in self.features.aggregates)
        if self.features.online is not None and not unknown:
            problems += [
                f"features.online: {c}, by which events are found, is not in requests (list it under context)"
                for c in self.entity_columns
                if c not in logged
            ]
        twice = [n for n, count in Counter(c.name for c in self.candidates).items() if count > 1]
        return problems + [f"candidates: duplicate name {n}" for n in twice]

    def _group_problems(self) -> list[str]:
        if self.task != "ranking":
            return (
                []
                if self.group_column is None
                else [f"group_column: a {self.task} task has no lists (set `task: ranking`)"]
            )
        if self.group_column not in self.context:
            return [
                "group_column: name the column whose equal values make one list, and list it under context"
            ]
        compared = {
            f"rollout.strategy: {self.rollout.strategy}": self.rollout.strategy in ("ab_test", "bandit"),
            "rollback.quality": self.rollback.quality,
            "serving.coverage": self.serving.coverage is not None,
            "watch": self.watch is not None,
        }
        return [f"{field}: not available for a ranking" for field, wanted in compared.items() if wanted]

    def _value_problems(self) -> list[str]:
        zero, remind = timedelta(0), self.alerts.remind
        problems = [
            f"{field}: must be longer than zero"
            for field, span in (
                *((f"candidates: {c.name}: time_limit", c.time_limit) for c in self.candidates),
                ("split.train", self.split.train),
                ("split.validation", self.split.validation),
                ("split.test", self.split.test),
                ("drift.window", self.drift.window),
                ("performance.window", self.performance.window),
                ("alerts.remind", remind if isinstance(remind, timedelta) else timedelta(days=1)),
            )
            if span <= zero
        ]
        if self.gate.metric not in METRIC_NAMES[self.task]:
            allowed = ", ".join(METRIC_NAMES[self.task])
            problems.append(
                f"gate.metric: {self.gate.metric} is not a metric of a {self.task} task (allowed: {allowed})"
            )
        if self.numeric_answers and self.gate.max_calibration_error is not None:
            problems.append(f"gate.max_calibration_error: {self.task} has no probabilities to calibrate")
        for column, (low, high) in self.validation.ranges.items():
            if low is not None and high is not None and low > high:
                problems.append(
                    f"validation.ranges: {column}: the lowest value {low} is above the highest {high}"
                )
        return problems

    @property
    def watched(self) -> list[str]:
        """Columns whose drift is tested."""
        return list(self.drift.columns or self.features.names)

    @property
    def logged(self) -> list[str]:
        """Columns that the prediction log and evaluations have of a row: the features, then the context."""
        return [*self.features.names, *self.context]

    @property
    def sources(self) -> list[BaseSource]:
        """What is read: the source and, of a watched model, the tables of labels and of the reference."""
        found: list[BaseSource] = [self.source]
        if self.watch is not None:
            found += [] if self.watch.labels is None else [self.watch.labels.source]
            found += [] if self.watch.reference.source is None else [self.watch.reference.source]
        return found

    @property
    def numeric_answers(self) -> bool:
        """Whether answers and labels are numbers of any size: of a regression, and of a ranking."""
        return self.task in ("regression", "ranking")

    @property
    def labelled(self) -> bool:
        """Whether labels become known."""
        return bool(self.label.column)

    @property
    def columns(self) -> list[str]:
        """Columns that are read from the source, in their order: id, time, features, context, a watched model's answers, label."""
        names = [self.id_column, self.time_column]
        names += [n for n in self.logged if n not in names]
        names += self.watch.columns if self.watch else ()
        own_label = self.labelled and (self.watch is None or self.watch.labels is None)
        return [*names, self.label.column] if own_label else names

    @property
    def own_code(self) -> OwnCode:
        """What a stored model may name beside the libraries."""
        return OwnCode(self.features.module, self.trusted_types)

    def event_columns(self, table: str) -> list[str]:
        """Columns of a table that aggregates use beside its times and its id, sorted."""
        members = [a for a in self.features.aggregates if a.table == table]
        names = {name for a in members for name in (*a.columns, *(a.key or self.source.tables[table].key))}
        return sorted(names)

    @property
    def feature_views(self) -> list[FeatureView]:
        """The aggregates, by table and key, and Feast's features, by key."""
        groups: dict[tuple[str, tuple[str, ...]], list[Aggregate]] = {}
        for aggregate in self.features.aggregates:
            key = aggregate.key or self.source.tables[aggregate.table].key
            groups.setdefault((aggregate.table, key), []).append(aggregate)
        views = [FeatureView(table, key, tuple(members)) for (table, key), members in groups.items()]
        if (feast := self.source.feast) is not None:
            views += [FeatureView(f"Feast's {feast.service}", v.key, given=v.features) for v in feast.views]
        return views

    @property
    def joined(self) -> list[str]:
        """Features that rows get by a key as of their time: aggregates, and what Feast gives."""
        given = [] if self.source.feast is None else self.source.feast.features
        return [*(aggregate.name for aggregate in self.features.aggregates), *given]

    @property
    def entity_columns(self) -> list[str]:
        """Columns of the rows by which events, and Feast's features, are found, sorted."""
        return sorted({name for view in self.feature_views for name in view.key})

    @property
    def looked_up(self) -> frozenset[str]:
        """Features that a request may leave out, because the serving app looks them up by their key."""
        if self.features.online is None:
            return frozenset()
        return frozenset(self.joined)

    def note_on(self, column: str) -> ColumnNote:
        """Return what is written of a column, with its owner."""
        note = self.documentation.get(column, ColumnNote.model_construct())
        return note if note.owner else note.model_copy(update={"owner": self.owner})

    def canonical(self) -> dict[str, Any]:
        """Return the spec as JSON-ready data with every default written out."""
        return self.model_dump(mode="json")

    def written_as(self, data: Mapping[str, Any] | None) -> ModelSpec:
        """Remember the data that the spec was read from, with ``${NAME}`` in place of variables' values."""
        self._written = data
        return self

    def unexpanded(self) -> dict[str, Any]:
        """Return `canonical` with ``${NAME}`` where a text comes from a variable, which may hold a secret."""
        found: dict[str, Any] = _unexpanded(self.canonical(), self._written)
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical spec, 16 hex digits."""
        return json_digest(self.canonical())[:16]


def _unexpanded(value: Any, written: Any) -> Any:
    if isinstance(value, dict) and isinstance(written, Mapping):
        return {key: _unexpanded(item, written.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [_unexpanded(*pair) for pair in zip(value, written, strict=True)]
    return written if isinstance(value, str) and isinstance(written, str) and "${" in written else value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that editors use to complete and check a spec."""
    schema = ModelSpec.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "evermodel model spec",
        **{key: value for key, value in schema.items() if key != "title"},
        "anyOf": [{"required": ["label", "candidates"]}, {"required": ["watch"]}],
    }
