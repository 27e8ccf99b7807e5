"""Configuration: one file, `monitor.yaml`, with `MONITOR_…` environment variables laid over it.

Every key has a default, so that everything works without a file. Unknown keys are refused by name, with the nearest
right one. Secrets are given as `${ENV_NAME}` or as a `…_file`, are kept in `SecretStr`, and are never printed.
"""

from monitor.settings.alerts import AlertingSettings, AlertRule
from monitor.settings.collectors import CollectorSettings, GpuSettings, ModelSettings, PrivacySettings
from monitor.settings.drift import CohortSettings, DriftSettings
from monitor.settings.fleet import Budget, NodeRate
from monitor.settings.jobs import JobSettings
from monitor.settings.load import load_settings
from monitor.settings.objectives import ObjectiveSettings
from monitor.settings.prices import OwnPrice, PriceSettings, PriceTier, TokenPrices
from monitor.settings.probes import ProbeSettings
from monitor.settings.receivers import ReceiverSettings
from monitor.settings.routing import RoutingSettings
from monitor.settings.section import Section
from monitor.settings.store import RetentionSettings, StoreSettings
from monitor.settings.tree import Settings

__all__ = [
    "AlertRule",
    "AlertingSettings",
    "Budget",
    "CohortSettings",
    "CollectorSettings",
    "DriftSettings",
    "GpuSettings",
    "JobSettings",
    "ModelSettings",
    "NodeRate",
    "ObjectiveSettings",
    "OwnPrice",
    "PriceSettings",
    "PriceTier",
    "PrivacySettings",
    "ProbeSettings",
    "ReceiverSettings",
    "RetentionSettings",
    "RoutingSettings",
    "Section",
    "Settings",
    "StoreSettings",
    "TokenPrices",
    "load_settings",
]
