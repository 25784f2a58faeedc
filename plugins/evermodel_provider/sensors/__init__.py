"""Sensors that wait for data."""
