"""Real object stores on loopback: moto's S3 server, and Azure's emulator azurite where npm has installed it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.storage import BucketPath

_ACCOUNT = "devstoreaccount1"
# The key of every emulator, published by Microsoft: no secret.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def s3_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """Start moto's S3 server and yield its address."""
    pytest.importorskip("moto", reason="the S3 server of the tests is not installed: moto[s3]")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request is a third of its time
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_s3_bucket(endpoint: str) -> BucketPath:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    httpx.put(f"{endpoint}/{name}", trust_env=False).raise_for_status()
    return BucketPath("s3", name)


@contextmanager
def azure_server(folder: Path) -> Iterator[str]:
    """Start azurite and yield the address of its blobs."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azure's emulator is not installed: npm install -g azurite")
    port = free_port()
    command = [
        program,
        "--silent",
        "--skipApiVersionCheck",
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
    ]
    command += ["--location", str(folder), "--disableTelemetry"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        transport = httpx.HTTPTransport(retries=8)  # it takes a second or two to start
        with httpx.Client(transport=transport, trust_env=False) as client:
            client.get(f"http://127.0.0.1:{port}/{_ACCOUNT}")
        yield f"http://127.0.0.1:{port}/{_ACCOUNT}"
    finally:
        process.terminate()
        process.wait(20)


def azure_environment(endpoint: str) -> dict[str, str]:
    said = f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={endpoint};"
    return {"AZURE_STORAGE_CONNECTION_STRING": said, "NO_PROXY": "127.0.0.1"}


def new_azure_container(endpoint: str) -> BucketPath:
    """Make a container; the request is signed as Azure's reference of Shared Key says."""
    name = f"container-{uuid.uuid4().hex[:12]}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    text = "PUT" + "\n" * 12 + canonical + resource
    digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
    url = f"{endpoint}/{name}?restype=container"
    httpx.put(url, headers=headers, trust_env=False).raise_for_status()
    return BucketPath("az", name)
