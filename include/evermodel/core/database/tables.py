"""The tables of the database; a change here needs a migration in `migrations/versions` and a new `schema.SCHEMA`.

Times are seconds since 1970 by the database's clock. What is stored as JSON carries its format number (`core.formats`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB, MEDIUMTEXT, VARCHAR

metadata = MetaData()
# MySQL would take names that differ in upper and lower case for the same one.
NAME = String(255).with_variant(VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # which counts in columns of this type alone
IMAGE = LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")
JSON_TEXT = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")

leases = Table(
    "evermodel_lease",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("owner", String(255), nullable=False),
    Column("expires", Double, nullable=False),
)

# A model's last promotion or rollback: begun, or finished. `born` is the registered model's time of creation in MLflow,
# which tells models of one name in two registries apart.
promotions = Table(
    "evermodel_promotion",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("born", BigInteger, primary_key=True, autoincrement=False),
    Column("token", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("record", JSON_TEXT, nullable=False),
)

destinations = Table(
    "evermodel_destination",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("content", JSON_TEXT, nullable=False),
    Column("paused_until", String(40), nullable=False),
)

# In the order of their numbers. `state` is waiting, refused (by the destination) or unreadable.
messages = Table(
    "evermodel_message",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("destination", NAME, nullable=False, index=True),
    Column("state", String(20), nullable=False),
    Column("content", JSON_TEXT, nullable=False),
    Column("image", IMAGE),
)

# Of sent messages; keys may be longer than an index takes.
receipts = Table(
    "evermodel_receipt",
    metadata,
    Column("destination", NAME, primary_key=True),
    Column("key_sha256", String(64), primary_key=True),
    Column("content", JSON_TEXT, nullable=False),
    Column("at", Double, nullable=False),
)

# Of one registered model: `origin` tells it apart from an earlier one of its name.
incidents = Table(
    "evermodel_incidents",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("origin", String(16), primary_key=True),
    Column("content", JSON_TEXT, nullable=False),
)

# The newest report of each serving process about a model; `number` grows with each, `answered` keeps it for longer.
serving_reports = Table(
    "evermodel_serving_report",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("instance", NAME, primary_key=True),
    Column("host", String(255), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("seen", Double, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("content", JSON_TEXT, nullable=False),
)

# Versions that have answered a request; `at` is the time of the first report, by the clock of its host.
served_versions = Table(
    "evermodel_served_version",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("version", NAME, primary_key=True),
    Column("at", Double, nullable=False),
)

# Accepted requests of Slack's buttons, by the SHA-256 of their signature.
slack_requests = Table(
    "evermodel_slack_request",
    metadata,
    Column("signature_sha256", String(64), primary_key=True),
    Column("at", Double, nullable=False),
)

# The verdicts on watched models, one per window; for programs of yours too, so its columns stay. `content` is ours.
verdicts = Table(
    "evermodel_verdict",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("window_end", String(40), primary_key=True),  # ISO 8601, UTC: texts sort as times
    Column("window_start", String(40), nullable=False),
    Column("version", NAME, nullable=False),
    Column("severity", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("window_rows", BigInteger, nullable=False),
    Column("content", JSON_TEXT, nullable=False),
)

# What people answered to open incidents; a row goes with its incident.
incident_responses = Table(
    "evermodel_incident_response",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("incident", NAME, primary_key=True),
    Column("content", JSON_TEXT, nullable=False),
)

# Open incidents about drift of one source, by channel and source: told in one message. See `alerts.incidents.shared`.
shared_incidents = Table(
    "evermodel_shared_incident",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("place_sha256", String(64), nullable=False, index=True),
    Column("content", JSON_TEXT, nullable=False),
)

# What the watch on a model's new champion has seen of the serving processes' counts, and its evidence.
serving_watches = Table(
    "evermodel_serving_watch",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("content", JSON_TEXT, nullable=False),
)

# What the Models page last read of each model, by MLflow server and by the layout of its facts: releases side by side
# disturb each other's rows no more than servers do. The row without a model is of the last refresh.
models_page = Table(
    "evermodel_models_page",
    metadata,
    Column("source_sha256", String(64), primary_key=True),
    Column("layout", Integer, primary_key=True, autoincrement=False),
    Column("model", NAME, primary_key=True),
    Column("seen", Double, nullable=False),
    Column("content", JSON_TEXT, nullable=False),
)

# Looked-up features: a part holds what a view of a model shows from one moment on, and counts once it is complete.
online_parts = Table(
    "evermodel_online_part",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("place_sha256", String(64), nullable=False, index=True),
    Column("expires", Double, nullable=False),
    Column("complete", Boolean, nullable=False),
)
online_values = Table(
    "evermodel_online_value",
    metadata,
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("key_sha256", String(64), primary_key=True),
    Column("content", Text, nullable=False),
)
