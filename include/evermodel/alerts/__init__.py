"""Messages, incidents, and the delivery queue.

Imports `deployment` and lower layers, never `serving`.
"""

__all__ = [
    "accepted_requests",
    "approval_message",
    "cloud_events",
    "delivery",
    "digest",
    "digest_message",
    "failure_message",
    "incident_message",
    "incidents",
    "message",
    "outbox",
    "outbox_index",
    "plot",
    "publisher",
    "queued_message",
    "retrain_message",
    "rollout_message",
    "teams",
    "text",
    "thread_messages",
    "year_audit",
]
