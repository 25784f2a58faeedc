"""Batch scoring: the champion answers for every row of a day, as a stream, into the prediction log."""

from evermodel.modeling.scoring.day import ScoredDay, score_day

__all__ = ["ScoredDay", "batcher", "days", "loaded_version", "request_rows", "score_day"]
