"""A comparison as text and tables, for the terminal, the page and Markdown."""

from __future__ import annotations

from evermodel.pipelines.backtest.compare import PolicyComparison, PolicyStanding
from evermodel.pipelines.backtest.outcome import PolicyOutcome

RESULT_HEAD = (
    "policy",
    "mean week",
    "against {base}",
    "worst week",
    "retrains (shipped)",
    "incidents (reminders)",
    "weeks a retrain hurt (significantly)",
    "promotions that lost more than the margin",
)
COST_HEAD = ("policy", "rows fitted", "processor time of fitting", "of one retrain")
# Notes for readers of the figures.
NOTES = (
    "A row is used from its time on, a label after the spec's delay; no model, gate or verdict uses later data.",
    "The interval of a mean and of a difference is a paired bootstrap over weeks, in blocks of {block}; that of a worst "
    "week is a bootstrap over its rows.",
    "A retrain hurt in a week if the replaced champion would have been better on the same rows; in brackets, the weeks "
    "in which this is significant (95 % interval over the week's rows).",
    "A promotion lost more than the margin if it did on the mean day that it served, against the version that it replaced on the "
    "same rows; proved where days show it, at all looks together. The gate states that at most {may_hurt} do; beside it the "
    "95 % limit of the share that these promotions show.",
    "Incidents that opened; in brackets, the reminders of those that went on. The verdict that opens them, and may request a retrain, is made every "
    "{step}; approvals are immediate, and gates of latency and size are left out.",
)


def result_head(comparison: PolicyComparison) -> list[str]:
    """Return the heads of the table of results."""
    return [head.format(base=comparison.base) for head in RESULT_HEAD]


def result_rows(comparison: PolicyComparison) -> list[list[str]]:
    """Return one row for each policy."""
    return [_row(one) for one in comparison.standings]


def cost_rows(comparison: PolicyComparison) -> list[list[str]]:
    """Return what each policy cost to compute; seconds are those of one core of the machine that fitted."""
    return [
        [one.policy, f"{standing.rows_fitted:,}", _seconds(one.seconds), _each(one)]
        for one, standing in zip(comparison.outcomes, comparison.standings, strict=True)
    ]


def notes(comparison: PolicyComparison) -> list[str]:
    """Return the notes of the table."""
    block = f"{comparison.block} weeks" if comparison.block > 1 else "one week"
    step = {"1d": "day", "1w": "week"}.get(comparison.facts["step"], comparison.facts["step"])
    may_hurt = f"{comparison.facts['may_hurt']:.1%}"
    told = [note.format(block=block, step=step, may_hurt=may_hurt) for note in NOTES]
    first = comparison.outcomes[0].first_verdict
    if first != "all gates passed":
        told.append(f"The first champion failed the gate ({first}); it serves anyway.")
    return told


def findings(comparison: PolicyComparison) -> list[str]:
    """Return the findings as sentences, the most important first."""
    best, base = comparison.best, comparison.base
    told = []
    if len(comparison.standings) == 1:
        told.append(f"{base} has a mean week of {best.mean:.3f}; there is no other policy to compare.")
    elif best.policy == base:
        told.append(f"No policy has a better mean week than {base}: retraining did not help this model.")
    elif best.verdict == "better":
        told.append(
            f"{best.policy} has the best mean week: {best.mean:.3f}, {_signed(best.gain)} "
            f"({_signed(best.gain_low)} to {_signed(best.gain_high)}) against {base}."
        )
    else:
        told.append(
            f"{best.policy} has the best mean week, but the weeks do not show that it is better than {base} "
            f"({_signed(best.gain)}, {_signed(best.gain_low)} to {_signed(best.gain_high)})."
        )
    worse = [one.policy for one in comparison.standings if one.verdict == "worse"]
    if worse:
        told.append(f"Worse than {base}: {', '.join(worse)}.")
    thrifty = comparison.thriftiest
    if thrifty.policy != best.policy:
        told.append(
            f"{thrifty.policy} is not shown to be worse than {best.policy} ({_signed(thrifty.behind)}, "
            f"{_signed(thrifty.behind_low)} to {_signed(thrifty.behind_high)}) and retrains {_times(thrifty.tried)} "
            f"instead of {_times(best.tried)}."
        )
    told += [_hurt(one) for one in comparison.outcomes if one.exchanges]
    return told


def _row(one: PolicyStanding) -> list[str]:
    gain = "" if one.gain is None else _triple(one.gain, one.gain_low, one.gain_high, "+")
    worst = one.worst
    hurt = "" if not one.weeks_exchanged else f"{one.weeks_hurt} of {one.weeks_exchanged}"
    return [
        one.policy,
        _triple(one.mean, one.low, one.high),
        gain,
        "not known"
        if worst.value is None
        else f"{_triple(worst.value, worst.low, worst.high)} {worst.start}",
        f"{one.tried} ({one.shipped})",
        f"{one.incidents} ({one.reminders})",
        hurt + (f" ({one.weeks_surely_hurt})" if hurt else ""),
        _lost(one),
    ]


def _lost(one: PolicyStanding) -> str:
    if one.hurt_at_most is None:
        return ""
    return f"{one.promotions_hurt} of {one.promotions} ({one.promotions_proved} proved), at most {one.hurt_at_most:.0%}"


def _hurt(outcome: PolicyOutcome) -> str:
    """Say when retraining hurt."""
    hurt, total = outcome.hurt, len(outcome.exchanges)
    mean = sum(one.gain for one in outcome.exchanges) / total
    if not hurt:
        return (
            f"{outcome.policy}: no retrain hurt in any of {total} weeks ({_signed(mean)} in the mean week)."
        )
    worst = min(hurt, key=lambda one: one.gain)
    sure = sum(one.surely for one in hurt)
    doubt = "none of them significantly" if not sure else f"{sure} of them significantly"
    return (
        f"{outcome.policy}: in {len(hurt)} of {total} weeks the champion that a retrain replaced would have done better, "
        f"{doubt}; the worst is the week of {worst.start} ({_signed(worst.gain)}, {_signed(worst.low)} to "
        f"{_signed(worst.high)}). Over all these weeks the new champions were {_signed(mean)} in the mean week."
    )


def _triple(value: float, low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _each(outcome: PolicyOutcome) -> str:
    return "" if not outcome.retrains else f"{outcome.seconds / len(outcome.retrains):.1f} s"
