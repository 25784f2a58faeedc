"""Ask for a retrain when the drift policy says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class AskForRetrainOperator(ModelOperator):
    """Emit the asset event that starts the model's retrain DAG, or skip and say why not.

    The event carries its own idempotency key: two runs started by one event end in one version.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [retrain_wanted(model)])
        super().__init__(model=model, **kwargs)

    def run_step(self, context: Context) -> dict[str, Any]:
        """Ask, or skip."""
        from evermodel.retrain_policy import current_wish, record_request

        watch = self.drift_watch()
        wish = current_wish(self.spec, watch.verdict(), watch.as_of, watch.client)
        if not wish.wanted:
            raise AirflowSkipException(wish.note)
        request = record_request(self.spec, watch.as_of, wish.note, watch.client)
        context["outlet_events"][retrain_wanted(self.spec.name)].extra = request
        self.log.info("Asked for a retrain: %s", wish.note)
        return request
