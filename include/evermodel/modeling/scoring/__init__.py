"""Scoring: of the rows of a day, as a stream, into the prediction log; and of the rows of requests.

Imports no module, so that the serving app starts without those of batch scoring.
"""

__all__ = [
    "answer_details",
    "answer_reference",
    "batcher",
    "day",
    "loaded_version",
    "request_columns",
    "request_json",
    "request_rows",
    "spark",
]
