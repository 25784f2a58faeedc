"""The approval of a version, bound to the version and the decision that were shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ApprovalError
from evermodel.registry.audit import audit
from evermodel.registry.tags import APPROVED, REJECTED

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

AUTO = "auto"
NOBODY = "nobody (time-out)"
_MOST_COMMENT = 1000


@dataclass(frozen=True)
class Approval:
    """An approval or a rejection.

    Parameters
    ----------
    by
        Name of the person; `AUTO` if no approval was required, `NOBODY` after a timeout.
    digest
        Digest of the decision shown; empty for `AUTO`.
    at
        Time of the approval (ISO 8601, UTC); empty for `AUTO`.
    comment
        The person's comment.
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

    def tags(self) -> dict[str, str]:
        """Return the version's tags for the approval."""
        family = APPROVED if self.approved else REJECTED
        said = {
            "by": self.by,
            "at": self.at,
            "comment": self.comment[:_MOST_COMMENT],
            "decision": self.digest,
        }
        return {family + name: value for name, value in said.items() if value}

    @classmethod
    def from_version(cls, version: ModelVersion) -> Approval | None:
        """Read a version's approval or, with precedence, rejection; None if there is none."""
        for approved, family in ((False, REJECTED), (True, APPROVED)):
            by, at, comment, digest = (
                version.tags.get(family + name, "") for name in ("by", "at", "comment", "decision")
            )
            if by:
                return cls(approved, by, str(version.version), digest, at, comment)
        return None

    def reason(self, reason: str) -> str:
        """Return the reason of a promotion: the reason of the retrain, and the approver's comment.

        >>> Approval(True, "ml_lead", "7", comment="looks good").reason("weekly schedule")
        'weekly schedule; ml_lead: looks good'
        """
        return f"{reason}; {self.by}: {self.comment}" if self.comment else reason


def record_answer(client: MlflowClient, model: str, answer: Approval) -> ModelVersion:
    """Write an approval or rejection on the version, in place of an earlier one, and return the version.

    A repetition changes nothing. One by a person has a line in the audit log; where none was required, the promotion's
    line is enough.
    """
    if answer.by != AUTO or answer.at:
        facts = {"version": answer.version, "by": answer.by, "decision": answer.digest}
        more = {"at": answer.at or None, "comment": answer.comment or None}
        audit(client, "approval" if answer.approved else "rejection", model, **facts, **more)
    for key, value in answer.tags().items():
        client.set_model_version_tag(model, answer.version, key, value)
    found = client.get_model_version(model, answer.version)
    for key in found.tags.keys() - answer.tags().keys():
        if key.startswith((APPROVED, REJECTED)):
            client.delete_model_version_tag(model, answer.version, key)
            del found.tags[key]
    return found


@dataclass(frozen=True)
class Approver:
    """An approver, as known to Airflow's auth manager.

    Parameters
    ----------
    id
        The auth manager's id of the person: the name, with FAB a number.
    """

    id: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Approver:
        """Read an approver of the spec: ``name``, or ``name#id`` if the id is not the name.

        >>> Approver.parse("ml_lead"), Approver.parse("ml_lead#3")
        (Approver(id='ml_lead', name='ml_lead'), Approver(id='3', name='ml_lead'))
        """
        name, _, number = text.partition("#")
        return cls(number or name, name)


def require_approver(approvers: Sequence[str], user: Mapping[str, Any] | None) -> None:
    """Refuse an approval by a person who is not an approver; Airflow checks this too, except for its administrators.

    Parameters
    ----------
    approvers
        Those of the spec; empty allows every user with access to the form.
    user
        Id and name of the user; None if nobody answered.

    Raises
    ------
    ApprovalError
        The person is not among the approvers.
    """
    if user is None:
        raise ApprovalError(
            "nobody approved the version", "clear the task approve to request the approval again"
        )
    if approvers and str(user["id"]) not in {Approver.parse(text).id for text in approvers}:
        raise ApprovalError(
            f"{user['name']} (id {user['id']}) is not an approver: the spec names {', '.join(approvers)}",
            "clear the task approve to request the approval again",
        )


def require_approvers(model: str, approval: str, approvers: Sequence[str]) -> None:
    """Refuse an approval that anybody could give: a spec that requires one names who may.

    Parameters
    ----------
    approval
        ``auto`` or ``manual``, as in the spec.

    Raises
    ------
    ApprovalError
        The approval is manual, and there are no approvers.
    """
    if approval == "manual" and not approvers:
        raise ApprovalError(
            f"model {model}: the spec says `approval: manual` and names no approvers",
            "add `approvers: [login]` to the spec",
        )


def require_named(model: str, approvers: Sequence[str], user: str | None, act: str) -> None:
    """Refuse what only an approver may request: to skip the approval, or to force the challenger.

    Parameters
    ----------
    approvers
        Those of the spec; without any, nobody may.
    act
        What the form requests.
    user
        Name of the user who started the run; None if unknown.

    Raises
    ------
    ApprovalError
        The person is not among the approvers.
    """
    names = [Approver.parse(text).name for text in approvers]
    if user not in names:
        named = f"only {', '.join(names)} may request it" if names else "the spec names no approvers who may"
        raise ApprovalError(
            f"model {model}: the form {act}: {named}, and {user or 'an unknown user'} started this run",
            "start the run again with the form's approval as in the spec, and without `force`",
        )
