"""The address of a lake: the path of a folder, or the URL of a bucket."""

from __future__ import annotations

import re
from pathlib import Path

from evermodel.core.errors import SettingsError, UnsafePathError
from evermodel.core.extras import OF_SCHEME, install_command, is_installed
from evermodel.core.logins import without_login
from evermodel.core.storage.bucket import BucketPath

StoragePath = Path | BucketPath
_SCHEMES = ("s3", "gs", "az")
_ALIASES = {"azure": "az", "gcs": "gs"}  # as DVC and fsspec spell them, too


def is_url(text: str) -> bool:
    """Tell whether a text is a URL and no path.

    >>> is_url("s3://bucket/lake"), is_url("s3:/bucket"), is_url("/data/a:/b"), is_url("C:/data")
    (True, True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def storage_path(text: str, name: str) -> StoragePath:
    """Return the place that a variable names; the bucket itself is checked at its first use.

    Parameters
    ----------
    text
        A path, or ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``.
    name
        The variable, for errors.

    Raises
    ------
    SettingsError
        The URL has another scheme, no bucket, or a login; or the package for buckets is not installed.
    """
    if not is_url(text):
        return Path(text).expanduser().absolute()
    bare = without_login(text)
    found = re.fullmatch(r"(\w+)://([^/]+)/?(.*)", bare)
    scheme = _ALIASES.get(found[1], found[1]) if found else ""
    if found is None or scheme not in _SCHEMES:
        raise SettingsError(
            f"{name} is {bare}, which is no folder and no bucket that can be used",
            "set it to the path of a folder, or to s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
        )
    if bare != text:
        raise SettingsError(
            f"{name} is {bare} with a login or a query",
            "remove them, and set the credentials as variables of the store (docs/settings.md#the-lake-in-a-bucket)",
        )
    if not is_installed("obstore"):
        raise SettingsError(
            f"{name} is {bare}, which needs the package obstore",
            install_command([OF_SCHEME[scheme]]),
        )
    try:
        root = BucketPath(scheme, found[2])
        return root / found[3].strip("/") if found[3].strip("/") else root
    except UnsafePathError as error:
        raise SettingsError(f"{name} is {bare}: {error.problem}", "correct the prefix") from error
