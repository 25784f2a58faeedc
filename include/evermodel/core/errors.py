"""Errors, each with the problem, its place and the action that fixes it."""

from __future__ import annotations


class EvermodelError(Exception):
    """Base of all errors of the domain.

    Parameters
    ----------
    problem
        What is wrong, and where.
    advice
        What a person should do about it.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem}\n  What to do: {advice}" if advice else problem)
        self.problem = problem
        self.advice = advice

    def __reduce__(self) -> tuple[type[EvermodelError], tuple[str, str]]:
        """Keep problem and advice separate when the error is pickled."""
        return type(self), (self.problem, self.advice)


class PermanentError(EvermodelError):
    """A retry cannot help: the input or the configuration must change first."""


class TransientError(EvermodelError):
    """An external service is unavailable: a retry may help."""


class SettingsError(PermanentError):
    """A variable of the environment cannot be used as set."""


class SpecError(PermanentError):
    """A model spec cannot be used as written."""


class MissingExtraError(PermanentError):
    """A step needs a library that an extra of the package brings, and that is not installed."""


class SourceError(PermanentError):
    """The source of a model's data cannot be read as declared."""


class EmptyWindowError(PermanentError):
    """A window has no rows, or too few."""


class ValidationError(PermanentError):
    """A snapshot failed fatal checks; `failed` is their number."""

    failed = 0


class TrainingError(PermanentError):
    """A candidate cannot be trained on this snapshot."""


class ForeignInputError(PermanentError):
    """A step of a retrain was given a snapshot or a model that the retrain did not record."""


class GateError(PermanentError):
    """A challenger cannot be evaluated, for example because the test window has one class only."""


class ModelFormatError(PermanentError):
    """A stored model is not in a format that is safe to load."""


class ModelChangedError(ModelFormatError):
    """The files of a stored model are not those that were evaluated."""


class UnsafePathError(PermanentError, ValueError):
    """A name leads out of the folder that it belongs to."""


class NewerFormatError(PermanentError, ValueError):
    """A newer release wrote this; where what cannot be read is left out, this is too."""


class RegistryConflictError(PermanentError):
    """The registry changed since the decision, so the decision no longer applies."""


class WrongEnvironmentError(PermanentError):
    """A process of one environment tries to change a model of another."""


class TransferError(PermanentError):
    """A version cannot be transferred from one environment to another."""


class RollbackError(PermanentError):
    """No version is available for a rollback."""


class PromotionError(PermanentError):
    """A version cannot be promoted by hand as requested."""


class ApprovalError(PermanentError):
    """An approval is invalid: by the wrong person, or of another version or decision."""


class IncidentError(PermanentError):
    """An incident cannot be answered as requested."""


class RolloutError(PermanentError):
    """A rollout cannot be started, moved or stopped as requested."""


class NoChampionError(PermanentError):
    """A model has no champion yet."""


class TrackingUnavailableError(TransientError):
    """The MLflow server does not answer."""


class SnapshotStoreError(TransientError):
    """DVC could not track or push a snapshot."""


class SourceUnavailableError(TransientError):
    """A source is unavailable, or its connection was lost while rows were read."""


class TargetError(PermanentError):
    """An external table does not accept a model's answers as declared."""


class TargetUnavailableError(TransientError):
    """The database for a model's answers is unavailable, or its connection was lost."""


class DatabaseUnavailableError(TransientError):
    """The database does not answer, or is blocked."""


class FeatureStoreError(TransientError):
    """The store of looked-up features does not answer."""


class DatabaseSchemaError(PermanentError):
    """The database's schema is a newer release's, or cannot be made with this login."""


class LeaseHeldError(TransientError):
    """Another process is changing the same thing."""


class LeaseLostError(TransientError):
    """Another process took over a lease that this one did not renew."""


class LakeFullError(TransientError):
    """No space is left in the lake's file system."""


class StorageError(PermanentError):
    """A bucket cannot be used: it does not exist, or no credentials open it."""


class StorageUnavailableError(TransientError):
    """An object store does not answer."""


class StepContractError(PermanentError):
    """The two sides of `evermodel step` do not understand each other."""


class StepInterpreterError(PermanentError):
    """The interpreter that a step should run in cannot run it."""


class StepCrashedError(EvermodelError):
    """A step that ran elsewhere failed unexpectedly, or its process died; a retry may help."""
