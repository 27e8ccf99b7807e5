"""Commands about costs: `cost reprice`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.store import Client

cost_app = typer.Typer(help="Work on what was spent.", no_args_is_help=True)
app.add_typer(cost_app, name="cost")


@cost_app.callback()
def cost() -> None:
    """Work on what was spent."""


@cost_app.command("reprice")
def reprice(
    since: Annotated[str, typer.Option(help="Begin of the period: 2026-03-01, 2026-03-01T10:00 (UTC), or 7d ago.")],
    until: Annotated[
        str | None, typer.Option(help="End of the period, likewise (default: now).", show_default=False)
    ] = None,
    book: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file whose `prices` and `fleet` are used (default: those of the configuration).",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Cost a past period again, with the prices and rates of today's configuration or of another file.

    Whole hours are costed, as far as the calls are still kept. The same prices give the same cents, however often. An
    embedded store must not be in use by a running `monitor up`.
    """
    from datetime import UTC, datetime

    from monitor.jobs.cost import reprice as run
    from monitor.kpis.sources.cost import NANO
    from monitor.settings import load_settings
    from monitor.store.client import connect, explained, server_address
    from monitor.store.owner import Claim
    from monitor.store.reader import refuse_missing

    settings = load_settings(config, data)
    used = settings
    if book is not None:
        other = load_settings(book)
        used = settings.model_copy(update={"prices": other.prices, "fleet": other.fleet})
    now = datetime.now(UTC)
    start, end = _moment(since, now), now if until is None else _moment(until, now)
    refuse_missing(settings)
    claim = Claim(settings.data) if settings.embedded else None
    try:
        client = connect(settings.store_url)
        try:
            with explained(server_address(settings.store_url)):
                _refuse_old_schema(client)
                version, before, after = run(client, used, since=start, until=end, now=now)
        finally:
            client.close()
    finally:
        if claim is not None:
            claim.release()
    currency = used.prices.currency
    print(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} (UTC), with {version}")
    print(f"before {before / NANO:.2f}, now {after / NANO:.2f} {currency}")


def _refuse_old_schema(client: Client) -> None:
    from monitor.errors import StoreError
    from monitor.store.migrate import pending

    if pending(client):
        raise StoreError("the store's schema is behind this release; run `monitor migrate`")


def _moment(text: str, now: datetime) -> datetime:
    from datetime import UTC, datetime

    from monitor.errors import BadInput
    from monitor.kpis import parse_duration

    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except BadInput:
        raise BadInput(f"`{text}` is neither a time nor a duration; write 2026-03-01, 2026-03-01T10:00 or 7d") from None
