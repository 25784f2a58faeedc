"""Keep a tabular model in production fresh, proven and reversible; the domain, free of Airflow."""

__version__ = "0.1.0"
