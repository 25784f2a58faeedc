"""The section `alerts`: who is told what, where, and when not."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from evermodel.spec.parts import Cron, Span, SpecSection


def check_clock(value: str) -> str:
    """Return a time of day as it is, or raise."""
    hours, colon, minutes = value.partition(":")
    if (
        colon
        and hours.isdigit()
        and minutes.isdigit()
        and len(value) == 5
        and int(hours) < 24
        and int(minutes) < 60
    ):
        return value
    raise ValueError("a time of day is written as HH:MM, such as 07:30")


def check_zone(value: str) -> str:
    """Return the name of a time zone as it is, or raise."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("a time zone is written as in Europe/Berlin") from error
    return value


Clock = Annotated[str, AfterValidator(check_clock)]


def check_mention(value: str) -> str:
    """Return whom Slack should notify as it is, or raise: a name that it does not know would notify nobody."""
    if re.fullmatch(r"[UWS][A-Z0-9]{2,}|here|channel", value):
        return value
    raise ValueError("a mention is the id of a person (U...), of a group (S...), or here or channel")


Mention = Annotated[str, AfterValidator(check_mention)]


class QuietHours(SpecSection):
    """When warnings, reminders and good news wait; what is critical does not."""

    start: Clock = "20:00"
    end: Clock = "07:00"
    timezone: Annotated[str, AfterValidator(check_zone)] = "UTC"
    weekends: bool = Field(False, description="Saturday and Sunday are quiet all day.")

    @model_validator(mode="after")
    def _some_hours_are_left(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError("`start` and `end` must differ; without quiet hours leave the section out")
        return self


class EscalationSpec(SpecSection):
    """Who hears when an incident becomes critical."""

    channel: str | None = Field(None, description="A second channel that is told too.")
    mention: tuple[Mention, ...] = Field(
        (), description="Slack's ids: U… (person), S… (group), or here, channel."
    )


class NotifierSpec(SpecSection):
    """Another Airflow notifier that gets the same events."""

    notifier: str = Field(
        description="Import path, such as airflow.providers.smtp.notifications.smtp.SmtpNotifier."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Its arguments; texts may name {title}, {text}, {severity}, {model} and {url}.",
    )


class AlertsSpec(SpecSection):
    """Where messages go."""

    slack_connection: str = Field("slack_api_default", description="Airflow connection of type slack.")
    channel: str = "#ml-alerts"
    mention: tuple[Mention, ...] = Field(
        (), description="Slack's ids of the owners, mentioned when an incident opens or gets worse."
    )
    remind: Span | None = Field(
        timedelta(days=3), description="How often an incident that goes on is brought up again."
    )
    escalation: EscalationSpec = EscalationSpec()
    quiet_hours: QuietHours | None = None
    notifiers: tuple[NotifierSpec, ...] = ()
    digest: Cron | None = Field("0 7 * * 1", description="When the owner's weekly digest is sent, UTC.")
