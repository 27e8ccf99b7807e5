"""Commands in this process, as typer runs them: starting a process of its own takes longer than most of them do."""

from __future__ import annotations

from typer.testing import CliRunner

from monitor.cli import app, commands
from monitor.errors import MonitorError

assert commands  # they add themselves to `app`


def inside(*arguments: str) -> str:
    """What `monitor ARGUMENTS` prints; it must succeed."""
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, MonitorError):
        raise AssertionError(f"monitor {' '.join(arguments)}: {done.exception}")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, f"monitor {' '.join(arguments)}: code {done.exit_code}\n{done.output}"
    return done.stdout


def refusal(*arguments: str) -> str:
    """The sentence with which `monitor ARGUMENTS` fails."""
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, MonitorError), f"monitor {' '.join(arguments)}: {done.exception}\n{done.output}"
    return str(done.exception)
