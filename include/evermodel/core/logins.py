"""Logins, kept apart from their addresses: an address may be printed, its login may not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from evermodel.core.errors import PermanentError

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

_GIVEN: dict[str, SecretStr] = {}  # by address without login: the text that had one


def split_login(address: str, *, forget: bool = False) -> str:
    """Return an address without user, password and query; `with_login` finds them again in this process.

    Parameters
    ----------
    forget
        An address without a login has none from now on, whatever was remembered before.

    Raises
    ------
    PermanentError
        The login has characters that an address cannot contain.
    """
    if "://" not in address:
        return address
    bare = without_login(address)
    if "://" not in bare:
        raise PermanentError(
            f"an address with the scheme {bare} cannot be read",
            "encode the characters / ? # @ : of its login, for example @ as %40",
        )
    if bare != address:
        from pydantic import SecretStr

        _GIVEN[bare.rstrip("/")] = SecretStr(address)
    elif forget:
        _GIVEN.pop(bare.rstrip("/"), None)
    return bare


def with_login(address: str) -> str:
    """Return an address as it was given, for a library that takes the login only inside the address."""
    given = _GIVEN.get(address.rstrip("/"))
    return given.get_secret_value() if given else address


def login_of(address: str) -> tuple[str, str] | None:
    """Return user and password of an address.

    >>> split_login("http://ada:se%40cret@mlflow:5000"), login_of("http://mlflow:5000")
    ('http://mlflow:5000', ('ada', 'se@cret'))
    """
    parts = urlsplit(with_login(address))
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def token_of(address: str) -> str | None:
    """Return the bearer token of an address: a password without a user.

    >>> split_login("https://:t0ken@mlflow"), token_of("https://mlflow"), login_of("https://mlflow")
    ('https://mlflow', 't0ken', None)
    """
    parts = urlsplit(with_login(address))
    return unquote(parts.password) if parts.password and not parts.username else None


def query_of(address: str) -> dict[str, str]:
    """Return the query that an address was given with, such as a token."""
    return dict(parse_qsl(urlsplit(with_login(address)).query))


def ask(
    address: str, path: str, timeout: float, headers: Mapping[str, str] | None = None, **options: Any
) -> httpx.Response:
    """Get a page of a server, with the login of its address; a token in `headers` takes the place of the address's.

    The error of `Response.raise_for_status` names the query, so that callers look at the status instead.

    Raises
    ------
    httpx.HTTPError
        There is no answer.
    """
    import httpx

    bare = split_login(address)
    url, query, login = f"{bare.rstrip('/')}{path}", query_of(bare), login_of(bare)
    token = token_of(bare)
    sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    log_hosts_only()
    return httpx.get(url, params=query, auth=login, headers=sent, timeout=timeout, trust_env=False, **options)


def log_hosts_only() -> None:
    """Have httpx log the host of a request and no more: path and query of a webhook are its password."""
    logging.getLogger("httpx").addFilter(_with_hosts_only)


def _with_hosts_only(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(_host(str(a)) if "://" in str(a) else a for a in record.args)
    return True


def _host(address: str) -> str:
    scheme, _, rest = without_login(address).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def address_of(url: str) -> str | None:
    """Return the longest address with a login that a URL begins with."""
    known = (bare for bare in _GIVEN if url == bare or url.startswith((f"{bare}/", f"{bare}?")))
    return max(known, key=len, default=None)


def without_login(address: str) -> str:
    """Return an address without user, password and query.

    >>> without_login("https://ada:secret@mlflow.example:5000/base?token=x")
    'https://mlflow.example:5000/base'
    >>> without_login("sqlite:////data/mlflow.db")
    'sqlite:////data/mlflow.db'
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # such as a password with a slash in it that nobody quoted
        return address.partition(":")[0]
    if not parts.scheme:
        return parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
