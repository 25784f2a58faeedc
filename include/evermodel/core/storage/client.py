"""The clients of object stores, with the credentials of the environment, and their errors in words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import StorageError, StorageUnavailableError
from evermodel.core.extras import is_installed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_DOCS = "docs/settings.md#the-lake-in-a-bucket"
_CLIENT: Any = {"connect_timeout": "5s", "timeout": "120s"}
_RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_NO_ACCESS = (
    "Missing AccessKey",
    "Missing SecretAccessKey",
    "InstanceCredentials",
    "169.254.169.254",
    "metadata.google",
)


def store_of(scheme: str, bucket: str) -> ObjectStore:
    """Return this process's client of a bucket; its first request tells whether the bucket can be read.

    Raises
    ------
    StorageError
        There is no such bucket, or no credentials that may read it.
    StorageUnavailableError
        The store does not answer.
    """
    require_own_process("a bucket")
    return _opened(scheme, bucket)


def table_options(scheme: str) -> dict[str, str]:
    """Return the storage options of `deltalake`, from the same variables; credentials of AWS and Google it finds itself."""
    env = os.environ
    common = {"max_retries": str(_RETRY["max_retries"]), "retry_timeout": "30s", **_CLIENT}
    if scheme == "s3":
        options = _s3_options(env)
        # A commit is a conditional write, which needs no table of locks.
        found = {f"aws_{name}": value for name, value in options.items()} | {"aws_conditional_put": "etag"}
    else:
        options = found = _az_options(env) if scheme == "az" else {}
    return common | found | {"allow_http": str(_plain_http(options)["allow_http"]).lower()}


@cache
def _opened(scheme: str, bucket: str) -> ObjectStore:
    import obstore

    url = f"{scheme}://{bucket}"
    with translated(url):
        store: ObjectStore = _BUILDERS[scheme](bucket, os.environ)
        next(iter(obstore.list(store, chunk_size=1)), None)
    return store


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn errors of a store into those that say what to do; an object that is not there is `FileNotFoundError`.

    Raises
    ------
    FileExistsError
        The condition of a write does not hold.
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise FileExistsError(f"{url}: {without_secrets(error)}") from None
    except FileNotFoundError as error:
        if any(sign in str(error) for sign in _NO_BUCKET):
            raise _no_bucket(url) from None
        raise FileNotFoundError(f"{url} does not exist") from None
    except (exceptions.UnauthenticatedError, exceptions.PermissionDeniedError) as error:
        raise _no_access(url, error) from None
    except (exceptions.BaseError, ValueError) as error:
        if any(sign in str(error) for sign in _NO_BUCKET):
            raise _no_bucket(url) from None
        if any(sign in str(error) for sign in _NO_ACCESS):
            raise _no_access(url, error) from None
        raise StorageUnavailableError(
            f"{url} cannot be reached: {without_secrets(error)}",
            "check that the store is up and its endpoint right, then run this again",
        ) from None


def _no_bucket(url: str) -> StorageError:
    bucket = "/".join(url.split("/")[:3])
    return StorageError(f"{url}: there is no bucket {bucket}", "create it, or correct the URL")


def _no_access(url: str, error: Exception) -> StorageError:
    return StorageError(
        f"{url}: the store accepts no credentials of this process: {without_secrets(error)}",
        f"set the variables of the store, or the role of this machine: {_DOCS}",
    )


def without_secrets(error: Exception) -> str:
    """Return the first lines of a store's error; a query may hold a signature."""
    text = str(error).split("\n\nDebug source", 1)[0]
    code = re.search(r"Code>(\w+)</", text)
    short = re.sub(r"\?\S*", "", text.split("<?xml", 1)[0]).strip(" :\n")
    return f"{short[:300]} ({code[1]})" if code else short[:300]


_used_in: set[int] = set()


def require_own_process(what: str) -> None:
    """Refuse a process that was forked from one with a client: its threads are gone, and it would wait for ever.

    Raises
    ------
    StorageError
        The client was used before the fork.
    """
    _used_in.add(os.getpid())
    if len(_used_in) > 1:
        raise StorageError(
            f"this process was forked from one that already uses {what}",
            f"start it as a new process (multiprocessing: `spawn`), or use {what} only after the fork",
        )


def _s3(bucket: str, env: Mapping[str, str]) -> ObjectStore:
    """Make a client of S3 and what speaks its language.

    Keys of the environment are taken as they are; without them boto3 looks where AWS's tools look.
    """
    from obstore.store import S3Store

    options: dict[str, Any] = {**_s3_options(env)}
    client = _CLIENT | _plain_http(options)
    if not {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"} & env.keys() and is_installed("boto3"):
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = boto3.session.Session()
        if session.get_credentials() is None:
            raise _no_access(f"s3://{bucket}", ValueError("boto3 finds none"))
        options["credential_provider"] = Boto3CredentialProvider(session)
    return S3Store(bucket, **options, client_options=client, retry_config=_RETRY)


def _s3_options(env: Mapping[str, str]) -> dict[str, str]:
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    return {name: value for name, value in {"endpoint": endpoint, "region": region}.items() if value}


def _plain_http(options: Mapping[str, str]) -> dict[str, bool]:
    return {"allow_http": options.get("endpoint", "").startswith("http://")}


def _gs(bucket: str, env: Mapping[str, str]) -> ObjectStore:
    from obstore.store import GCSStore

    return GCSStore(bucket, client_options=_CLIENT, retry_config=_RETRY)


def _az(container: str, env: Mapping[str, str]) -> ObjectStore:
    from obstore.store import AzureStore

    options: dict[str, Any] = {**_az_options(env)}
    client = _CLIENT | _plain_http(options)
    return AzureStore(container, **options, client_options=client, retry_config=_RETRY)


def _az_options(env: Mapping[str, str]) -> dict[str, str]:
    """Read Azure's variables; the connection string, which DVC and fsspec read too, goes before single ones."""
    pairs = (
        part.partition("=") for part in env.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";") if part
    )
    given = {name: value for name, _, value in pairs}
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "BlobEndpoint": "endpoint",
        "SharedAccessSignature": "sas_key",
    }
    options = {names[name]: value for name, value in given.items() if name in names}
    if "endpoint" not in options and env.get("AZURE_STORAGE_ENDPOINT"):
        options["endpoint"] = env["AZURE_STORAGE_ENDPOINT"]
    return options


_BUILDERS = {"s3": _s3, "gs": _gs, "az": _az}
