"""Command `drift`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import app
from monitor.cli.common import Config, Data

if TYPE_CHECKING:
    from monitor.stats.drift import Drift, Options


class Method(StrEnum):
    JENSEN_SHANNON = "jensen_shannon"
    PSI = "psi"
    WASSERSTEIN = "wasserstein"
    KS = "ks"
    CHI_SQUARE = "chi_square"
    TOTAL_VARIATION = "total_variation"
    DOMAIN_CLASSIFIER = "domain_classifier"


@app.command()
def drift(
    reference: Annotated[
        str,
        typer.Option(
            help="The accepted past: a CSV or Parquet file (also gzipped), or a window of the store such as 7d..1d or"
            " 2026-11-01T00:00Z/2026-11-02T00:00Z.",
            show_default=False,
        ),
    ],
    current: Annotated[
        str, typer.Option(help="What is judged: a file or window, as the reference.", show_default=False)
    ],
    chunk: Annotated[
        str | None,
        typer.Option(help="Judge in parts: rows of a file, or a length of time of a window.", show_default=False),
    ] = None,
    method: Annotated[
        list[Method] | None,
        typer.Option(help="Effect size (default: jensen_shannon); may be repeated.", show_default=False),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Only these features, as a,b,c; may be repeated.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Effect that matters, instead of the method's own; with one method.", show_default=False),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Share of false ones among the drifts told, at most.")] = 0.05,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Windows: only calls where k=v, or k=a,b; may be repeated.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Compare what is current with a reference, feature by feature: effect, interval, p-value, verdict and its reason.

    A feature has drifted if its effect's interval lies above the threshold and chance is excluded over all features
    together; docs/drift.md has the methods, and when they lie.
    """
    chosen = list(dict.fromkeys(each.value for each in method or (Method.JENSEN_SHANNON,)))
    if threshold is not None and len(chosen) > 1:
        raise typer.BadParameter("--threshold goes with one --method; they have different scales")
    from monitor.drift import is_file, to_json, to_table
    from monitor.errors import BadInput
    from monitor.stats.drift import Options

    names = [name.strip() for each in columns or () for name in each.split(",") if name.strip()]
    files = [is_file(side) for side in (reference, current)]
    if files[0] != files[1]:
        which = reference if not files[0] else current
        raise BadInput(f"one side is a file, and `{which}` is none; give two files, or two windows of the store")
    try:
        limits = {} if threshold is None else {chosen[0]: threshold}
        options = Options(methods=tuple(chosen), thresholds=limits, alpha=alpha)
        if files[0]:
            if where:
                raise typer.BadParameter("--where filters calls of the store; files are taken as they are")
            found = _of_files(Path(reference), Path(current), chunk, names, options)
        else:
            found = _of_windows(reference, current, chunk, names, options, where, data, config)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if json:
        print(to_json(found))
        return
    from rich.console import Console

    Console().print(to_table(found))


def _of_files(reference: Path, current: Path, chunk: str | None, names: list[str], options: Options) -> list[Drift]:
    from rich.console import Console

    from monitor.drift import read_table
    from monitor.stats.drift import compare, left_out

    if chunk is not None and not (chunk.isdigit() and int(chunk) > 0):
        raise typer.BadParameter(f"a chunk of a file is a number of rows, not `{chunk}`", param_hint="--chunk")
    before, after = read_table(reference, names), read_table(current, names)
    out = {} if names else left_out(before, after)
    if out:
        said = ", ".join(f"{name} ({why})" for name, why in out.items())
        Console(stderr=True).print(f"left out: {said}", style="dim", highlight=False)
    return compare(before, after, columns=names, chunk=None if chunk is None else int(chunk), options=options)


def _of_windows(
    reference: str,
    current: str,
    chunk: str | None,
    names: list[str],
    options: Options,
    where: list[str] | None,
    data: Path | None,
    config: Path | None,
) -> list[Drift]:
    from datetime import UTC, datetime

    from monitor.drift import compare_windows, parse_window
    from monitor.kpis import parse_duration, parse_where
    from monitor.settings import load_settings
    from monitor.store.reader import open_existing

    now = datetime.now(UTC)
    before, after = parse_window(reference, now=now), parse_window(current, now=now)
    length = None if chunk is None else parse_duration(chunk)
    condition = parse_where(where or ())
    client = open_existing(load_settings(config, data))
    try:
        return compare_windows(client, before, after, columns=names, chunk=length, where=condition, options=options)
    finally:
        client.close()
