"""Connections to external services."""
