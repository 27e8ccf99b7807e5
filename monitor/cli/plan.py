"""Command `plan`."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from monitor.stats.plan import Catalogue, Load


class Routing(StrEnum):
    SHARED = "shared"
    RANDOM = "random"


class Kind(StrEnum):
    OWNED = "owned"
    RESERVED = "reserved"
    ON_DEMAND = "on_demand"
    SPOT = "spot"
    SERVERLESS = "serverless"
    PER_TOKEN = "per_token"


@app.command()
def plan(
    requests_per_day: Annotated[
        float | None, typer.Option(help="State the usage instead of reading the store.", show_default=False)
    ] = None,
    input_tokens: Annotated[
        float | None, typer.Option(help="Stated usage: mean tokens of a prompt.", show_default=False)
    ] = None,
    output_tokens: Annotated[
        float | None, typer.Option(help="Stated usage: mean tokens of an answer.", show_default=False)
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option(help="Stated usage: busiest hour over the mean hour (default: 2).", show_default=False),
    ] = None,
    hours: Annotated[
        int | None,
        typer.Option(help="Stated usage: hours of the day with requests (default: 24).", show_default=False),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Measured usage: how far back (default: 7d).", show_default=False)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Measured usage: only calls where k=v, or k=a,b; may be repeated.", show_default=False),
    ] = None,
    growth: Annotated[float, typer.Option(help="Plan for so many times the load.")] = 1.0,
    uncertainty: Annotated[
        float | None,
        typer.Option(
            help="How wrong the load may be, such as 0.2 for ±20 % (default: 0.2 if stated, 0 if measured).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Model to plan for; needed if the catalogue has several and it does not follow.")
    ] = "",
    ttft_objective: Annotated[float, typer.Option(help="Seconds within which the first token must come.")] = 2.0,
    tpot_objective: Annotated[
        float | None, typer.Option(help="Seconds that each further token may take.", show_default=False)
    ] = None,
    attainment: Annotated[float, typer.Option(help="Share of requests of each slot that must be in time.")] = 0.95,
    routing: Annotated[
        Routing, typer.Option(help="How requests find a replica: one shared queue (least load), or at random.")
    ] = Routing.SHARED,
    only: Annotated[
        list[Kind] | None, typer.Option(help="Only offers of this kind; may be repeated.", show_default=False)
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", help="Offers and speeds (default: packaged examples).", show_default=False),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Show plans that miss the objectives too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Find the cheapest way to serve the load: own, reserved, rented, spot, serverless GPUs, an API, or a mix.

    The load is what the store has seen, or what you state before anything runs. Each plan comes with its monthly cost
    and interval, the share of requests in time, and why it is chosen or not; docs/plan.md has the models behind it.
    """
    stated = {"--input-tokens": input_tokens, "--output-tokens": output_tokens, "--peak": peak, "--hours": hours}
    _check_usage(requests_per_day, stated, since, where, uncertainty)
    from monitor.errors import BadInput
    from monitor.plan import PACKAGED, choose_model, read_catalogue, to_json
    from monitor.stats.plan import Objectives, stated_load
    from monitor.stats.plan import plan as make_plan

    offers = read_catalogue(catalogue)
    kinds = [kind.value for kind in only or ()]
    try:
        objectives = Objectives(
            ttft_s=ttft_objective, tpot_s=tpot_objective, attainment=attainment, routing=routing.value
        )
        if requests_per_day is None:
            load, model = _measured(offers, model, since or "7d", where, uncertainty or 0.0, data, config)
        else:
            model = choose_model(offers, model, {})
            load = stated_load(
                requests_per_day=requests_per_day,
                input_tokens=input_tokens or 0.0,
                output_tokens=output_tokens or 0.0,
                peak=_usual_peak(hours) if peak is None else peak,
                hours=24 if hours is None else hours,
                level_error=0.2 if uncertainty is None else uncertainty,
            )
        report = make_plan(load.scaled(growth), offers.only(model=model, kinds=kinds), objectives)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if json:
        print(to_json(report))
        return
    from rich.console import Console

    from monitor.plan.render import to_view

    console = Console()
    console.print(to_view(report, all_plans=all))
    advice = " (examples: pass your own with --catalogue)" if offers.source == PACKAGED else ""
    console.print(f"prices as of {offers.as_of}, from {offers.source}{advice}", style="dim")


def _usual_peak(hours: int | None) -> float:
    return 1.0 if hours in (1, 2) else 2.0  # two hours cannot have a busiest one of twice their mean


def _check_usage(
    requests_per_day: float | None,
    stated: dict[str, float | int | None],
    since: str | None,
    where: list[str] | None,
    uncertainty: float | None,
) -> None:
    """Refuse options that do not go together, as wrong usage."""
    if requests_per_day is None:
        given = [name for name, value in stated.items() if value is not None]
        if given:
            raise typer.BadParameter(f"{', '.join(given)} state a usage; give --requests-per-day too")
    else:
        missing = [name for name in ("--input-tokens", "--output-tokens") if stated[name] is None]
        if missing:
            raise typer.BadParameter(f"--requests-per-day states a usage; give {' and '.join(missing)} too")
        if since is not None or where:
            raise typer.BadParameter("--since and --where read the store, but --requests-per-day states the usage")
    if uncertainty is not None and not 0 <= uncertainty < 1:
        raise typer.BadParameter(f"--uncertainty is a share from 0 to below 1, not {uncertainty:g}")


def _measured(
    offers: Catalogue,
    wanted: str,
    since: str,
    where: list[str] | None,
    uncertainty: float,
    data: Path | None,
    config: Path | None,
) -> tuple[Load, str]:
    """Load and model from the store; of the model's own calls, if there are such and no filter says otherwise."""
    from monitor.kpis import Window, parse_where
    from monitor.plan import choose_model, load_from_store, models_seen
    from monitor.plan.choose import plain
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    window, condition = Window.last(since), parse_where(where or ())
    client = open_existing(load_settings(config, data))
    try:
        seen = models_seen(client, window, where=condition)
        model = choose_model(offers, wanted, seen)
        same = tuple(name for name in seen if plain(name) == plain(model))
        if same and not condition:
            condition = {"model": same}
        load = load_from_store(client, window, where=condition, level_error=uncertainty)
        if not same and not condition:
            others = f"no call of {model} was seen: the calls of {', '.join(seen)} are planned for, all together"
            load = replace(load, note="; ".join(note for note in (load.note, others) if note))
        return load, model
    finally:
        client.close()
