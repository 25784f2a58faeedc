"""Modules of features with a mistake each."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def _module(name: str, **functions: Any) -> str:
    module = ModuleType(name)
    vars(module).update(functions)
    sys.modules[name] = module
    return name


MEAN = _module("feature_mean", features=lambda frame: frame.assign(log_wind=frame["temp"].mean(), band="x"))
LAG = _module("feature_lag", features=lambda frame: frame.assign(log_wind=frame["temp"].shift(), band="x"))
FEWER = _module("feature_fewer", features=lambda frame: frame.iloc[1:])
LIST = _module("feature_list", features=lambda frame: [1])
LACKS = _module("feature_lacks", features=lambda frame: frame.assign(band="x"))
EMPTY = _module("feature_empty")
NO_PIPELINE = _module("feature_no_pipeline", build_pipeline=lambda spec, candidate: "pipeline")
