"""Messages and incidents: what they say, where they go, and the queue that they wait in.

Imports `deployment` and what stands below it, never `serving`.
"""

__all__ = [
    "approval_message",
    "delivery",
    "digest",
    "digest_message",
    "failure_message",
    "incident_message",
    "incidents",
    "message",
    "outbox",
    "plot",
    "preview",
    "publisher",
    "queued_message",
    "retrain_message",
    "rollback_message",
    "rollout_message",
    "teams",
    "text",
    "thread_messages",
    "transport",
]
