"""The commands that run a whole retrain without Airflow, and train a version again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.exit_codes import NO
from evermodel.cli.messages import send
from evermodel.cli.options import AsJson, AsOf, Model, Version, moment_of, read_spec
from evermodel.core.environment import os_user
from evermodel.registry.tags import RetrainOutcome
from evermodel.registry.tracking import connect

if TYPE_CHECKING:
    from types import FrameType

    from evermodel.pipelines.retrain import Retrain
    from evermodel.pipelines.run_retrain import RetrainResult


def train(
    model: Model,
    as_of: AsOf = None,
    reason: Annotated[str, typer.Option(help="Reason, stored with the version.")] = "by hand, command line",
    candidate: Annotated[
        list[str] | None, typer.Option(help="Candidate to train, repeatable. Default: all.")
    ] = None,
    force_reason: Annotated[
        str, typer.Option(help="Ship regardless of the gates, for this reason, stored with the decision.")
    ] = "",
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve the version, if the spec requires approval.")
    ] = False,
    run_key: Annotated[str, typer.Option(help="Idempotency key. Default: made of model, day and spec.")] = "",
    as_json: AsJson = False,
) -> None:
    """Retrain: extract, validate, train, evaluate, register, deploy; exit 3 if the champion stays.

    With a `rollout.strategy` other than direct the version's rollout starts instead, also with exit code 0.
    A repetition with the same day and spec is the same retrain: completed steps are skipped.
    """
    from evermodel.pipelines.deploy import require_approver_login
    from evermodel.pipelines.run_retrain import run_retrain

    output.quiet_libraries()
    (spec, settings), moment = read_spec(model), moment_of(as_of)
    who = os_user()
    if approve or force_reason:
        require_approver_login(spec, who, force=bool(force_reason))
    with output.step("start") as say:
        from evermodel.pipelines.retrain import Retrain

        key = run_key or f"retrain/{spec.name}/{moment:%Y-%m-%d}-{spec.digest[:8]}"
        retrain = Retrain(spec, key, moment, reason, connect(settings.tracking_uri), settings)
        say(f"{spec.name} as of {moment:%Y-%m-%d}, MLflow at {settings.tracking_uri}")
    with _ended_by_signals():
        result = run_retrain(
            retrain,
            output.step,
            candidates=candidate or (),
            force_reason=f"{force_reason} ({who})" if force_reason else None,
            approved_by=who if approve else ("auto" if spec.approval == "auto" else None),
        )
    _tell(retrain, result)
    send(settings)
    if as_json:
        output.print_json(asdict(result))
    else:
        _show(retrain, result)
    raise typer.Exit(0 if result.outcome in (RetrainOutcome.DEPLOYED, RetrainOutcome.ROLLING_OUT) else NO)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C does, so that the retrain ends in MLflow, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _tell(retrain: Retrain, result: RetrainResult) -> None:
    """Queue the message about the outcome, once per outcome."""
    from evermodel.alerts.publisher import Publisher, clock, message_queue
    from evermodel.alerts.retrain_message import retrain_message
    from evermodel.pipelines.run_retrain import retrain_summary
    from evermodel.registry.approval import Approval

    if result.again or result.outcome == RetrainOutcome.WAITS:
        return
    promotion = result.promotion
    approval = Approval(True, promotion.by, promotion.version) if promotion else None
    ending = retrain_summary(retrain, version=result.version, outcome=result.outcome, approval=approval)
    message, url = retrain_message(ending), next(iter(ending["links"].values()), "")
    publisher = Publisher(message_queue(retrain.settings), retrain.spec, clock())
    publisher.announce("retrain", message, thread=ending.get("thread", ""), url=url)


def _show(retrain: Retrain, result: RetrainResult) -> None:
    from evermodel.reports.retrain.log_decision_page import evidence_links
    from evermodel.reports.retrain.text import gate_table, headline, interval, why

    decision, model = result.decision, retrain.spec.name
    if result.again:
        typer.echo(f"This retrain already ended ({result.run_key}); nothing was repeated.")
    output.print_table(
        f"{model}: {headline(decision)[1]}",
        ("verdict", "gate", "#value", "threshold", "evidence"),
        [[str(cell) for cell in row] for row in gate_table(decision.gates).rows],
    )
    typer.echo(" ".join(why(decision)))
    typer.echo(
        f"{decision.metric}: challenger {interval(decision.challenger)}, champion {interval(decision.champion)}, "
        f"gain {interval(decision.gain, '+')}, {decision.rows:,} test rows"
    )
    typer.echo(_ending(model, result))
    if retrain.settings.tracking_uri.startswith("http"):
        for label, address in evidence_links(retrain.settings.tracking_uri, retrain.read_run()).items():
            typer.echo(f"  {label}: {address}")


def _ending(model: str, result: RetrainResult) -> str:
    if result.promotion is not None:
        return f"Version {result.version} is champion. To serve it: evermodel serve {model}"
    if result.outcome == RetrainOutcome.ROLLING_OUT:
        return (
            f"Version {result.version} is being rolled out; the champion stays until it ends. "
            f"To advance the rollout: evermodel rollout advance {model}"
        )
    if result.outcome == RetrainOutcome.WAITS:
        return (
            f"Version {result.version} waits for approval. To approve it: "
            f'evermodel promote {model} {result.version} --reason "…"'
        )
    stays = result.decision.parent
    return f"Version {stays} stays champion." if stays else "The model still has no champion."


def reproduce(model: Model, version: Version, as_json: AsJson = False) -> None:
    """Train a version again from its snapshot, spec and parameters; exit 1 unless it is reproduced."""
    from evermodel.core.settings import Settings
    from evermodel.pipelines.reproduce import reproduce as again

    settings = Settings.from_environment()
    with output.step("reproduce") as say:
        found = again(connect(settings.tracking_uri), model, version, settings)
        say("answers are identical" if found.identical else f"{found.different_rows:,} answers differ")
    output.answer(as_json, asdict(found), "\n".join(found.sentences()))
    raise typer.Exit(0 if found.reproduced else 1)
