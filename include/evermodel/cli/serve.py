"""The command that serves champions over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from evermodel.cli.options import model_names


def serve(
    models: Annotated[list[str], typer.Argument(help="Models to serve.", autocompletion=model_names)],
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two reads of the registry.")] = 2.0,
    workers: Annotated[int, typer.Option(min=1, help="Number of serving processes.")] = 1,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log each prediction request, without its values.")
    ] = False,
    limit_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Connection limit of one process; beyond it a 503.")
    ] = None,
) -> None:
    """Serve the champions over HTTP, and follow every promotion without a restart."""
    from evermodel.serving.run import serve as run

    run(
        models,
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        workers=workers,
        access_log=access_log,
        limit_concurrency=limit_concurrency,
    )
