"""Draft a model spec from a table and the name of its label."""

from evermodel.cli.scaffold.draft import Draft, draft_spec
from evermodel.cli.scaffold.roles import Named

__all__ = ["Draft", "Named", "adopt", "draft", "draft_spec", "table", "watch"]
