"""Measurements, side by side with the tools that one would pick instead."""
