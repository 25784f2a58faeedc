"""The program that Feast's own interpreter runs: entity rows in Parquet files in, features in Parquet files out.

Nothing of evermodel is imported here. The only argument is a folder with `request.json`; an error is left there as `error.json`.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = "event_timestamp"  # as Feast's offline stores expect it


class RequestError(Exception):
    """The request does not fit what Feast has."""


def main(folder: Path) -> int:
    """Answer the request of a folder; return the exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would read the answer
    try:
        _answer(json.loads((folder / "request.json").read_text(encoding="utf-8")), folder)
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        told = {"kinds": kinds, "message": str(error)}
        (folder / "error.json").write_text(json.dumps(told), encoding="utf-8")
        raise
    return 0


def _answer(request: dict[str, Any], folder: Path) -> None:
    from feast import FeatureStore

    store = FeatureStore(repo_path=request["repo"])
    service = _service(store, request["service"])
    for number, part in enumerate(request["parts"]):
        references = _references(service, part["features"])
        views = [view for name in references for view in _views(store, name.partition(":")[0])]
        for view in views:
            _require_key(view, part["key"])
        rows = folder / f"rows-{number}.parquet"
        asked = _all_keys(store, views, part, request["at"]) if request["at"] else _read(rows)
        known = request["as_known"] and any(view.batch_source.created_timestamp_column for view in views)
        cutoff = {"filter_by_created_timestamp": True} if known else {}
        job = store.get_historical_features(entity_df=asked, features=references, **cutoff)
        _write(job.to_arrow(), folder / f"features-{number}.parquet")
    if request["materialize"]:
        names = [projection.name for projection in service.feature_view_projections]
        _materialize(store, [view for name in names for view in _views(store, name)], request["materialize"])


def _materialize(store: Any, views: list[Any], until: str) -> None:
    """Bring Feast's online store up to a moment: each view from where it ends, or from its oldest row that can count.

    Feast's own `materialize_incremental` begins a year before today where a view has never been materialized.
    """
    end = datetime.fromisoformat(until)
    for name, view in {view.name: view for view in views if view.online}.items():
        begin = view.most_recent_end_time or (end - view.ttl if view.ttl else _EPOCH)
        if begin < end:
            store.materialize(begin, end, [name])


def _service(store: Any, name: str) -> Any:
    found = {service.name: service for service in store.list_feature_services()}
    if name not in found:
        raise RequestError(
            f"there is no feature service {name}; there are: {', '.join(sorted(found)) or 'none'}"
        )
    return found[name]


def _references(service: Any, wanted: list[str]) -> list[str]:
    """Return the features as ``view:feature``."""
    found: dict[str, list[str]] = {}
    for projection in service.feature_view_projections:
        if projection.name_alias or projection.join_key_map:
            raise RequestError(
                f"the service renames the view {projection.name}; give it a view and an entity of their own instead"
            )
        for feature in projection.features:
            found.setdefault(feature.name, []).append(f"{projection.name_to_use()}:{feature.name}")
    for name in wanted:
        if len(found.get(name, [])) != 1:
            how = "has no feature" if name not in found else "has several features"
            raise RequestError(f"the service {how} {name}; it has: {', '.join(sorted(found))}")
    return [found[name][0] for name in wanted]


def _views(store: Any, name: str) -> list[Any]:
    """Return the feature views that are read for a view: itself, or those that an on-demand view is computed from."""
    from feast.errors import FeatureViewNotFoundException

    try:
        return [store.get_feature_view(name)]
    except FeatureViewNotFoundException:
        sources = store.get_on_demand_feature_view(name).source_feature_view_projections
        return [store.get_feature_view(projection.name) for projection in sources.values()]


def _require_key(view: Any, key: list[str]) -> None:
    if set(view.join_keys) != set(key):
        raise RequestError(
            f"the view {view.name} is found by {', '.join(view.join_keys)}, and the spec says {', '.join(key)}"
        )


def _all_keys(store: Any, views: list[Any], part: dict[str, Any], at: str) -> Any:
    """Return every key that has features at a moment, as entity rows of that moment."""
    import pandas as pd

    moment, parts = datetime.fromisoformat(at), []
    for view in {view.name: view for view in views}.values():
        source = view.batch_source
        named = {new: old for old, new in source.field_mapping.items()}
        keys = [named.get(name, name) for name in part["key"]]
        job = store._get_provider().offline_store.pull_latest_from_table_or_query(
            config=store.config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=[named.get(feature.name, feature.name) for feature in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column,
            start_date=moment - view.ttl if view.ttl else _EPOCH,
            end_date=moment,
        )
        parts.append(job.to_arrow().select(keys).rename_columns(part["key"]).to_pandas())
    found = pd.concat(parts).dropna().drop_duplicates(ignore_index=True)
    return found.assign(**{_TIME: pd.Timestamp(moment)})


def _read(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pandas()


def _write(table: Any, file: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, file)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
