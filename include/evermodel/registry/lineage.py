"""The lineage of a version, stored in its tags."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import PermanentError
from evermodel.registry import tags
from evermodel.spec.window import Window, parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import ModelVersion


@dataclass(frozen=True)
class Lineage:
    """Data, code, spec and decision of a version; missing tags are None or empty.

    Parameters
    ----------
    as_of
        Data and labels known later are excluded.
    decision
        Digest of its decision (and of the model's files), with the verdict, and whether a person forced it.
    parent
        The champion that it was compared with.
    anchor
        The best version of twelve months when it shipped; empty if that is itself.
    processor
        Of the machine that registered it, where its steps run on one.
    threshold
        From which on a probability is decided positive; empty without a rule for decisions.
    gate_prediction
        The gain over its parent that the next window will show, with its interval, as JSON; empty without a parent.
    metric_value
        Its primary metric on the test part.
    origin
        The environment of its original registration, and its number there.
    """

    run_key: str = ""
    as_of: datetime | None = None
    fit_window: Window | None = None
    snapshot: str = ""
    snapshot_md5: str = ""
    spec_digest: str = ""
    git_commit: str = ""
    environment_digest: str = ""
    threads: str = ""
    processor: str = ""
    fastpath: str = ""
    threshold: str = ""
    decision: str = ""
    content: str = ""
    verdict: str = ""
    forced: bool = False
    parent: str = ""
    anchor: str = ""
    gate_prediction: str = ""
    reason: str = ""
    metric: str = ""
    metric_value: float | None = None
    origin: str = ""

    @classmethod
    def from_version(cls, version: ModelVersion) -> Lineage:
        """Read the tags of a version."""
        kept = version.tags
        texts: dict[str, Any] = {name: kept.get(_tag(name), "") for name in _TEXTS}
        as_of, value = kept.get(tags.AS_OF), kept.get(tags.METRIC_VALUE)
        start, end = kept.get(tags.TRAIN_START), kept.get(tags.TRAIN_END)
        return cls(
            **texts,
            as_of=parse_moment(as_of) if as_of else None,
            fit_window=Window(parse_moment(start), parse_moment(end)) if start and end else None,
            forced=kept.get(tags.FORCED) == "true",
            metric_value=float(value) if value else None,
        )

    def to_tags(self) -> dict[str, str]:
        """Return the tags; empty fields are omitted."""
        kept = {_tag(name): getattr(self, name) for name in _TEXTS}
        if self.as_of is not None:
            kept[tags.AS_OF] = self.as_of.isoformat()
        if self.fit_window is not None:
            kept[tags.TRAIN_START] = self.fit_window.start.isoformat()
            kept[tags.TRAIN_END] = self.fit_window.end.isoformat()
        if self.metric_value is not None:
            kept[tags.METRIC_VALUE] = repr(self.metric_value)
        return {**{tag: text for tag, text in kept.items() if text}, tags.FORCED: str(self.forced).lower()}

    def outdated(self, version: ModelVersion) -> list[str]:
        """Return the tags that a version has of an earlier evaluation, and that this lineage leaves empty."""
        empty = [
            _tag(name)
            for name in ("content", "parent", "anchor", "gate_prediction", "fastpath", "threshold")
            if not getattr(self, name)
        ]
        return [key for key in empty if key in version.tags]

    def require(self, version: ModelVersion, *names: str) -> Lineage:
        """Raise `PermanentError` for a version whose tags lack some fields."""
        missing = [name for name in names if not getattr(self, name)]
        if missing:
            raise PermanentError(
                f"version {version.version} of {version.name} lacks lineage: no tag "
                f"{', '.join(map(_tag, missing))}",
                "choose a version that a retrain registered",
            )
        return self


def _tag(name: str) -> str:
    return tags.TRAIN_END if name == "fit_window" else tags.OURS + name


_TEXTS = tuple(field.name for field in fields(Lineage) if field.type == "str")
