"""The command `monitor`. A failure is one sentence that says what, where and what to do; exit code 1, wrong usage 2."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from monitor.errors import MonitorError

app = typer.Typer(
    name="monitor",
    help="Inference Monitor: know how your language models do, and be told before your users notice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_debug = False


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and detailed logs.")] = False,
) -> None:
    global _debug
    _debug = debug
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not debug:
        for chatty in ("uvicorn", "httpx2", "asyncio", "grpc"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        for noisy in ("clickhouse_connect", "urllib3"):  # what they warn of is raised, and said, as well
            logging.getLogger(noisy).setLevel(logging.ERROR)


def main() -> None:
    """Entry point of the command."""
    # Each command imports what it needs when it runs: `--help` and a wrong option answer at once.
    from monitor.cli import commands  # noqa: F401

    try:
        app()  # ends by SystemExit, also for wrong usage (2)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output has seen enough, for example `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except MonitorError as error:
        if _debug:
            raise
        print(f"monitor: {error}", file=sys.stderr)
        code = 1
    except Exception as error:
        if _debug:
            raise
        text = str(error).splitlines()[0] if str(error) else ""
        print(
            f"monitor: unexpected {type(error).__name__}: {text}; run `monitor --debug …` to see where", file=sys.stderr
        )
        code = 1
    sys.exit(code)
