"""A small client of Airflow's REST API: trigger runs, wait for them, and read what they did."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from evermodel.core.errors import EvermodelError, TransientError

FINISHED = frozenset({"success", "failed"})
Answer = dict[str, Any]
_PAUSES = (0.2, 1.0, 3.0, 10.0)  # seconds


class AirflowUnavailableError(TransientError):
    """Airflow does not answer."""


class AirflowRequestError(EvermodelError):
    """Airflow refused a request."""


class RunFailedError(EvermodelError):
    """A DAG run failed, or did not end in time."""


class AirflowApi:
    """Airflow as one user sees it, over REST.

    Parameters
    ----------
    token
        A token made elsewhere; without one, a token is fetched as the local stack allows (every user is an admin).
    timeout
        Seconds that one request may take.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._client = httpx.Client(base_url=self.url, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def dag_ids(self) -> list[str]:
        """Return the ids of all DAGs that have been read so far."""
        return [dag["dag_id"] for dag in self._pages("/api/v2/dags", "dags")]

    def wait_for_dags(self, dag_ids: Iterable[str], timeout: float = 60.0) -> None:
        """Wait until Airflow has read these DAGs.

        Raises
        ------
        AirflowRequestError
            Some did not appear in time; the message has the import errors.
        """
        wanted, deadline = set(dag_ids), time.monotonic() + timeout
        while missing := wanted.difference(self.dag_ids()):
            if time.monotonic() > deadline:
                broken = "\n".join(f"{e['filename']}: {e['stack_trace']}" for e in self.import_errors())
                raise AirflowRequestError(
                    f"Airflow has not found the DAGs {', '.join(sorted(missing))} within {timeout:.0f} s\n{broken}",
                    "correct the files of these DAGs; see the dag-processor's log",
                )
            time.sleep(0.25)

    def import_errors(self) -> list[Answer]:
        """Return the errors of DAG files that cannot be read, each with ``filename`` and ``stack_trace``."""
        return self._pages("/api/v2/importErrors", "import_errors")

    def pause(self, dag_id: str) -> None:
        """Stop the schedule of a DAG."""
        self._call("PATCH", _dag(dag_id), json={"is_paused": True})

    def unpause(self, dag_id: str) -> None:
        """Start the schedule of a DAG."""
        self._call("PATCH", _dag(dag_id), json={"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        data_interval: tuple[datetime, datetime] | None = None,
    ) -> str:
        """Start a run, and return its id.

        Parameters
        ----------
        logical_date
            Date of the run; None for a run without a date. Without a time zone it is taken as UTC.
        data_interval
            Start and end of the data; by default what the DAG's timetable derives from the date.
        """
        # An id of our own, as Airflow would make it: so a request that is sent again starts nothing twice.
        run_id = run_id or f"manual__{datetime.now(UTC).isoformat()}"
        body: Answer = {"logical_date": _stamp(logical_date), "conf": dict(conf or {}), "dag_run_id": run_id}
        if data_interval is not None:
            body["data_interval_start"], body["data_interval_end"] = map(_stamp, data_interval)
        self._call("POST", f"{_dag(dag_id)}/dagRuns", json=body)
        return run_id

    def dag_run(self, dag_id: str, run_id: str) -> Answer:
        """Return one run."""
        run: Answer = self._call("GET", _run(dag_id, run_id)).json()
        return run

    def dag_runs(self, dag_id: str) -> list[Answer]:
        """Return the runs of a DAG, oldest first."""
        return self._pages(f"{_dag(dag_id)}/dagRuns", "dag_runs", order_by="id")

    def wait(self, dag_id: str, run_id: str, timeout: float = 600.0, poll: float = 0.2) -> Answer:
        """Wait until a run has ended, and return it, whether it succeeded or failed.

        Raises
        ------
        RunFailedError
            The run did not end in time; the message has the state of its tasks.
        """
        deadline = time.monotonic() + timeout
        while True:
            run = self.dag_run(dag_id, run_id)
            if run["state"] in FINISHED:
                return run
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"run {run_id} of {dag_id} is still {run['state']} after {timeout:.0f} s: "
                    + self._states(dag_id, run_id),
                    f"see {self.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}",
                )
            time.sleep(poll)

    def run(self, dag_id: str, timeout: float = 600.0, **trigger: Any) -> Answer:
        """Trigger a run (see `trigger`), wait for it, and return it.

        Raises
        ------
        RunFailedError
            The run failed; the message has the end of the log of each failed task.
        """
        run = self.wait(dag_id, self.trigger(dag_id, **trigger), timeout)
        if run["state"] != "success":
            raise RunFailedError(self.explain(dag_id, run["dag_run_id"]), "see the logs above")
        return run

    def explain(self, dag_id: str, run_id: str, lines: int = 30) -> str:
        """Say how the tasks of a run ended, with the end of the log of each one that failed."""
        parts = [f"run {run_id} of {dag_id}: {self._states(dag_id, run_id)}"]
        for task in self.task_instances(dag_id, run_id):
            if task["state"] == "failed":
                text = self.logs(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
                parts.append(f"--- {task['task_id']}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(parts)

    def task_instances(self, dag_id: str, run_id: str) -> list[Answer]:
        """Return the task instances of a run, each mapped one separately."""
        return self._pages(f"{_run(dag_id, run_id)}/taskInstances", "task_instances")

    def logs(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try of a task, one line for each event."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}/logs/{try_number}"
        headers = {"Accept": "application/x-ndjson"}
        response = self._call(
            "GET", path, params={"map_index": map_index, "full_content": True}, headers=headers
        )
        events = (json.loads(line) for line in response.text.splitlines() if line.strip())
        return "\n".join(line for event in events for line in _log_lines(event))

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return a value that a task has pushed."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}/xcomEntries/{quote(key)}"
        params = {"map_index": map_index, "deserialize": True}
        return self._call("GET", path, params=params).json()["value"]

    def _states(self, dag_id: str, run_id: str) -> str:
        return ", ".join(f"{t['task_id']} {t['state']}" for t in self.task_instances(dag_id, run_id))

    def _pages(self, path: str, key: str, **params: Any) -> list[Answer]:
        items: list[Answer] = []
        while True:
            answer = self._call("GET", path, params={"limit": 100, "offset": len(items), **params}).json()
            items += answer[key]
            if not answer[key] or len(items) >= answer["total_entries"]:
                return items

    def _fetch_token(self) -> str:
        answer = self._send("GET", "/auth/token")
        if answer.status_code not in (200, 201):
            raise AirflowRequestError(
                f"{self.url}/auth/token answered {answer.status_code}: {answer.text[:300]}",
                "pass a token; this Airflow requires a login",
            )
        self._token = str(answer.json()["access_token"])
        return self._token

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request, again while the database is busy: Airflow on SQLite then answers 500 and has done nothing."""
        answer, sent_again = self._authorized(method, path, **request), False
        for pause in _PAUSES:
            if not _busy(answer):
                break
            time.sleep(pause)
            answer, sent_again = self._authorized(method, path, **request), True
        if sent_again and answer.status_code == 409:  # it was done after all
            return answer
        if not answer.is_success:
            raise AirflowRequestError(
                f"{method} {self.url}{path} answered {answer.status_code}: {_detail(answer)}",
                "see the DAG's page in Airflow; the DAG and the run must exist",
            )
        return answer

    def _authorized(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = request.pop("headers", {})
        token = self._token or self._fetch_token()
        answer = self._send(method, path, headers={"Authorization": f"Bearer {token}", **headers}, **request)
        if answer.status_code == 401:  # the token has expired
            token = self._fetch_token()
            answer = self._send(
                method, path, headers={"Authorization": f"Bearer {token}", **headers}, **request
            )
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise AirflowUnavailableError(
                f"Airflow at {self.url} does not answer ({type(error).__name__}: {error})",
                "start it, or correct the address",
            ) from error


def _dag(dag_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}"


def _run(dag_id: str, run_id: str) -> str:
    return f"{_dag(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _stamp(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _busy(answer: httpx.Response) -> bool:
    return answer.status_code == 500 and "Database error" in answer.text


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def _log_lines(event: Answer) -> list[str]:
    """Return one event of a task's log as text, with the message of an exception if it has one."""
    lines = [f"{event.get('timestamp') or ''} {event.get('event', '')}".strip()]
    return lines + [f"{e.get('exc_type')}: {e.get('exc_value')}" for e in event.get("error_detail") or []]
