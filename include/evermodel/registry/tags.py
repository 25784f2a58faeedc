"""Names of evermodel's tags in MLflow, by the entity that carries them; no other file spells one."""

from enum import StrEnum

OURS = "evermodel."

# Every run, and every version
RUN_KEY = "evermodel.run_key"
KIND = "evermodel.kind"

# Runs of a retrain; most of them also on the version that it registers
AS_OF = "evermodel.as_of"
REASON = "evermodel.reason"
WINDOW = "evermodel.window"
SNAPSHOT = "evermodel.snapshot"
SNAPSHOT_MD5 = "evermodel.snapshot_md5"
SNAPSHOT_EXTRACTED = "evermodel.snapshot_extracted"  # all of its fields
TRAINED = "evermodel.trained."  # a candidate's digest
QUARANTINE = "evermodel.quarantine"
VALIDATION = "evermodel.validation"
SPEC_DIGEST = "evermodel.spec_digest"
GIT_COMMIT = "evermodel.git_commit"
AIRFLOW_RUN = "evermodel.airflow_run"
FASTPATH = "evermodel.fastpath"
CANDIDATE = "evermodel.candidate"
METRIC = "evermodel.metric"
DECISION = "evermodel.decision"
CONTENT = "evermodel.content"  # digest of the files of the model
DECISION_FACTS = "evermodel.decision_facts"
VERDICT = "evermodel.verdict"
SHIP = "evermodel.ship"
FORCED = "evermodel.forced"
OUTCOME = "evermodel.outcome"
VERSION = "evermodel.version"

# Runs of candidates and of their trials
ESTIMATOR = "evermodel.estimator"
TRAINING_DIGEST = "evermodel.training_digest"
CHOSEN = "evermodel.chosen"
MODEL_URI = "evermodel.model_uri"
STATE = "evermodel.state"
PROBLEM = "evermodel.problem"

# Runs of a monitored day
DAY = "evermodel.day"
SEVERITY = "evermodel.severity"
SEVERITIES = "evermodel.severities"
RETRAIN_ANSWER = "evermodel.retrain"
PROMOTION_EFFECT = "evermodel.promotion_effect"  # also on the registered model: the newest
INCIDENTS = "evermodel.incidents"  # also on the registered model: the open ones

# Runs of rollouts and of backtests
STRATEGY = "evermodel.strategy"
WHY = "evermodel.why"
RESULT = "evermodel.result"
BEST = "evermodel.best"

# Versions
TRAIN_START = "evermodel.train_start"
TRAIN_END = "evermodel.train_end"
ENVIRONMENT_DIGEST = "evermodel.environment_digest"
THREADS = "evermodel.threads"
PROCESSOR = "evermodel.processor"
PARENT = "evermodel.parent"
ANCHOR = "evermodel.anchor"  # the version that later ones are compared with; without: the version itself
GATE_PREDICTION = "evermodel.gate_prediction"  # the gain that the next window will show
METRIC_VALUE = "evermodel.metric_value"
DECISION_PAGE = "evermodel.decision_page"
MODEL_CARD = "evermodel.model_card"
APPROVED = "evermodel.approved_"  # prefix, as all names that end in a dot or an underscore
REJECTED = "evermodel.rejected_"
APPROVED_BY = "evermodel.approved_by"
REJECTED_BY = "evermodel.rejected_by"
ROLLOUT_OUTCOME = "evermodel.rollout"
ROLLOUT_REASON = "evermodel.rollout_reason"
ORIGIN = "evermodel.origin"  # the original environment of a transferred version
TRANSFERRED_BY = "evermodel.transferred_by"

# Registered models
OWNER = "evermodel.environment"
AUDIT = "evermodel.audit_end"
TRAFFIC_PLAN = "evermodel.traffic_plan"
YEAR_AUDIT = "evermodel.year_audit"  # of the last weekly digest
PROMOTION = "evermodel.promotion."
SERVING = "evermodel.serving."
RETRAIN_REQUEST = "evermodel.retrain_request."


class RetrainOutcome(StrEnum):
    """How a retrain ended: the values of the tag `OUTCOME` of its run."""

    DEPLOYED = "deployed"
    KEPT = "kept the champion"
    WAITS = "waits for approval"
    ROLLING_OUT = "rolling out"
    REJECTED = "rejected"  # by a person or by its rollout
    STOPPED = "stopped"  # its rollout, by a person or because another version became champion
