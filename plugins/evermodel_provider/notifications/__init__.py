"""Messages sent from Airflow."""
