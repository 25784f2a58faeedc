"""What the registry orders: who is champion, which plan is in force, and what came before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evermodel.deployment.rollback import line_of_succession
from evermodel.deployment.rollout.plan import TrafficPlan
from evermodel.deployment.rollout.plan_store import plan_of
from evermodel.registry import registry

if TYPE_CHECKING:
    from evermodel.registry.client import RegisteredModel


@dataclass(frozen=True)
class DesiredState:
    """What one look at the registry says; the champion and the plan are from the same moment.

    Parameters
    ----------
    champion
        The version that serves.
    previous
        The champion before it; None if there was none, or nobody needs it.
    plan
        The traffic plan, if it is in force.
    born
        When the registered model was made: a registry that was set up anew has other versions of the same numbers.
    trouble
        Why a plan is there but cannot be followed.
    """

    champion: str
    previous: str | None = None
    plan: TrafficPlan | None = None
    born: int = 0
    trouble: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version to have in memory, the champion first."""
        named = (self.champion, *(self.plan.versions if self.plan else ()))
        return tuple(dict.fromkeys((*named, self.previous) if self.previous else named))

    @property
    def key(self) -> str:
        """A name for these orders, the same in every process that has read them."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plan = self.plan.to_json() if self.plan else None
        return {"champion": self.champion, "previous": self.previous, "plan": plan, "born": self.born}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DesiredState:
        """Read back what `to_json` returned."""
        plan = TrafficPlan.from_json(data["plan"]) if data.get("plan") else None
        return cls(str(data["champion"]), data.get("previous"), plan, int(data.get("born", 0)))


def desired_state_of(found: RegisteredModel, *, with_previous: bool) -> DesiredState | None:
    """Read the orders off a registered model; None if it has no champion.

    Parameters
    ----------
    with_previous
        Whether the champion of before is needed, too.
    """
    champion = found.aliases.get(registry.CHAMPION)
    if champion is None:
        return None
    plan, trouble = _plan_in_force(found.tags, str(champion))
    previous = _before(found.tags, str(champion)) if with_previous else None
    return DesiredState(str(champion), previous, plan, int(found.creation_timestamp or 0), trouble)


def _plan_in_force(tags: Mapping[str, str], champion: str) -> tuple[TrafficPlan | None, str]:
    try:
        plan = plan_of(tags)
    except (ValueError, TypeError, KeyError) as error:
        return None, f"the traffic plan in the registry cannot be read ({type(error).__name__}: {error})"
    return (plan if plan is not None and plan.holds(champion) else None), ""


def _before(tags: Mapping[str, str], champion: str) -> str | None:
    """Return the version that served before and was not rolled back from."""
    line = [version for version in line_of_succession(registry.history_of(tags)) if version != champion]
    return line[-1] if line else None
