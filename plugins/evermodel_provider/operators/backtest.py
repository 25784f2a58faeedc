"""Backtest of retrain policies on a model's history: one task per policy, then the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from evermodel.pipelines.backtest.policies import DEFAULT_POLICIES, POLICIES
from evermodel_provider.operators.base import ModelOperator, optional

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.pipelines.backtest.plan import Plan
    from evermodel_provider.results import BacktestResult, PolicyResult


def backtest_form() -> dict[str, Param]:
    """Return the form that starts a backtest."""
    names = list(POLICIES)
    return {
        "start": optional(
            "Start", "Day of the first champion. Default: the first possible one.", format="date"
        ),
        "end": optional(
            "End", "Day after the last. Default: up to the last day with matured labels.", format="date"
        ),
        "policies": Param(
            list(DEFAULT_POLICIES),
            type="array",
            items={"type": "string", "enum": names},
            examples=names,
            title="Policies",
            description="When each retrains; the report compares them.",
        ),
        "step": Param(
            "7d",
            type="string",
            enum=["7d", "1d"],
            title="Step",
            description="Time between two drift verdicts. 1d matches production and takes longer.",
        ),
        "known": optional(
            "Known", "Column with the time at which a row, or a version of it, was known. Default: none."
        ),
    }


class BacktestPlanOperator(ModelOperator):
    """Read the model's history once and plan the replay.

    Returns the names of the policies, to map over; pushes the plan, which the other backtest operators take, as ``plan``.

    :param start: Day of the first champion; empty: the first possible one. (templated)
    :param end: Day after the last; empty: up to the last day with matured labels. (templated)
    :param policies: Names of the policies. (templated)
    :param step: Time between two drift verdicts: 7d or 1d. (templated)
    :param known: Column with the time at which a row was known; empty: none. (templated)
    """

    template_fields: Sequence[str] = (
        *ModelOperator.template_fields,
        "start",
        "end",
        "policies",
        "step",
        "known",
    )

    def __init__(
        self,
        *,
        start: Any = "{{ params.start }}",
        end: Any = "{{ params.end }}",
        policies: Any = "{{ params.policies }}",
        step: str = "{{ params.step }}",
        known: Any = "{{ params.known }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.policies = policies
        self.step = step
        self.known = known

    def run_step(self, context: Context) -> list[str]:
        """Make the plan."""
        from evermodel.pipelines.backtest.plan import make_plan
        from evermodel.spec.parts import parse_span

        plan = make_plan(
            self.spec,
            self.hook.settings.state / "backtests" / self.spec.name,
            start=_given(self.start),
            end=_given(self.end),
            step=parse_span(self.step),
            policies=list(self.policies or ()),
            known=_given(self.known),
        )
        names = [policy.name for policy in plan.policies]
        self.log.info("%s, %s to %s: %s", self.spec.name, plan.start.date(), plan.end.date(), names)
        context["ti"].xcom_push(key="plan", value=plan.to_json())
        return names


class _PlannedOperator(ModelOperator):
    """Base of the operators that continue a plan.

    :param plan: What `BacktestPlanOperator` pushed. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def planned(self) -> Plan:
        """Return the plan."""
        from evermodel.pipelines.backtest.plan import Plan

        return Plan.from_json(self.spec, self.plan)


class BacktestPolicyOperator(_PlannedOperator):
    """Replay one policy; map it over the plan's policies. An interrupted replay continues from its cache.

    Returns a `PolicyResult`: the numbers of retrains tried, versions promoted and alerts sent.

    :param policy: Name of the policy. (templated)
    """

    template_fields: Sequence[str] = (*_PlannedOperator.template_fields, "policy")

    def __init__(self, *, policy: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy

    def run_step(self, context: Context) -> PolicyResult:
        """Replay the policy."""
        from evermodel.pipelines.backtest.replay import replay_policy

        outcome = replay_policy(self.planned(), POLICIES[self.policy])
        tried = len(outcome.retrains)
        self.log.info("%s: %d retrains tried, %d promoted", self.policy, tried, outcome.shipped)
        return {
            "policy": self.policy,
            "tried": tried,
            "shipped": outcome.shipped,
            "alerts": len(outcome.alerts),
        }


class BacktestReportOperator(_PlannedOperator):
    """Compare the policies of a plan, and store report, plot and data in MLflow and in the lake.

    Returns a `BacktestResult`: the digest of the result, its address in MLflow, and its findings, in sentences.
    """

    def run_step(self, context: Context) -> BacktestResult:
        """Compare and write the report."""
        from evermodel.pipelines.backtest.run import comparison_of, record_backtest, write_report
        from evermodel.pipelines.backtest.text import findings

        plan = self.planned()
        comparison = comparison_of(plan)
        files = write_report(comparison, plan.work / "reports" / comparison.digest)
        address = record_backtest(self.hook.get_conn(), self.hook.settings.tracking_uri, comparison, files)
        for sentence in findings(comparison):
            self.log.info("%s", sentence)
        self.log.info("Report: %s (also %s)", address, files.page)
        return {"result": comparison.digest, "report": address, "findings": findings(comparison)}


def _given(value: object) -> str | None:
    """Return a form's value as text; a native template may have parsed a date, and an empty field is None."""
    return None if value in (None, "", "None") else str(value)
