"""Commands that close the loop: `dataset`, `export`."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

dataset_app = typer.Typer(help="Named sets of calls: list them, add calls to one, remove calls.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Where = Annotated[list[str] | None, typer.Option(help="Only where k=v, or k=a,b; may be repeated.", show_default=False)]


class Source(StrEnum):
    ALERT = "alert"
    RATING = "rating"
    SCORE = "score"
    DRIFT = "drift"
    REVIEW = "review"


class Kind(StrEnum):
    CHAT = "chat"
    EVAL = "eval"
    RAW = "raw"


class Keep(StrEnum):
    ANY = "any"
    RIGHT = "right"
    WRONG = "wrong"


class Order(StrEnum):
    ESTIMATE = "estimate"
    DISAGREE = "disagree"
    UNCERTAIN = "uncertain"


@dataset_app.command("list")
def list_(
    name: Annotated[str, typer.Argument(help="List the calls of this one.", show_default=False)] = "",
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """List all datasets, or the calls of one."""
    from json import dumps

    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.datasets import items_of, list_datasets, no_dataset
    from monitor.store.reader import open_existing

    settings = load_settings(config, data)
    client = open_existing(settings)
    try:
        with explained(server_address(settings.store_url)):
            found = items_of(client, name) if name else list_datasets(client)
            if name and not found:
                raise no_dataset(client, name)
    finally:
        client.close()
    records = [{key: _plain(value) for key, value in vars(each).items()} for each in found]
    if json:
        print(dumps(records, indent=2, ensure_ascii=False))
    elif not records:
        print("no dataset yet; `monitor dataset add NAME --from rating` makes one of badly rated calls")
    else:
        _print_table(records)


@dataset_app.command()
def add(
    name: Annotated[str, typer.Argument(help="The dataset; it is made by its first call.")],
    trace: Annotated[
        list[str] | None,
        typer.Argument(help="Calls, as TRACE or TRACE-SPAN; or else --from finds them.", show_default=False),
    ] = None,
    source: Annotated[
        Source | None,
        typer.Option("--from", help="Find calls: behind an alert, badly rated, low scores, drift, review queue."),
    ] = None,
    since: Annotated[str, typer.Option(help="With --from: how far back, such as 1h, 7d.")] = "7d",
    where: Where = None,
    kpi: Annotated[str, typer.Option(help="With --from alert: the KPI of its rule.", show_default=False)] = "",
    judged: Annotated[str, typer.Option(help="With --from score or review: what was judged.")] = "correct",
    below: Annotated[float, typer.Option(help="With --from score: scores under it.")] = 0.5,
    feature: Annotated[str, typer.Option(help="With --from drift: the feature.", show_default=False)] = "",
    order: Annotated[Order, typer.Option(help="With --from review: what the labels are for.")] = Order.ESTIMATE,
    limit: Annotated[int, typer.Option(help="With --from: how many calls at most.")] = 50,
    note: Annotated[str, typer.Option(help="Why these.", show_default=False)] = "",
    author: Annotated[str, typer.Option(help="Who adds them (default: this user).", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be added.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Add calls to a dataset: those that are named, or those that --from finds."""
    from monitor.errors import BadInput
    from monitor.iterate.candidates import Wanted, find_candidates
    from monitor.kpis import Window, parse_where
    from monitor.serve import datasets
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.datasets import Ids, check_name
    from monitor.store.reader import open_existing

    if bool(trace) == (source is not None):
        raise typer.BadParameter("name calls (TRACE or TRACE-SPAN), or say where to find them with --from")
    check_name(name)
    settings = load_settings(config, data)
    if source is None:
        ids, reason = _named(trace or []), "manual"
    else:
        wanted = Wanted(kpi=kpi, name=judged, below=below, feature=feature, order=order.value)
        client = open_existing(settings)
        try:
            with explained(server_address(settings.store_url)):
                found = find_candidates(
                    client, source.value, Window.last(since), where=parse_where(where or ()), wanted=wanted, limit=limit
                )
        finally:
            client.close()
        if not found:
            raise BadInput(f"--from {source.value} finds no call in the last {since}; give a longer --since")
        ids, reason = [Ids(trace_id=each.trace_id, span_id=each.span_id) for each in found], source.value
        if dry_run:
            _print_table([{key: _plain(value) for key, value in vars(each).items()} for each in found])
            return
    if dry_run:
        print(f"would add {len(ids):,} calls to {name}")
        return
    added = datasets.add(settings, name, ids, reason=reason, note=note, author=author or getpass.getuser())
    print(f"added {added:,} calls to {name}; {len(ids) - added:,} were in it")


@dataset_app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The dataset.")],
    trace: Annotated[
        list[str] | None, typer.Argument(help="Calls, as TRACE or TRACE-SPAN.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All of them: the dataset is gone.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Remove calls from a dataset; the calls themselves stay in the store."""
    from monitor.serve import datasets
    from monitor.settings import load_settings

    if bool(trace) == all:
        raise typer.BadParameter("name calls (TRACE or TRACE-SPAN), or give --all")
    removed = datasets.remove(load_settings(config, data), name, None if all else _named(trace or []))
    print(f"removed {removed:,} calls from {name}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Its name says the format: .jsonl, .jsonl.gz or .parquet.")],
    dataset: Annotated[str, typer.Option(help="Export the calls of this dataset.", show_default=False)] = "",
    since: Annotated[
        str | None,
        typer.Option(help="Export calls by time instead: how far back, such as 1h, 7d.", show_default=False),
    ] = None,
    where: Where = None,
    kind: Annotated[
        Kind,
        typer.Option("--as", help="chat: to fine-tune with; eval: to evaluate with; raw: every column and judgement."),
    ] = Kind.RAW,
    keep: Annotated[
        Keep, typer.Option(help="Only calls that people or ground truth say are right, or wrong.")
    ] = Keep.ANY,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write calls to a file, for fine-tuning, for evaluation, or as they are.

    Calls are read and written in blocks, so memory stays small. Only a whole file gets the name.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from monitor.iterate import export as write
    from monitor.kpis import Window, parse_where
    from monitor.settings import load_settings
    from monitor.store.client import explained, server_address
    from monitor.store.reader import open_existing

    if bool(dataset) == (since is not None):
        raise typer.BadParameter("give --dataset NAME, or --since with an optional --where")
    if dataset and where:
        raise typer.BadParameter("--where goes with --since; a dataset is exported whole")
    conditions, window = parse_where(where or ()), Window.last(since) if since is not None else None
    settings = load_settings(config, data)
    client = open_existing(settings)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    try:
        with (
            explained(server_address(settings.store_url)),
            Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ):
            task = progress.add_task("reading calls", total=None)
            done = write(
                client, file, kind=kind.value, dataset=dataset, window=window, where=conditions, keep=keep.value,
                on_written=lambda count: progress.update(task, description=f"{count:,} calls written"),
            )  # fmt: skip
    finally:
        client.close()
    left = [f"{done.without_content:,} without stored content"] if done.without_content else []
    left += [f"{done.by_verdict:,} by their verdict"] if done.by_verdict else []
    print(f"wrote {done.written:,} calls to {file}" + (f"; left out {' and '.join(left)}" if left else ""))


def _named(texts: list[str]):  # type: ignore[no-untyped-def]
    from monitor.store.datasets import check_ids

    return [check_ids(*text.partition("-")[::2]) for text in texts]


def _plain(value: object) -> object:
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return str(isoformat(timespec="seconds"))
    return list(value) if isinstance(value, tuple) else value


def _print_table(records: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in records[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for record in records:
        table.add_row(*(", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in record.values()))
    Console().print(table)
