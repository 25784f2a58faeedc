"""Check of the model specs, and of what they need installed."""

from __future__ import annotations

from collections.abc import Iterator

from evermodel.core.diagnostics import Finding
from evermodel.core.errors import ApprovalError, SpecError
from evermodel.core.settings import Settings
from evermodel.data.validation.schema_file import find_schema, read_schema
from evermodel.registry.approval import require_approvers
from evermodel.spec import load_specs
from evermodel.spec.libraries import missing_extras


def check_specs(settings: Settings) -> Iterator[Finding]:
    """Read every spec and every schema file, and look for the libraries that they need."""
    specs, problems = load_specs(settings=settings)
    if not specs and not problems:
        yield Finding(
            "specs",
            "yellow",
            f"no model spec in {settings.models}",
            "run evermodel init <table> --label <column> to draft one; EVERMODEL_MODELS sets the folder",
        )
        return
    for problem in problems:
        yield Finding("specs", "red", problem.error.problem, problem.error.advice)
    for spec in specs:
        try:
            require_approvers(spec.name, spec.approval, spec.approvers)
            if (file := find_schema(spec.name, settings)) is not None:
                read_schema(file)
        except (SpecError, ApprovalError) as error:
            yield Finding("specs", "red", error.problem, error.advice)
        missing, advice = missing_extras(spec)
        if missing:
            yield Finding("extras", "red", "; ".join(missing), advice)
    if specs:
        names = ", ".join(spec.name for spec in specs[:10])
        more = f" and {len(specs) - 10} more" if len(specs) > 10 else ""
        yield Finding("specs", "green", f"{len(specs)} valid in {settings.models}: {names}{more}")
