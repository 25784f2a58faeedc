"""What came of training a version again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reproduction:
    """How a version compares with the same training done again.

    Parameters
    ----------
    identical
        True if every answer to every test row is the same, bit for bit.
    rows, different_rows, largest_difference
        Of the test window: its rows, those answered differently, and the largest distance between two answers.
    snapshot_from
        ``lake`` or ``dvc``.
    commit, commit_now
        Of the code then and now; the code is not checked out.
    differences
        What differs between then and now, each in one sentence: the suspects when the answers differ.
    """

    model: str
    version: str
    identical: bool
    rows: int
    different_rows: int
    largest_difference: float | None
    candidate: str
    params: dict[str, Any]
    seed: int
    snapshot: str
    snapshot_md5: str
    snapshot_from: str
    commit: str
    commit_now: str
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Tell it to a person, line by line."""
        name = f"{self.model} version {self.version}"
        if self.identical:
            first = f"{name} is reproduced: all {self.rows:,} test rows get the same answer, bit for bit"
        else:
            gap = (
                "answers of another shape"
                if self.largest_difference is None
                else f"{self.largest_difference:.3g}"
            )
            first = (
                f"{name} is NOT reproduced: {self.different_rows:,} of {self.rows:,} test rows get another answer "
                f"(largest difference: {gap})"
            )
        lines = [
            first,
            f"  snapshot {self.snapshot} (DVC md5 {self.snapshot_md5}), from the {self.snapshot_from}",
            f"  candidate {self.candidate}, parameters {json.dumps(self.params)}, seed {self.seed}",
            f"  git commit {self.commit} then, {self.commit_now} now{self._same_commit()}; the code that ran is today's",
        ]
        lines += [f"  differs: {difference}" for difference in self.differences]
        if not self.identical and not self.differences:
            lines.append(
                "  data, spec, parameters, seed and stated packages are the same: look at the code (git commit), "
                "the number of threads (OMP_NUM_THREADS) and the machine"
            )
        return lines

    def _same_commit(self) -> str:
        if "unknown" in (self.commit, self.commit_now):
            return ""
        return " (the same)" if self.commit == self.commit_now else " (NOT the same)"
