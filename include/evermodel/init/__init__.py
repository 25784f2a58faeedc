"""Draft a model spec from a table and the name of its label."""

from evermodel.init.draft import Draft, draft_spec

__all__ = ["Draft", "draft_spec"]
