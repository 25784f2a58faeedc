"""The Airflow user of a name, and a short token for Airflow's own API as this user."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.configuration import conf

_TOKEN_SECONDS = 60


def token_for(name: str) -> tuple[str, str] | None:
    """Return a user's id, and a token of one minute for Airflow's API as this user.

    :param name: Name of the user in Airflow.
    :returns: None if the user does not exist, the account is disabled, or the auth manager cannot look up users (then
        only the form works).
    """
    manager: Any = get_auth_manager()
    found = find_user(name)
    if found is None:
        return None
    return str(found.get_id()), manager.generate_jwt(found, expiration_time_in_seconds=_TOKEN_SECONDS)


def find_user(name: str) -> Any:
    """Return the auth manager's user of a name; None as for `token_for`."""
    manager: Any = get_auth_manager()
    kinds = {base.__name__ for base in type(manager).__mro__}
    if "SimpleAuthManager" in kinds:
        return _simple(manager, name)
    if "FabAuthManager" in kinds:
        return _fab(name)
    return None


def _simple(manager: Any, name: str) -> Any:
    if conf.getboolean("core", "simple_auth_manager_all_admins"):
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        return SimpleAuthManagerUser(username=name, role="ADMIN")
    return next((user for user in manager.get_users() if user.username == name), None)


def _fab(name: str) -> Any:
    from airflow.providers.fab.auth_manager.models import User
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        user = session.scalar(select(User).where(User.username == name))
        return user if user is not None and user.is_active else None
