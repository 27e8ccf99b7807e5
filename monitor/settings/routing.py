"""Which alerts go to whom, which keep silent about others, and when nobody is to be told."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, field_validator, model_validator

from monitor.settings.durations import seconds_of
from monitor.settings.matchers import parse_matcher
from monitor.settings.receivers import Grouping
from monitor.settings.section import Section

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _matchers(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    for text in texts if isinstance(texts, list) else []:
        parse_matcher(str(text))
    return texts


class RouteSettings(Grouping):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)

    matchers: list[str] = Field([], description="What an alert's labels must be for it to go this way; all must hold.")
    receivers: list[str] = Field([], description="Who is told; empty: as the route above says.")
    continue_: bool = Field(False, alias="continue", description="Whether the routes after this one are tried as well.")
    routes: list[RouteSettings] = Field([], description="Routes within this one, tried first.")

    _check = field_validator("matchers", mode="before")(_matchers)


class InhibitSettings(Section):
    source: list[str] = Field(min_length=1, description="While an alert with such labels fires, …")
    target: list[str] = Field(min_length=1, description="… those with such labels are not told …")
    equal: list[str] = Field([], description="… if these labels are equal on both.")

    _check = field_validator("source", "target", mode="before")(_matchers)


class MaintenanceSettings(Section):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)

    name: str = Field("", description="What is done, for people.")
    matchers: list[str] = Field([], description="Which alerts are not told; empty: all.")
    days: list[Day] = Field([], description="Days of the week on which it begins; empty: each.")
    from_: str = Field("00:00", alias="from", description="Time of day at which it begins, such as 22:00.")
    until: str = Field(
        "24:00", description="Time of day at which it ends; before `from`: on the next day. 24:00: midnight."
    )
    starts: datetime | None = Field(None, description="Not before this moment; without an offset it is in `zone`.")
    ends: datetime | None = Field(None, description="Not from this moment on.")
    zone: str = Field("UTC", description="Time zone of all of these, such as Europe/Berlin.")

    _check = field_validator("matchers", mode="before")(_matchers)

    @field_validator("from_", "until", mode="before")
    @classmethod
    def _time_of_day(cls, value: Any) -> Any:
        minute_of_day(str(value))
        return str(value)

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone `{value}`; write one such as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _sometimes(self) -> MaintenanceSettings:
        whole = (self.from_, self.until) == ("00:00", "24:00")
        if whole and not self.days and self.starts is None and self.ends is None:
            raise ValueError("would always hold; give it days, times of the day, or `starts` and `ends`")
        if self.from_ == self.until:
            raise ValueError(f"begins and ends at {self.from_}; for a whole day leave both out")
        return self


class RoutingSettings(Section):
    receivers: list[str] = Field([], description="Who is told of alerts that no route takes elsewhere.")
    routes: list[RouteSettings] = Field([], description="Other ways; the first that fits is taken.")
    inhibit: list[InhibitSettings] = Field([], description="Alerts that make others superfluous while they fire.")
    maintenance: list[MaintenanceSettings] = Field([], description="Times in which alerts are not told.")
    fallback: list[str] = Field(
        [], description="Who is told when a channel fails; empty: the other channels of the same receiver."
    )
    dashboard_url: str = Field("", description="Where the dashboard is, for links in messages; empty: no links.")
    give_up_after: str = Field("24h", description="Age at which a message that cannot be sent is given up.")

    @field_validator("receivers", "fallback", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("dashboard_url")
    @classmethod
    def _web(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must begin with https:// or http://")
        return value.rstrip("/")

    @field_validator("give_up_after")
    @classmethod
    def _length(cls, value: str) -> str:
        if not 60 <= seconds_of(value) <= 7 * 86400:
            raise ValueError(f"is {value}; at least 1m, at most 7d")
        return value

    def named(self) -> list[tuple[str, str]]:
        """Where a receiver is named, and its name."""
        found = [("routing.receivers", name) for name in self.receivers]
        found += [("routing.fallback", name) for name in self.fallback]
        return found + _named(self.routes, "routing.routes")


def _named(routes: list[RouteSettings], where: str) -> list[tuple[str, str]]:
    found = []
    for index, route in enumerate(routes):
        found += [(f"{where}[{index}].receivers", name) for name in route.receivers]
        found += _named(route.routes, f"{where}[{index}].routes")
    return found


def minute_of_day(text: str) -> int:
    """Minutes since midnight of `22:00`; 1440 for `24:00`.

    Raises
    ------
    ValueError
        If it is no time of day.
    """
    if text == "24:00":
        return 1440
    try:
        parsed = time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"`{text}` is no time of day; write it as '22:00', in quotes") from None
    return parsed.hour * 60 + parsed.minute
