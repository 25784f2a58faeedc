"""How many requests a promotion and a rollback make, and that each of them may be the last one before a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from sqlalchemy import update

from evermodel.core.database.database import Database
from evermodel.core.database.tables import leases
from evermodel.core.errors import LeaseLostError, RegistryConflictError
from evermodel.deployment.rollback import roll_back
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.tags import AUDIT, KIND, PROMOTION
from support.registry_shelf import promoted

MODEL = "m"
FIRST = 4 * ["audit"]  # the log's first line, before the first alias moves; the run is searched for
LINE = 3 * ["audit"]  # each later one: the run that the tag names, the line, and the tag


class RecordingClient:
    """A registered model in memory, with the requests that were made; `lives` of them are answered."""

    def __init__(self, **aliases: str) -> None:
        self.aliases, self.tags, self.lines = dict(aliases), dict[str, str](), dict[str, str]()
        self.requests: list[str] = []
        self.lives: float = float("inf")
        self.deleted: set[str] = set()

    def _request(self, said: str) -> None:
        if self.lives <= 0:
            raise KeyboardInterrupt
        self.lives -= 1
        self.requests.append(said)

    def get_registered_model(self, name: str) -> Any:
        self._request("read")
        return SimpleNamespace(
            name=name, aliases=dict(self.aliases), tags=dict(self.tags), creation_timestamp=1
        )

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._request("audit" if key == AUDIT else "tag")
        self.tags[key] = value

    def get_experiment_by_name(self, name: str) -> Any:
        self._request("audit")
        return SimpleNamespace(experiment_id=name)

    def search_runs(self, *_: Any, **__: Any) -> list[Any]:
        return [self.get_run("audit")]

    def get_run(self, run_id: str) -> Any:
        self._request("audit")
        assert run_id == "audit"
        return SimpleNamespace(
            info=SimpleNamespace(run_id="audit", lifecycle_stage="active"),
            data=SimpleNamespace(params=dict(self.lines), tags={KIND: "audit"}),
        )

    def log_param(self, run_id: str, key: str, value: str) -> None:
        self._request("audit")
        assert key not in self.lines
        self.lines[key] = value

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._request(alias)
        if version in self.deleted:
            raise MlflowException(f"no version {version}", RESOURCE_DOES_NOT_EXIST)
        self.aliases[alias] = version

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        self._request(f"ask {alias}")
        raise MlflowException("none", RESOURCE_DOES_NOT_EXIST)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._request(f"delete {alias}")
        del self.aliases[alias]


@pytest.fixture
def client() -> Any:
    """Version 1 was promoted, then 2; version 3 waits."""
    made = RecordingClient(challenger="1")
    promote(made, "1", None)
    made.aliases["challenger"] = "2"
    promote(made, "2", "1")
    made.aliases["challenger"] = "3"
    made.requests.clear()
    return made


def promote(client: Any, version: str, expected: str | None, key: str = "") -> Promotion:
    registry = ModelRegistry(client)
    return promoted(
        registry,
        MODEL,
        version,
        expected=expected,
        by="ada",
        reason="why",
        run_key=key or f"r/{version}",
    )


def back(client: Any, key: str = "back") -> Promotion:
    return roll_back(client, MODEL, by="ada", reason="worse", run_key=key)


def served(client: Any) -> list[tuple[str | None, str]]:
    return [(p.previous, p.version) for p in ModelRegistry(client).read(MODEL).promotions]


def test_a_promotion_makes_four_requests_and_three_for_its_line_in_the_audit_log(client: Any) -> None:
    promote(client, "3", "2")

    assert client.requests == ["read", "tag", *LINE, "champion", "delete challenger", "previous"]
    assert client.aliases == {"champion": "3", "previous": "2"}
    assert served(client) == [(None, "1"), ("1", "2"), ("2", "3")]


def test_a_cold_start_and_a_promotion_of_no_challenger_make_no_more() -> None:
    client: Any = RecordingClient(challenger="1")
    promote(client, "1", None)
    assert client.requests == ["read", "tag", *FIRST, "champion", "delete challenger", "tag"]

    client.requests.clear()
    promote(client, "2", "1")
    assert client.requests == ["read", "tag", *LINE, "champion", "previous"]


def test_a_rollback_makes_no_more(client: Any) -> None:
    assert back(client).version == "1"

    assert client.requests == ["read", "tag", *LINE, "champion", "previous"]
    assert client.aliases == {"champion": "1", "previous": "2", "challenger": "3"}


def test_what_is_done_is_read_and_not_written_again(client: Any) -> None:
    done = promote(client, "3", "2")
    client.requests.clear()

    assert promote(client, "3", "2") == done
    assert client.requests == ["read"]


@contextmanager
def killed_after(client: Any, requests: int) -> Iterator[None]:
    client.lives = requests
    with pytest.raises(KeyboardInterrupt):
        yield
    client.lives = float("inf")


Act = Callable[[Any], Promotion]


def _promotes_3(client: Any) -> Promotion:
    return promote(client, "3", "2")


def _promotes_past_previous(client: Any) -> Promotion:
    """Promote over version 1, which somebody made champion by hand, so that ``previous`` need not move."""
    client.aliases |= {"champion": "1"} if client.aliases["champion"] == "2" else {}
    return promote(client, "3", "1", "by hand")


@pytest.mark.parametrize("act", [_promotes_3, back, _promotes_past_previous])
def test_killed_after_any_request_it_is_completed_by_doing_it_again(client: Any, act: Act) -> None:
    whole = copy.deepcopy(client)
    act(whole)
    for requests in range(len(whole.requests)):
        cut = copy.deepcopy(client)
        with killed_after(cut, requests):
            act(cut)
        assert len(served(cut)) == 2, "what is not whole is not in the history"

        done = act(cut)

        assert cut.aliases == whole.aliases
        assert served(cut) == served(whole)
        assert act(cut) == done


@pytest.mark.parametrize("requests", range(1, 8))
@pytest.mark.parametrize("act", [_promotes_3, back])
def test_whoever_comes_next_first_completes_what_was_cut_off(client: Any, act: Act, requests: int) -> None:
    whole = copy.deepcopy(client)
    done = act(whole)
    with killed_after(client, min(requests, len(whole.requests) - 1)):
        act(client)

    with pytest.raises(RegistryConflictError, match=f"the champion is version {done.version}, but version 4"):
        promote(client, "4", "2", "other")
    assert (client.aliases, served(client)) == (whole.aliases, served(whole))
    promote(client, "4", done.version, "other")
    assert served(client) == [*served(whole), (done.version, "4")]
    assert act(client).run_key == done.run_key
    assert client.aliases["champion"] == "4"


def test_a_rollback_without_a_key_completes_one_that_was_cut_off_and_goes_no_further(client: Any) -> None:
    promote(client, "3", "2")
    with killed_after(client, 5):
        back(client)

    done = roll_back(client, MODEL, by="eve", reason="worse")

    assert (done.by, done.run_key, done.version) == ("ada", "back", "2")
    assert served(client)[3:] == [("3", "2")]
    again = roll_back(client, MODEL, by="eve", reason="worse")
    assert (again.version, served(client)[4:]) == ("1", [("2", "1")])


@pytest.mark.parametrize("requests", [2, 5, 6])
def test_what_was_cut_off_is_given_up_if_the_champion_was_moved_by_hand(client: Any, requests: int) -> None:
    with killed_after(client, requests):
        promote(client, "3", "2")
    client.aliases["champion"] = "7"

    promote(client, "4", "7", "other")

    assert (client.aliases["champion"], served(client)[2:]) == ("4", [("7", "4")])


def test_what_mlflow_refuses_for_good_is_given_up_and_blocks_nothing(client: Any) -> None:
    with killed_after(client, 2):
        promote(client, "3", "2")
    client.deleted.add("3")

    assert back(client).version == "1"

    assert served(client)[2:] == [("2", "1")]


def _expire_all_leases(database: str) -> None:
    with Database(database).writing() as connection:
        connection.execute(update(leases).values(expires=0.0))


@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_a_process_that_wakes_up_after_its_lease_was_taken_over_undoes_its_late_move(
    client: Any, database: str, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps between its last look at the lease and its request; meanwhile another one completes, and promotes."""
    send = client.set_registered_model_alias

    def sent(name: str, moved: str, version: str) -> None:
        if moved == alias:
            monkeypatch.setattr(client, "set_registered_model_alias", send)
            _expire_all_leases(database)
            promote(client, "4", "3", "other")
            send(name, moved, version)
            assert client.aliases[moved] == version, "too late"
        else:
            send(name, moved, version)

    monkeypatch.setattr(client, "set_registered_model_alias", sent)
    with pytest.raises(LeaseLostError):
        promote(client, "3", "2")

    assert client.aliases == {"champion": "4", "previous": "3"}
    assert served(client)[1:] == [("1", "2"), ("2", "3"), ("3", "4")]


@pytest.fixture
def another_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Go on with an empty database, as after an earlier release, which had none."""
    return lambda: monkeypatch.setenv("EVERMODEL_DATABASE", f"sqlite:///{tmp_path}/another.db")


@pytest.mark.parametrize("requests", [2, 6, 7])
def test_what_was_cut_off_does_not_win_over_what_was_promoted_since(
    client: Any, requests: int, another_database: Callable[[], None]
) -> None:
    with killed_after(client, requests):
        promote(client, "3", "2")
    another_database()
    champion = client.aliases["champion"]
    other = promote(client, "4", champion, "other")

    with pytest.raises(RegistryConflictError):
        promote(client, "3", "2")

    assert client.aliases["champion"] == "4"
    assert served(client) == [(None, "1"), ("1", "2"), (champion, "4")]
    promote(client, "3", "4")  # judged again, against today's champion
    assert served(client)[2:] == [(other.previous, "4"), ("4", "3")]


def test_a_cut_off_promotion_is_no_short_cut_once_its_champion_is_back(
    client: Any, another_database: Callable[[], None]
) -> None:
    with killed_after(client, 2):
        promote(client, "3", "2")
    another_database()
    promote(client, "4", "2", "other")
    back(client)
    assert (client.aliases["champion"], len(served(client))) == ("2", 4)

    with pytest.raises(RegistryConflictError):
        promote(client, "3", "1")
    promote(client, "3", "2")

    assert served(client)[2:] == [("2", "4"), ("4", "2"), ("2", "3")]


def test_aliases_that_somebody_moved_by_hand_change_no_history(client: Any) -> None:
    promote(client, "3", "2")
    for champion in ("2", "7", None):
        client.aliases.pop("champion")
        client.aliases |= {} if champion is None else {"champion": champion}
        assert served(client) == [(None, "1"), ("1", "2"), ("2", "3")]
        assert promote(client, "3", "2").run_key == "r/3"
        assert client.aliases.get("champion") == champion


def test_a_promotion_whose_previous_version_was_deleted_is_completed(client: Any) -> None:
    with killed_after(client, 7):
        promote(client, "3", "2")
    client.deleted.add("2")

    promote(client, "3", "2")

    assert served(client)[-1] == ("2", "3")


@pytest.mark.slow
def test_records_of_before_are_read(client: Any) -> None:
    """What the first release wrote: each record with its mark, and no word on what came before."""
    lines = [(None, "1", True), ("1", "2", True), ("2", "3", False)]
    client.tags = {
        f"{PROMOTION}{version}": json.dumps(
            {
                "promotion": asdict(Promotion(version, previous, f"2026-01-0{version}T00:00:00.000+00:00", "a", "r", version)),
                "complete": complete,
            }
        )
        for previous, version, complete in lines
    }  # fmt: skip
    client.aliases = {"champion": "3", "previous": "1"}
    assert served(client) == [(None, "1"), ("1", "2")]

    promote(client, "3", "2", "3")

    assert served(client) == [(None, "1"), ("1", "2"), ("2", "3")]
    assert client.aliases == {"champion": "3", "previous": "2"}
    promote(client, "4", "3", "4")
    assert served(client)[-1] == ("3", "4")
