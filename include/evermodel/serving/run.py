"""Run the serving app with uvicorn."""

from __future__ import annotations

import logging
import sys

from evermodel.serving.app import create_app


def serve(models: list[str], host: str = "127.0.0.1", port: int = 8000, poll_seconds: float = 2.0) -> None:
    """Serve models until the process is told to end; what was answered is then written to the prediction log.

    Parameters
    ----------
    models
        Names (or spec files) of the models to serve.
    host
        Address to listen on; the default is reachable from this machine only.
    port
        Port to listen on.
    poll_seconds
        Pause between two looks at the registry.

    Raises
    ------
    SpecError
        A spec cannot be used.
    """
    import uvicorn

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    # Each look at the registry would otherwise be a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # The thread that loads a new version must not keep requests waiting for longer than this.
    sys.setswitchinterval(0.001)
    app = create_app(models, poll_seconds=poll_seconds)
    uvicorn.run(app, host=host, port=port, access_log=False, timeout_graceful_shutdown=10)
