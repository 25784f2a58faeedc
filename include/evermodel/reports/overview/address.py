"""The browser address of MLflow: without a password, and only if a browser can open it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

NO_SERVER = (
    "This page requires an MLflow server, and MLflow is configured with a file or database address. "
    "Start a server on the same database, mlflow server --backend-store-uri ADDRESS, and set its http address in the "
    "Airflow connection mlflow_default or in MLFLOW_TRACKING_URI."
)


def server_address(tracking_uri: str) -> str:
    """Return the address of the server without user and password; empty if there is no server.

    >>> server_address("https://ada:secret@mlflow:5000/"), server_address("sqlite:////data/mlflow.db")
    ('https://mlflow:5000', '')
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def login_of(tracking_uri: str) -> tuple[str, str] | None:
    """Return user and password of an address.

    >>> login_of("http://ada:se%40cret@mlflow:5000"), login_of("http://mlflow:5000")
    (('ada', 'se@cret'), None)
    """
    parts = urlsplit(tracking_uri)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
