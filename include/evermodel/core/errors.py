"""What can go wrong, each error saying what is wrong, where, and what to do about it."""

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
        """Keep problem and advice apart when the error goes from one process to another."""
        return type(self), (self.problem, self.advice)


class PermanentError(EvermodelError):
    """Trying again cannot help: the input or the configuration has to change first."""


class TransientError(EvermodelError):
    """Something outside is away for now: trying again may help."""


class SpecError(PermanentError):
    """A model spec cannot be used as written."""


class SourceError(PermanentError):
    """The source of a model's data cannot be read as declared."""


class EmptyWindowError(PermanentError):
    """A window that must hold rows holds none, or too few."""


class ValidationError(PermanentError):
    """A snapshot broke checks that the spec declares as fatal; `failed` is their number."""

    failed = 0


class TrainingError(PermanentError):
    """A candidate cannot be trained on this snapshot."""


class GateError(PermanentError):
    """A challenger cannot be judged, for instance because the test window holds one class only."""


class ModelFormatError(PermanentError):
    """A stored model is not in a format that is safe to load."""


class NewerFormatError(PermanentError, ValueError):
    """A newer release wrote this; where what cannot be read is left out, this is too."""


class RegistryConflictError(PermanentError):
    """The registry changed since the decision was made, so the decision no longer holds."""


class WrongEnvironmentError(PermanentError):
    """A process of one environment wants to change a model of another."""


class TransferError(PermanentError):
    """A version cannot be taken from one environment to another."""


class RollbackError(PermanentError):
    """There is no version that a rollback could go to."""


class PromotionError(PermanentError):
    """A version cannot be promoted by hand as asked."""


class ApprovalError(PermanentError):
    """An answer does not count: of the wrong person, or about something else than what is about to be deployed."""


class RolloutError(PermanentError):
    """A rollout cannot be started, moved or stopped as asked."""


class NoChampionError(PermanentError):
    """A model has no champion yet."""


class TrackingUnavailableError(TransientError):
    """The MLflow server does not answer."""


class SnapshotStoreError(TransientError):
    """DVC could not track or push a snapshot."""


class SourceUnavailableError(TransientError):
    """A source cannot be reached, or broke off while its rows were read."""


class TargetError(PermanentError):
    """A table outside cannot take a model's answers as declared."""


class TargetUnavailableError(TransientError):
    """A database that takes a model's answers cannot be reached, or broke off."""


class LakeFullError(TransientError):
    """There is no room left where the lake is."""
