"""Checks of Airflow and Slack for `evermodel doctor`."""
