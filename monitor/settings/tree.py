"""All sections together."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.settings.alerts import AlertingSettings, AlertRule, refuse_twin_rules
from monitor.settings.collectors import CollectorSettings, GpuSettings, ModelSettings, PrivacySettings
from monitor.settings.dashboard import DashboardSettings
from monitor.settings.drift import CohortSettings, DriftSettings
from monitor.settings.fleet import Budget, NodeRate
from monitor.settings.jobs import JobSettings
from monitor.settings.objectives import ObjectiveSettings, refuse_twins
from monitor.settings.prices import PriceSettings
from monitor.settings.probes import ProbeSettings
from monitor.settings.receivers import ReceiverSettings, refuse_odd_names
from monitor.settings.report import ReportSettings
from monitor.settings.routing import RoutingSettings
from monitor.settings.store import RetentionSettings, StoreSettings

DEFAULT_DATA = Path("monitor-data")


class Settings(BaseSettings):
    """All settings; sections as in `monitor.example.yaml`."""

    model_config = SettingsConfigDict(
        env_prefix="MONITOR_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data: Path = Field(DEFAULT_DATA, description="Folder for everything that the service keeps on disk.")
    store: StoreSettings = Field(default_factory=lambda: StoreSettings())
    collectors: CollectorSettings = Field(default_factory=lambda: CollectorSettings())
    gpu: GpuSettings = Field(default_factory=lambda: GpuSettings())
    models: ModelSettings = Field(default_factory=lambda: ModelSettings())
    objectives: list[ObjectiveSettings] = Field(
        [],
        description="What the service promises its users, as shares of calls; see docs/objectives.md. Empty: nothing.",
    )
    drift: DriftSettings = Field(default_factory=lambda: DriftSettings())
    cohorts: CohortSettings = Field(default_factory=lambda: CohortSettings())
    privacy: PrivacySettings = Field(default_factory=lambda: PrivacySettings())
    jobs: JobSettings = Field(default_factory=lambda: JobSettings())
    dashboard: DashboardSettings = Field(default_factory=lambda: DashboardSettings())
    report: ReportSettings = Field(default_factory=lambda: ReportSettings())
    retention: RetentionSettings = Field(default_factory=lambda: RetentionSettings())
    prices: PriceSettings = Field(default_factory=lambda: PriceSettings())
    fleet: list[NodeRate] = Field(
        [], description="What nodes cost by the hour; of the entries that fit a node, the first counts."
    )
    budgets: list[Budget] = Field([], description="What may be spent by the calendar month.")
    probes: ProbeSettings = Field(default_factory=lambda: ProbeSettings())
    alerting: AlertingSettings = Field(default_factory=lambda: AlertingSettings())
    alerts: list[AlertRule] = Field(
        [], description="Alert rules, beside those that are there by default; see docs/alerts.md."
    )
    receivers: dict[str, ReceiverSettings] = Field(
        {}, description="Who is told of alerts, and by which channels, by name; see docs/alerts.md. Empty: nobody."
    )
    routing: RoutingSettings = Field(default_factory=lambda: RoutingSettings())

    @field_validator("objectives")
    @classmethod
    def _no_twins(cls, value: list[ObjectiveSettings]) -> list[ObjectiveSettings]:
        return refuse_twins(value)

    @field_validator("alerts")
    @classmethod
    def _no_twin_rules(cls, value: list[AlertRule]) -> list[AlertRule]:
        return refuse_twin_rules(value)

    @field_validator("receivers")
    @classmethod
    def _speakable(cls, value: dict[str, ReceiverSettings]) -> dict[str, ReceiverSettings]:
        return refuse_odd_names(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment lies over the file; what the file holds is given as init values.
        return env_settings, init_settings

    @property
    def embedded(self) -> bool:
        return not self.store.url or self.store.url.startswith("chdb:")

    @property
    def store_url(self) -> str:
        return self.store.url or f"chdb://{(self.data / 'store').resolve()}"

    @property
    def node_urls(self) -> list[str]:
        """Addresses at which the schema is made, one after the other."""
        given = urlsplit(self.store_url)
        user = f"{given.netloc.rpartition('@')[0]}@" if "@" in given.netloc else ""
        urls = []
        for node in self.store.nodes:
            parts = urlsplit(node)
            netloc = parts.netloc if "@" in parts.netloc else f"{user}{parts.netloc}"
            urls.append(urlunsplit((parts.scheme, netloc, parts.path.rstrip("/") or given.path, "", "")))
        # The address that all else is sent to comes last: when it is ready, all are.
        return [url for url in urls if url != self.store_url] + [self.store_url]

    @property
    def wal_dir(self) -> Path:
        return self.data / "wal"
