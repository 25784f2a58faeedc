"""Ask for a retrain when the drift policy says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from evermodel.core.errors import SpecError
from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class AskForRetrainOperator(ModelOperator):
    """Emit the asset event that starts the model's retrain DAG, or skip and say why not.

    The event carries its own idempotency key: two runs started by one event end in one version. The answer is kept on
    the MLflow run of the day (tag ``evermodel.retrain``), and a request also on the registered model.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [retrain_wanted(model)])
        super().__init__(model=model, **kwargs)

    def run_step(self, context: Context) -> dict[str, Any]:
        """Ask, or skip."""
        from evermodel.monitoring.retrain_history import note_answer
        from evermodel.monitoring.retrain_policy import current_recommendation, record_request

        wanted = self._asset()
        watch = self.drift_watch()
        wish = current_recommendation(self.spec, watch.verdict(), watch.as_of, watch.client)
        note_answer(watch.client, self.spec, watch.as_of, wish.note)
        if not wish.wanted:
            raise AirflowSkipException(wish.note)
        request = record_request(self.spec, watch.as_of, wish.note, watch.client)
        context["outlet_events"][wanted].extra = request
        self.log.info("Asked for a retrain: %s", wish.note)
        return request

    def _asset(self) -> Asset:
        """Return the asset of the request; outlets are fixed when the DAG is parsed, before templates are rendered."""
        wanted = retrain_wanted(self.spec.name)
        if wanted not in self.outlets:
            raise SpecError(
                f"the outlets of task {self.task_id} lack the asset {wanted.name}, so its request would start nothing",
                f"give the task outlets=[retrain_wanted('{self.spec.name}')]; that is the default only where `model` "
                "is the plain name of a model",
            )
        return wanted
