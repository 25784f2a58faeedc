"""Our section of Evidently's report: the evaluated window, its row counts, and every test."""

from __future__ import annotations

from typing import Any

from evidently.core.container import MetricContainer
from evidently.legacy.renderers.html_widgets import table_data, text_widget
from evidently.metrics import RowCount


def rows_metric() -> Any:
    """Return Evidently's count of rows, without a test of its own."""
    return RowCount(tests=[])


def say_rows(snapshot: Any, rows: int) -> None:
    """Let the count of rows in a report be that of the window, not of the sample that was drawn."""
    snapshot.metric_results[rows_metric().to_calculation().id].value = float(rows)


class VerdictNote(MetricContainer):  # type: ignore[misc]
    """Text and a table above Evidently's own widgets.

    Parameters
    ----------
    title, text
        Heading, and Markdown below it.
    header, rows
        The table of tests; without rows there is none.
    """

    title: str
    text: str
    header: list[str]
    rows: list[list[str]]

    def generate_metrics(self, context: Any) -> list[Any]:
        """Count rows, for dashboards; every other number is known."""
        return [rows_metric()]

    def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
        """Return the widgets; a count of the sample's rows is not shown."""
        widgets = [text_widget(text=self.text, title=self.title)]
        if self.rows:
            widgets.append(table_data(column_names=self.header, data=self.rows, title="Every test"))
        return widgets
