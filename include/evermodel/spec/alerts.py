"""The section `alerts`: recipients, channels and quiet hours of messages."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from evermodel.spec.parts import Cron, Span, SpecSection


def check_clock(value: str) -> str:
    """Return a time of day as it is, or raise."""
    if re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", value):
        return value
    raise ValueError("a time of day has the form HH:MM, such as 07:30")


def check_zone(value: str) -> str:
    """Return the name of a time zone as it is, or raise."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("a time zone has the form Europe/Berlin") from error
    return value


Clock = Annotated[str, AfterValidator(check_clock)]


def check_mention(value: str) -> str:
    """Return a Slack mention unchanged, or raise: Slack ignores an unknown name."""
    if re.fullmatch(r"[UWS][A-Z0-9]{2,}|here|channel", value):
        return value
    raise ValueError("a mention is a Slack user id (U...), a group id (S...), `here` or `channel`")


Mention = Annotated[str, AfterValidator(check_mention)]


class QuietHours(SpecSection):
    """When messages wait, except critical ones."""

    start: Clock = "20:00"
    end: Clock = "07:00"
    timezone: Annotated[str, AfterValidator(check_zone)] = "UTC"
    weekends: bool = Field(False, description="Whether Saturday and Sunday are quiet all day.")

    @model_validator(mode="after")
    def _some_hours_are_left(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError("`start` and `end` must differ; remove the section to have no quiet hours")
        return self


class EscalationSpec(SpecSection):
    """Recipients when an incident becomes critical."""

    channel: str | None = Field(None, description="Second channel for critical incidents.")
    mention: tuple[Mention, ...] = Field(
        (), description="Slack ids: U… (person), S… (group), or here, channel."
    )


class NotifierSpec(SpecSection):
    """Another Airflow notifier that gets the same events."""

    notifier: str = Field(
        description="Import path, such as airflow.providers.smtp.notifications.smtp.SmtpNotifier."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Its arguments; texts can contain {title}, {text}, {severity}, {model} and {url}.",
    )


class AlertsSpec(SpecSection):
    """Channel, mentions and timing of messages."""

    slack_connection: str = Field("slack_api_default", description="Airflow connection of type slack.")
    channel: str = "#ml-alerts"
    mention: tuple[Mention, ...] = Field(
        (), description="Slack ids of the owners, mentioned when an incident opens or escalates."
    )
    remind: Literal["backoff"] | Span | None = Field(
        "backoff",
        description="Interval of reminders for an open incident; `backoff`: 1, 3, 7, 14 and 30 days after it opened, then"
        " every 30 days.",
    )
    escalation: EscalationSpec = EscalationSpec()
    quiet_hours: QuietHours | None = None
    notifiers: tuple[NotifierSpec, ...] = ()
    events_connection: str | None = Field(
        None,
        min_length=1,
        description="Airflow connection (HTTP) that CloudEvents of verdicts, incidents and retrain requests are sent to.",
    )
    digest: Cron | None = Field("0 7 * * 1", description="Cron of the owner's weekly digest, UTC.")
