"""Additions to Airflow's pages."""
