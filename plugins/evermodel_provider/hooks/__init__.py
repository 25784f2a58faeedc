"""Connections to the services that evermodel uses."""
