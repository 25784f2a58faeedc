"""What evermodel adds to Airflow's pages."""
