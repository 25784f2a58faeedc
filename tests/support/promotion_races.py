"""Promotions and rollbacks of one model at once in real processes, and kills at random instants; what is wrong afterwards.

By itself a longer run, which prints its counts: `python -m support.promotion_races http://127.0.0.1:5000 300`, in the folder
tests, with EVERMODEL_DATABASE set.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from evermodel.core.errors import RegistryConflictError
from evermodel.deployment.rollback import roll_back
from evermodel.registry.audit import verify
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.tracking import connect
from support.killed_steps import FORK
from support.registry_shelf import Shelf, promoted

Act = Callable[[ModelRegistry], Any]


class Races:
    """One model whose versions 1 to 3 are promoted and rolled back in rounds; each check adds to `wrong`."""

    def __init__(self, tracking_uri: str, seed: int) -> None:
        self.uri, self.random, self.shelf = tracking_uri, random.Random(seed), Shelf(tracking_uri)
        self.registry, self.model = ModelRegistry(self.shelf.client), self.shelf.name
        self.versions = [self.shelf.register(f"key {number}") for number in range(3)]
        began = time.monotonic()
        self.promotion("1", None, "first")(self.registry)
        self.promotion("2", "1", "second")(self.registry)
        self.usual = (time.monotonic() - began) / 2  # seconds
        self.number, self.wrong, self.counts = 0, list[str](), Counter[str]()

    @property
    def entry(self) -> RegistryEntry:
        return self.registry.read(self.model)

    def promotion(self, version: str, expected: str | None, key: str) -> Act:
        return lambda registry: promoted(
            registry, self.model, version, expected=expected, run_key=key, by="ada", reason="why"
        )

    def rollback(self, key: str) -> Act:
        return lambda registry: roll_back(registry.client, self.model, by="eve", reason="worse", run_key=key)

    def at_once(self) -> None:
        """Promote the two versions that do not serve at once; or one, while the champion is rolled back."""
        self.number += 1
        before = self.entry
        one, two = (version for version in self.versions if version != before.champion)
        back, key = self.number % 3 == 0, f"{self.number}/two"
        other = self.rollback(key) if back else self.promotion(two, before.champion, key)
        acts = [self.promotion(one, before.champion, f"{self.number}/one"), other]
        barrier, answers = FORK.Barrier(2), FORK.Queue()
        both = [FORK.Process(target=self._act, args=(act, barrier, answers)) for act in acts]
        for process in both:
            process.start()
        said = sorted(answers.get(timeout=60) for _ in both)
        for process in both:
            process.join(60)
        self.counts[" and ".join(said)] += 1
        # Promotion then rollback is an order; rollback then promotion is refused; two promotions never both take place.
        allowed = [["conflict", "done"], ["done", "done"]] if back else [["conflict", "done"]]
        if said not in allowed:
            self.wrong.append(f"round {self.number}: {said}")
        self._check(len(before.promotions) + said.count("done"))

    def killed(self) -> None:
        """Kill a promotion or a rollback at a random instant; whoever comes next promotes another version."""
        self.number += 1
        before = self.entry
        one, two = (version for version in self.versions if version != before.champion)
        key = f"{self.number}/killed"
        act = self.promotion(one, before.champion, key) if self.number % 3 else self.rollback(key)
        barrier, answers = FORK.Barrier(2), FORK.Queue()
        process = FORK.Process(target=self._act, args=(act, barrier, answers))
        process.start()
        barrier.wait(30)
        time.sleep(self.random.uniform(0, 1.5 * self.usual))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(30)
        with self.registry.holding(self.model) as held:
            self.counts["completed" if held.completed else "nothing to complete"] += 1
        now = self.entry
        self._check(len(before.promotions) + bool(now.completed(key)))
        act(self.registry)  # the same step again
        after = self.entry
        self._check(len(before.promotions) + 1)
        free = two if two != after.champion else one
        self.promotion(free, after.champion, f"{self.number}/next")(self.registry)
        self._check(len(before.promotions) + 2)

    def _act(self, act: Act, barrier: Any, answers: Any) -> None:
        registry = ModelRegistry(connect(self.uri))
        barrier.wait(30)
        try:
            act(registry)
            answers.put("done")
        except RegistryConflictError:
            answers.put("conflict")
        except Exception as error:  # noqa: BLE001  the parent shows it
            answers.put(repr(error))

    def _check(self, promotions: int) -> None:
        entry = self.entry
        past, where = entry.promotions, f"round {self.number}"
        keys = [record.promotion.run_key for record in entry.records]
        problems = {
            "the history's end is not the champion": past[-1].version != entry.champion,
            "the alias previous is not the version before": past[-1].previous != entry.previous,
            "a promotion does not follow the one before": any(
                later.previous != former.version for former, later in itertools.pairwise(past)
            ),
            "a run key has two records": len(keys) != len(set(keys)),
            f"{len(past)} promotions instead of {promotions}": len(past) != promotions,
            "a record is incomplete": len(keys) != len(past),
        }
        self.wrong += [f"{where}: {text}" for text, found in problems.items() if found]
        self.wrong += [f"{where}: {text}" for text in verify(self.shelf.client, entry)[1]]


def main(tracking_uri: str, rounds: int, seed: int = 1) -> int:
    """Run so many rounds of both kinds, and print what happened."""
    races = Races(tracking_uri, seed)
    for number in range(rounds):
        races.at_once()
        races.killed()
        if number % 20 == 19:
            print(number + 1, dict(races.counts), f"{len(races.wrong)} wrong", flush=True)
    print("\n".join(races.wrong))
    return len(races.wrong)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], int(sys.argv[2]))))
