"""The answer to the question whether a version may serve, bound to the version and the decision that were shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evermodel.core.audit import audit
from evermodel.core.errors import ApprovalError
from evermodel.registry.tags import APPROVED, REJECTED

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

AUTO = "auto"
NOBODY = "nobody (time-out)"
_MOST_COMMENT = 1000


@dataclass(frozen=True)
class Approval:
    """An answer.

    Parameters
    ----------
    by
        Name of the person; `AUTO` where nobody had to be asked, `NOBODY` when nobody answered in time.
    digest
        Digest of the decision that the form showed; empty where nobody was asked.
    at
        When the answer came (ISO 8601, UTC); empty where nobody was asked.
    comment
        Why, in the person's words.
    """

    approved: bool
    by: str
    version: str
    digest: str = ""
    at: str = ""
    comment: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    def require(self, version: str, digest: str) -> None:
        """Refuse to go on with anything else than what was approved.

        Parameters
        ----------
        version, digest
            What is about to be deployed: the version, and the digest of the decision as it is now.

        Raises
        ------
        ApprovalError
            The answer was no, or it was about another version or another decision.
        """
        if not self.approved:
            raise ApprovalError(f"version {version} was rejected by {self.by}", "nothing is deployed")
        if self.by == AUTO:
            return
        if self.version != version:
            raise ApprovalError(
                f"version {self.version} was approved by {self.by}, not version {version}",
                "clear the task approve, so that the question is asked about this version",
            )
        if self.digest != digest:
            raise ApprovalError(
                f"version {version}: {self.by} approved the decision {self.digest or '(unknown)'}, "
                f"but decision.json is now {digest}: it was changed after the question was asked",
                "start the retrain DAG again, so that people see the decision that holds",
            )

    def tags(self) -> dict[str, str]:
        """Return the tags that tell of the answer on the version."""
        family = APPROVED if self.approved else REJECTED
        said = {"by": self.by, "at": self.at, "comment": self.comment[:_MOST_COMMENT]}
        return {family + name: value for name, value in said.items() if value}

    @classmethod
    def from_version(cls, version: ModelVersion) -> Approval | None:
        """Read the answer that a version bears, a rejection first; None if there is none."""
        for approved, family in ((False, REJECTED), (True, APPROVED)):
            said = {name: version.tags.get(family + name, "") for name in ("by", "at", "comment")}
            if said["by"]:
                return cls(approved, version=str(version.version), **said)
        return None

    def reason(self, reason: str) -> str:
        """Return why a version was promoted: why it was trained, and what the person said.

        >>> Approval(True, "ml_lead", "7", comment="looks good").reason("weekly schedule")
        'weekly schedule; ml_lead: looks good'
        """
        return f"{reason}; {self.by}: {self.comment}" if self.comment else reason


def record_answer(client: MlflowClient, model: str, answer: Approval) -> None:
    """Write who said what about a version, when and why, on the version; doing it again changes nothing."""
    for key, value in answer.tags().items():
        client.set_model_version_tag(model, answer.version, key, value)
    said = "approval" if answer.approved else "rejection"
    audit(
        said,
        model,
        version=answer.version,
        by=answer.by,
        decision=answer.digest,
        comment=answer.comment or None,
    )


@dataclass(frozen=True)
class Approver:
    """A person who may answer, as Airflow's auth manager knows them.

    Parameters
    ----------
    id
        What the auth manager calls the person: the name, with FAB a number.
    """

    id: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Approver:
        """Read an approver of the spec: ``name``, or ``name#id`` where the id is not the name.

        >>> Approver.parse("ml_lead"), Approver.parse("ml_lead#3")
        (Approver(id='ml_lead', name='ml_lead'), Approver(id='3', name='ml_lead'))
        """
        name, _, number = text.partition("#")
        return cls(number or name, name)


def require_approver(approvers: Sequence[str], user: Mapping[str, Any] | None) -> None:
    """Refuse an answer of somebody who may not give one; Airflow checks this too, unless everybody is its admin.

    Parameters
    ----------
    approvers
        Those of the spec; empty lets everybody answer who may answer at all.
    user
        Id and name of who answered; None for nobody.

    Raises
    ------
    ApprovalError
        The person is not among the approvers.
    """
    if not approvers or user is None:
        return
    if str(user["id"]) not in {Approver.parse(text).id for text in approvers}:
        raise ApprovalError(
            f"{user['name']} (id {user['id']}) answered, but may not: the spec names {', '.join(approvers)}",
            "the answer does not count; clear the task approve to ask again",
        )


def require_waiver(model: str, approvers: Sequence[str], user: str | None) -> None:
    """Refuse to skip the question that a spec asks, unless somebody wants it whose yes would count anyway.

    Parameters
    ----------
    approvers
        Those of the spec; with none, nobody may skip the question.
    user
        Name of who started the run; None where Airflow does not know it.

    Raises
    ------
    ApprovalError
        The person is not among the approvers.
    """
    names = [Approver.parse(text).name for text in approvers]
    if user not in names:
        named = (
            f"only {', '.join(names)} may skip that" if names else "it names no approvers who may skip that"
        )
        raise ApprovalError(
            f"model {model}: the form says approval auto, but the spec asks a person: {named}, "
            f"and {user or 'nobody known'} started this run",
            "start the run again with the form's approval as in the spec, and let an approver answer",
        )
