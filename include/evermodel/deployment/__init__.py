"""What serves: promotion, rollback, automatic rollback and rollouts.

Imports `monitoring` and what stands below it.
"""

__all__ = ["automatic_rollback", "eligibility", "promotion", "rollback", "rollout", "serving_watch"]
