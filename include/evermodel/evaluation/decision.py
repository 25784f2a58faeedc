"""The decision on a challenger: every gate with its threshold, its value and its verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from evermodel.registry.model_files import decision_digest

Comparison = Literal["better", "not_worse", "worse", "not_enough_evidence", "cold_start"]
COLD_START: Comparison = "cold_start"


@dataclass(frozen=True)
class Gate:
    """One named check of a challenger."""

    name: str
    verdict: Literal["pass", "fail", "warn"]
    value: float | None
    threshold: str
    detail: str


@dataclass(frozen=True)
class Decision:
    """Whether a challenger may ship, and why; written for every retrain.

    Parameters
    ----------
    candidate, model_uri
        The challenger: its name in the spec and its logged model.
    parent
        Version of the champion that it was compared with; None for a cold start.
    verdict
        Outcome of the comparison of the primary metric.
    ship
        True if no gate failed, or if a person forced it.
    forced
        True if a person's override made the difference.
    challenger, champion, gain
        The primary metric of both and the difference, as ``value, low, high``; None where there is no champion.
    files
        SHA-256 of every file of the challenger's model; empty in decisions of earlier releases.
    approval
        ``auto`` or ``manual``, as it was when the decision was made; empty in decisions of earlier releases.
    margin
        Largest loss of the primary metric that counted as not worse; None where there is no champion, and in decisions
        of earlier releases.
    anchor
        The version that later ones are compared with if this one ships; empty: this one.
    threshold
        From which on the challenger decides a probability positive; None without a rule for decisions.
    next_gain
        Bounds of the gain that the next window will show; None where there is no champion, and in decisions of earlier
        releases.
    optimism
        By how much the challenger looks better on the test window than it is, because a decision that ships was made there.
    """

    model: str
    run_key: str
    candidate: str
    model_uri: str
    parent: str | None
    metric: str
    verdict: Comparison
    ship: bool
    forced: bool
    reason: str
    rows: int
    challenger: tuple[float, float, float]
    champion: tuple[float, float, float] | None
    gain: tuple[float, float, float] | None
    gates: tuple[Gate, ...]
    files: dict[str, str] = field(default_factory=dict)
    approval: str = ""
    margin: float | None = None
    anchor: str = ""
    threshold: float | None = None
    next_gain: tuple[float, float] | None = None
    optimism: float | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the decision, 16 hex digits."""
        return decision_digest(self.to_json())

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that failed; a warning is none of them."""
        return tuple(gate for gate in self.gates if gate.verdict == "fail")

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        data = asdict(self)
        for name in ("files", "approval", "margin", "anchor", "threshold", "next_gain", "optimism"):
            if data[name] in ({}, "", None):
                del data[name]  # the digests of decisions without stay what they were
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Decision:
        """Read what `to_json` wrote."""
        triples = {key: data[key] and tuple(data[key]) for key in ("challenger", "champion", "gain")}
        if data.get("next_gain"):
            triples["next_gain"] = tuple(data["next_gain"])
        return cls(**{**data, **triples, "gates": tuple(Gate(**gate) for gate in data["gates"])})


def compare(low: float, high: float, margin: float) -> Comparison:
    """Name the outcome of a comparison from the interval of the gain.

    >>> compare(0.002, 0.03, 0.01)
    'better'
    >>> compare(-0.004, 0.02, 0.01)
    'not_worse'
    >>> compare(-0.05, -0.02, 0.01)
    'worse'
    >>> compare(-0.05, 0.06, 0.01)
    'not_enough_evidence'
    """
    if low > 0:
        return "better"
    if low > -margin:
        return "not_worse"
    return "worse" if high < 0 else "not_enough_evidence"


def against_limit(low: float, high: float, limit: float) -> Literal["pass", "fail", "warn"]:
    """Judge an interval of what may not exceed a limit: only all of it fails or passes.

    >>> [against_limit(low, high, 0.1) for low, high in ((0.11, 0.2), (0.05, 0.2), (0.05, 0.1))]
    ['fail', 'warn', 'pass']
    """
    return "fail" if low > limit else "warn" if high > limit else "pass"
