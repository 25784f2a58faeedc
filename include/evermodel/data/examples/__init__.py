"""Example data that anybody may use."""
