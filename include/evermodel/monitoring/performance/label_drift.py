"""Label drift: matured labels against the labels of the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.monitoring.drift.compare import compare
from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.stats.sample import Sample, categories, numbers

if TYPE_CHECKING:
    import pyarrow as pa


def label_finding(spec: ModelSpec, training: pa.Table, rows: pa.Table, words: str) -> DriftTest:
    """Compare the distribution of labels.

    Parameters
    ----------
    training
        The champion's training rows, with the label under its own name.
    rows
        Joined rows of the window, with the label as ``label``.
    words
        Name of the reference.
    """
    name = spec.label.column
    if rows.num_rows < spec.performance.min_rows:
        why = f"{rows.num_rows} labels, at least {spec.performance.min_rows}"
        kind = "numeric" if spec.task == "regression" else "categorical"
        return refused(name, kind, "label", words, why)  # type: ignore[arg-type]
    old, new = (_sample(spec, column) for column in (training[name], rows["label"]))
    found = compare(old, new)
    watch = spec.drift.by_column.get(name)
    band = watch.psi if watch and watch.psi else spec.drift.psi
    drift = ColumnDrift(
        column=name,
        kind="numeric" if spec.task == "regression" else "categorical",
        what="label",
        method="calibrated",
        measure="PSI",
        effect=found.psi,
        low=found.low,
        high=found.high,
        calm=0.0,
        threshold=band.warning,
        p_value=found.p_value,
        reference=words,
        severity="none",
        summary=found.summary,
        bins=found.bins,
    )
    return DriftTest(drift, band.critical)


def _sample(spec: ModelSpec, labels: pa.ChunkedArray[Any]) -> Sample:
    import pyarrow as pa

    if spec.task == "regression":
        return numbers(labels)
    return categories(labels.cast(pa.int8()) if spec.task == "binary" else labels)
