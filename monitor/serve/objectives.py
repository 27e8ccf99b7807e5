"""The configured objectives, put where processes find them that read the store alone."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from monitor.settings import Settings
from monitor.store.client import Client
from monitor.store.objectives import write_objectives

logger = logging.getLogger(__name__)


def store_objectives(settings: Settings, client: Client) -> None:
    """Write what differs from what is stored. Of several processes with different files, the last one to start is right."""
    for title in write_objectives(client, settings.objectives, now=datetime.now(UTC)):
        logger.info("%s", title)
