"""The controller of each strategy, by its name."""

from __future__ import annotations

from evermodel.deployment.rollout import ab_test, bandit, blue_green, canary, direct, shadow
from evermodel.deployment.rollout.verdict import Controller
from evermodel.spec.rollout import Strategy

CONTROLLERS: dict[Strategy, Controller] = {
    "direct": direct,
    "blue_green": blue_green,
    "shadow": shadow,
    "canary": canary,
    "ab_test": ab_test,
    "bandit": bandit,
}
