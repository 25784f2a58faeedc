"""Draft a model spec from a table and the name of its label."""

from evermodel.cli.scaffold.draft import Draft, draft_spec

__all__ = ["Draft", "draft", "draft_spec", "table", "watch"]
