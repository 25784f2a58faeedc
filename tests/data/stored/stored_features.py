"""Features that the stored models were trained with; a stored model keeps this module's name, never its code."""

from __future__ import annotations

from typing import Any

import numpy as np


def features(frame: Any) -> Any:
    return frame.assign(log_distance=np.log1p(frame["distance"]), route=frame["carrier"] + frame["origin"])
