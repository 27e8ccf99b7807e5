"""`monitor change`, and of `monitor alerts`: `silence`, `silences`, `send-test`."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from monitor.cli import app
from monitor.cli.alerts import alerts_app
from monitor.cli.common import Config, Data

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def change(
    title: Annotated[str, typer.Argument(help="What was changed, in a few words, such as 'deploy 1.4'.")],
    kind: Annotated[str, typer.Option(help="deploy, price or config.")] = "deploy",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Calls that it concerns: key=value, or key=a,b; may be given again. None: all."),
    ] = None,
    link: Annotated[str, typer.Option(help="Where to read more, such as the pull request.")] = "",
    author: Annotated[str, typer.Option(help="Who did it (default: you).", show_default=False)] = "",
    at: Annotated[
        str, typer.Option(help="When, such as 2026-01-31T12:00:00Z (default: now).", show_default=False)
    ] = "",
    source: Annotated[str, typer.Option(help="Who reports it, such as the name of a pipeline.")] = "shell",
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Record a change: a mark on charts, and a suspect in alerts that begin after it.

    Works while `monitor up` runs, through its API.
    """
    from monitor.kpis import parse_where
    from monitor.serve.ask import ask
    from monitor.serve.notify_api import CHANGES_PATH, add_change
    from monitor.settings import load_settings

    settings = load_settings(config, data)
    concerned = {key: list(values) for key, values in parse_where(where or []).items()}
    values = {"title": title, "kind": kind, "where": concerned, "link": link, "source": source}
    values |= {"author": author or _user()} | ({"timestamp": at} if at else {})
    done = ask(settings, "POST", CHANGES_PATH, values, add_change)
    if json:
        _print(done)
    else:
        print(f"recorded {done['kind']} `{done['title']}` at {done['timestamp']}")


@alerts_app.command()
def silence(
    matchers: Annotated[
        list[str] | None,
        typer.Argument(help="Which alerts: label=value, label!=value, label=~regex, label!~regex; all must hold."),
    ] = None,
    duration: Annotated[str, typer.Option("--for", help="How long, such as 2h.")] = "",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    starts: Annotated[
        str, typer.Option(help="From when, such as 2026-01-31T12:00:00Z (default: now).", show_default=False)
    ] = "",
    author: Annotated[str, typer.Option(help="Who (default: you).", show_default=False)] = "",
    change_id: Annotated[str, typer.Option("--change", help="Id of a silence to change instead.")] = "",
    end: Annotated[str, typer.Option("--end", help="Id of a silence to end now.")] = "",
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Keep alerts quiet for a while; they are evaluated all the same. `--end ID` ends a silence.

    Works while `monitor up` runs, through its API.
    """
    from urllib.parse import quote

    from monitor.errors import BadInput
    from monitor.serve.ask import ask
    from monitor.serve.notify_api import SILENCE_PATH, SILENCES_PATH, add_silence, end_silence
    from monitor.settings import load_settings

    settings = load_settings(config, data)
    if end:
        if matchers:
            raise BadInput("`--end` takes no matchers; it ends the silence of that id")
        done = ask(settings, "DELETE", SILENCE_PATH.format(id=quote(end, safe="")), {"id": end}, end_silence)
    else:
        if not matchers or not duration:
            raise BadInput(
                "say which alerts and for how long: monitor alerts silence node=gpu-1 --for 2h --comment 'disk swap'"
            )
        values: dict[str, Any] = {"matchers": matchers, "duration": duration, "comment": comment}
        values |= {"created_by": author or _user()}
        values |= {key: value for key, value in (("starts_at", starts), ("id", change_id)) if value}
        done = ask(settings, "POST", SILENCES_PATH, values, add_silence)
    if json:
        _print(done)
    else:
        print(f"{done['id']}: {', '.join(done['matchers'])} {done['status']} until {done['ends_at']}")


@alerts_app.command()
def silences(json: Json = False, data: Data = None, config: Config = None) -> None:
    """List silences: those that hold or will, and those that ended in the last week."""
    from monitor.serve.ask import ask
    from monitor.serve.notify_api import SILENCES_PATH, list_silences
    from monitor.settings import load_settings

    found = ask(load_settings(config, data), "GET", SILENCES_PATH, {}, list_silences)
    if json:
        _print(found)
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for heading in ("id", "state", "alerts", "from (UTC)", "until (UTC)", "by", "why"):
        table.add_column(heading)
    for each in found:
        moments = (each[key][:16].replace("T", " ") for key in ("starts_at", "ends_at"))
        texts = (", ".join(each["matchers"]), *moments, each["created_by"], each["comment"])
        table.add_row(each["id"], each["status"], *(escape(text) for text in texts))
    Console().print(table if found else "no silences")


@alerts_app.command("send-test")
def send_test(
    channel: Annotated[str, typer.Argument(help="A receiver of the configuration, or one channel: oncall/slack.")],
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Send a made-up message through a channel, or all channels of a receiver; exit code 1 if one does not take it."""
    from monitor.serve import send_test as sending
    from monitor.settings import load_settings

    results = sending.send_test(load_settings(config, data), channel)
    if json:
        _print([{"channel": name, "ok": not error, "error": error} for name, error in results])
    else:
        for name, error in results:
            print(f"{name}: {error or 'sent'}")
    if any(error for _, error in results):
        raise typer.Exit(1)


def _print(values: Any) -> None:
    from json import dumps

    print(dumps(values, indent=2, ensure_ascii=False))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
