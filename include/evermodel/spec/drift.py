"""The sections `drift`, `performance`, `respond` and `retrain`: how a model is monitored, and what follows from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import Column, Share, Span, SpecSection

ReferenceKind = Literal["training", "trailing", "weekday", "season"]
# Ours, and those of Evidently 0.7 (by its own names) that need nothing but the two columns.
DriftMethod = Literal[
    "calibrated",
    "anderson",
    "chisquare",
    "cramer_von_mises",
    "ed",
    "es",
    "hellinger",
    "jensenshannon",
    "kl_div",
    "ks",
    "kuiper_test",
    "mannw",
    "psi",
    "t_test",
    "TVD",
    "wasserstein",
    "z",
]
ColumnKind = Literal["numeric", "categorical"]
DriftKind = Literal[
    "feature",
    "prediction",
    "label",
    "concept",
    "missing",
    "category",
    "correlation",
    "together",
    "attribution",
]


class BandSpec(SpecSection):
    """Effects from which a change is a warning, and critical."""

    warning: float = Field(gt=0)
    critical: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> BandSpec:
        if self.warning > self.critical:
            raise ValueError("warning must not be above critical")
        return self


class PsiSpec(BandSpec):
    """Bands of the population stability index."""

    warning: float = Field(0.1, gt=0)
    critical: float = Field(0.25, gt=0)


class ReferenceSpec(SpecSection):
    """The rows a window is compared with."""

    kind: ReferenceKind = Field(
        "training",
        description="training: the rows the champion was fitted on; trailing: the days before the window; weekday: "
        "those of the training rows that fall on the window's weekdays; season: the same season of earlier years.",
    )
    span: Span = Field(timedelta(days=56), description="Length of a trailing reference.")
    width: Span = Field(timedelta(days=14), description="Width of the season on both sides of the window.")
    years: int = Field(3, ge=1, le=20, description="Number of earlier years, if the source has them.")


class ColumnWatch(SpecSection):
    """Settings of one column that override the defaults."""

    method: DriftMethod = Field("calibrated", description="calibrated, or one of Evidently's own methods.")
    threshold: float | None = Field(
        None, gt=0, description="Threshold of Evidently's method; default: Evidently's."
    )
    reference: ReferenceSpec | None = None
    psi: PsiSpec | None = None


class HistorySpec(SpecSection):
    """History from which the model's normal variation is learned."""

    least: int = Field(28, ge=7, description="Quiet windows needed to learn the model's normal variation.")
    span: Span = Field(timedelta(days=182), description="How far back the history reaches.")


class DriftSpec(SpecSection):
    """How the prediction log is monitored."""

    window: Span = timedelta(days=7)
    false_alarm_rate: float = Field(
        0.01, gt=0, lt=0.5, description="False-alarm rate per model and day, over all tests together."
    )
    psi: PsiSpec = PsiSpec()
    missing: BandSpec = Field(
        BandSpec(warning=0.05, critical=0.2), description="Change of a column's share of missing values."
    )
    categories: BandSpec = Field(
        BandSpec(warning=0.01, critical=0.1),
        description="Share of rows in categories absent from the reference.",
    )
    correlation: BandSpec = Field(
        BandSpec(warning=0.2, critical=0.4), description="Change of the rank correlation of two numbers."
    )
    together: BandSpec = Field(
        BandSpec(warning=0.05, critical=0.5),
        description="Separation of the window's rows from the reference's by a classifier, in standard deviations of its scores.",
    )
    skew: BandSpec = Field(
        BandSpec(warning=0.01, critical=0.1),
        description="Share of a day's predictions with another value of an aggregate than its events give.",
    )
    reference: ReferenceSpec = ReferenceSpec()
    columns: tuple[Column, ...] | None = Field(None, description="Columns to monitor; default: all features.")
    by_column: dict[Column, ColumnWatch] = Field(default_factory=dict)
    history: HistorySpec = HistorySpec()
    min_rows: int = Field(200, ge=1, description="Minimum rows of a window; a smaller one gets no verdict.")
    report_error: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Largest error of a share in Evidently's plots; sets their sample size.",
    )
    engine: Literal["local", "spark"] = Field(
        "local",
        description="What reads and counts the columns of a window: this process, or Spark's workers.",
    )
    spark: str | None = Field(
        None, description="Spark's master, or an address sc://host:15002 (Spark Connect)."
    )
    keep_reports: Span = Field(
        timedelta(days=90), description="Retention of reports in Evidently's workspace."
    )

    @model_validator(mode="after")
    def _spark_is_used(self) -> DriftSpec:
        if self.spark is not None and self.engine != "spark":
            raise ValueError("`spark` needs `engine: spark`")
        return self


class PerformanceSpec(SpecSection):
    """How the performance on matured labels is monitored."""

    window: Span = Field(timedelta(days=7), description="Trailing window of predictions with known labels.")
    margin: float | None = Field(
        None,
        ge=0,
        description="Distance below the baseline that is a warning; default: the gate's margin.",
    )
    critical: float | None = Field(
        None, ge=0, description="Distance below the baseline that is critical; default: three margins."
    )
    false_alarm_rate: float = Field(0.01, gt=0, lt=0.5, description="False-alarm rate per model and day.")
    min_rows: int = Field(100, ge=2, description="Minimum labels for a verdict.")
    slices: tuple[Column, ...] = Field((), description="Features whose values are monitored one by one.")
    search: bool = Field(
        False,
        description="Search all values of categories and quarters of numbers for slices that became worse, within the same false-alarm rate.",
    )
    estimate: bool = Field(
        True, description="Estimate the metric before labels are known (CBPE); not for regression."
    )
    threshold: Share = Field(0.5, description="Score from which a row is positive in proxy metrics.")
    business: dict[str, str] = Field(
        default_factory=dict,
        description="Name and SQL expression (DuckDB) over `joined`: the prediction log with the column `label`.",
    )


Response = Literal["off", "alert", "auto"]


class RespondSpec(SpecSection):
    """Response to each kind of problem: nothing, a message, or a message and a retrain request."""

    feature: Response = "auto"
    prediction: Response = "auto"
    label: Response = "alert"
    concept: Response = "auto"
    missing: Response = "alert"
    category: Response = "alert"
    correlation: Response = "alert"
    together: Response = "alert"
    attribution: Response = Field(
        "alert", description="Features' shares in the attributions, with `serving.explain`."
    )
    performance: Response = "auto"
    quality: Literal["off", "alert", "veto"] = Field(
        "veto",
        description="Bad data never requests a retrain, it blocks one; with `veto` no version ships while a quality"
        " incident is open.",
    )
    serving: Literal["off", "alert"] = "alert"
    skew: Literal["off", "alert"] = "alert"


class WindowsSpec(SpecSection):
    """How many of the last windows must be that bad."""

    count: int = Field(1, ge=1, le=60)
    of: int = Field(1, ge=1, le=60)

    @model_validator(mode="after")
    def _within(self) -> WindowsSpec:
        if self.count > self.of:
            raise ValueError("`count` must not be above `of`")
        return self


class RetrainPolicy(SpecSection):
    """When problems may request a retrain."""

    when: Literal["never", "warning", "critical"] = "critical"
    windows: WindowsSpec = Field(
        WindowsSpec(), description="Number of the last windows that must be that bad."
    )
    cooldown: Span = Field(timedelta(days=7), description="Shortest time between two retrains.")
    budget: int = Field(4, ge=0, description="Most requests within 30 days.")
