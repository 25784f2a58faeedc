"""Modeling."""
