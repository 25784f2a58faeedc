"""Make MLflow's logins `airflow`, which may write, and `serving`, which only reads; may be run again."""

from __future__ import annotations

import os

_RIGHTS = {"airflow": "MANAGE", "serving": "READ"}


def main() -> None:
    """Create each login with its role, or set its password, as the administrator that the environment names."""
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.client import AuthServiceClient

    client = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    roles = {role.name: role.id for role in client.list_roles("default")}
    for name, right in _RIGHTS.items():
        password = os.environ[f"MLFLOW_{name.upper()}_PASSWORD"]
        try:
            client.create_user(name, password)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            client.update_user_password(name, password)
        role = roles.get(name) or client.create_role("default", name).id
        given = {grant.resource_type for grant in client.list_role_permissions(role)}
        for kind in sorted({"experiment", "registered_model"} - given):
            client.add_role_permission(role, kind, "*", right)
        if role not in {assigned.id for assigned in client.list_user_roles(name)}:
            client.assign_role(name, role)
        print(f"MLflow's login {name} has the right {right}")


if __name__ == "__main__":
    main()
