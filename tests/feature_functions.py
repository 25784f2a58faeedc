"""A module of features as a spec names it."""

from __future__ import annotations

from typing import Any

import numpy as np


def features(frame: Any) -> Any:
    frame["log_wind"] = np.log1p(frame["wind"])
    frame["band"] = np.where(frame["temp"] > 3, "warm", None)
    return frame
