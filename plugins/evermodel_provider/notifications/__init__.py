"""Messages to people from inside Airflow."""
