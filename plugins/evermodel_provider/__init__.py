"""The Airflow layer of evermodel: operators, sensors, hooks and notifications."""
