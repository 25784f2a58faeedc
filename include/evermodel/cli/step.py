"""The command that runs one step of a pipeline for another process, such as an Airflow task without the step's libraries."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from evermodel import __version__
from evermodel.cli.exit_codes import DONE, FAILED, TRY_AGAIN
from evermodel.core.errors import EvermodelError, PermanentError, StepContractError
from evermodel.core.extras import named_extras
from evermodel.core.step_contract import StepAnswer, StepRequest, error_to_json

_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_QUIET = ("alembic", "httpx", "matplotlib", "urllib3")


def step(
    name: Annotated[str, typer.Argument(help="Step, such as extract or train; see Steps elsewhere.")],
    source: Annotated[
        str, typer.Option("--input", help="File of the request, JSON. Default: stdin.", metavar="FILE")
    ] = "-",
    target: Annotated[
        str, typer.Option("--output", help="File for the answer, JSON. Default: stdout.", metavar="FILE")
    ] = "-",
    parent: Annotated[
        int | None, typer.Option(help="Number of the calling process, whose end kills this one (Linux).")
    ] = None,
) -> None:
    """Run one step of a pipeline: a JSON request in, a JSON answer out, logs on stderr.

    Exit code 1 is an error that stays, 75 one that a retry may cure; the answer names it. The step obeys the same rules as
    the other commands: a version is promoted only with a decision that ships and the approval that is stored with it.
    """
    if parent is not None:
        _end_with(parent)
    out = None if target != "-" else _own_stdout()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in _QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    answer, code = _answer(name, source)
    if out is None:
        Path(target).write_text(answer.dumps() + "\n", encoding="utf-8")
    else:
        with os.fdopen(out, "w", encoding="utf-8") as stdout:
            stdout.write(answer.dumps() + "\n")
    raise typer.Exit(code)


def _answer(name: str, source: str) -> tuple[StepAnswer, int]:
    try:
        with named_extras():
            return StepAnswer(name, __version__, result=_run(name, _text(source))), DONE
    except Exception as error:  # whatever a step raises, the caller gets an answer
        if not isinstance(error, EvermodelError):
            logging.getLogger(__name__).exception("The step %s failed", name)
        code = FAILED if isinstance(error, PermanentError) else TRY_AGAIN
        return StepAnswer(name, __version__, error=error_to_json(error)), code


def _run(name: str, text: str) -> dict[str, object]:
    from evermodel.core.settings import Settings
    from evermodel.pipelines.steps import StepWork, run_step
    from evermodel.registry.tracking import connect
    from evermodel.spec import load_spec, spec_folder

    request = StepRequest.loads(text)
    settings = Settings.from_environment().with_models(spec_folder(request.model))
    spec = load_spec(request.model, settings)
    return run_step(name, StepWork(spec, request, lambda: connect(settings.tracking_uri), settings))


def _text(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StepContractError(f"the request cannot be read ({error})", "name a file with JSON") from None


def _own_stdout() -> int:
    """Return stdout for the answer alone: what libraries print goes to stderr from now on."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew
        sys.exit(FAILED)
