"""The one factory for ClickHouse connections: embedded chDB and a server give the same client.

No other module imports the driver. Facts about chDB that shape this file: one engine (one folder) a process, one
process a folder, no fork after the folder is open, any number of handles, which run in parallel.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from monitor.errors import BadInput, MonitorError, Retryable, StoreAway, StoreError, StoreLocked

__all__ = [
    "Client",
    "connect",
    "error_code",
    "explained",
    "is_embedded",
    "is_transient",
    "reason",
    "server_address",
    "store_path",
]

# Its warnings quote the address with the whole statement, in which a secret may stand; what it warns of is raised too.
# Said here because importing the driver sets a level of its own.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
# Times are UTC everywhere; without this, naive datetimes are taken as local time.
common.set_setting("naive_datetime_insert", "server")
# A client is shared by threads; with a session, a server would refuse two queries at a time.
common.set_setting("autogenerate_session_id", False)

DEFAULT_DATABASE = "default"

# ClickHouse error codes: name -> number, as in its ErrorCodes.cpp.
_UNKNOWN_DATABASE = 81
_AUTHENTICATION_FAILED = 516
_PASSWORD_REQUIRED = 194
_READONLY = 164
# "Try later": too many parts, memory, time-outs, network, quota, read-only disk, no space, replica trouble.
_TRANSIENT = frozenset({
    23, 74, 75, 76, 159, 201, 202, 203, 209, 210, 216, 219, 225, 236, 241, 242, 243, 252, 254, 279, 285, 286, 307, 319,
    341, 394, 415, 425, 439, 516, 517, 194, 164, 999,
})  # fmt: skip
# ClickHouse's `priority` of statements that somebody waits for; 0 is outside of the order.
QUERY_PRIORITY = 1
# What makes a Distributed table answer and take rows as a plain one does; without such tables they change nothing.
_CLUSTER_SETTINGS = {
    "distributed_foreground_insert": "1",  # acknowledged means: on its shards
    "distributed_product_mode": "global",  # a sub-select is answered by all shards, not by each for itself
}
# The engine's allocator gives memory back to the system after so long, not at once: between two inserts it would be
# taken and cleared again page by page. A twentieth of an insert's CPU time or more, for a quarter more memory.
_ALLOCATOR = ("JE_MALLOC_CONF", "dirty_decay_ms:30000")
_CONFIG = Path(__file__).with_name("chdb.xml")
_LOCKED_TEXT = "Error initializing EmbeddedServer"


def is_embedded(url: str) -> bool:
    return url.startswith("chdb:")


def store_path(url: str) -> Path:
    """Folder of an embedded store."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise BadInput(f"store.url `{url}` needs three slashes and an absolute folder: chdb:///absolute/folder")
    return Path(unquote(parts.path))


def server_address(url: str) -> str:
    """The url without its password, for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def any_rows(client: Client, rows: str) -> bool:
    """Whether there is a row in `table` or `table WHERE condition`.

    They are counted: a LIMIT would cut a shard of a cluster off in its answer, which leaves its connection unusable.
    """
    return int(the_row(client, f"SELECT count() FROM {rows}")[0]) > 0


def no_answer() -> StoreAway:
    """What to raise where an answer has nothing in it, though it always has something."""
    return StoreAway("ClickHouse's answers come empty, probably for lack of space on its disk")


def the_row(client: Client, query: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """The row of a query that has one whatever is stored, such as a count.

    Raises
    ------
    StoreAway
        If there is none. chDB's HTTP interface buffers answers in files, and does not notice that it cannot write them.
    """
    rows = client.query(query, parameters=dict(parameters or {})).result_rows
    if not rows:
        raise no_answer()
    row: Sequence[Any] = rows[0]
    return row


def half_the_cores() -> int:
    """Threads of one statement of the embedded engine, which shares the machine with all else: half its cores, at least one."""
    return max(1, (os.cpu_count() or 2) // 2)


def background_settings() -> dict[str, int]:
    """Settings of statements that nobody waits for, in an embedded store: they give way to those of readers.

    At each block that they read they wait as long as a statement with a smaller number (`QUERY_PRIORITY`) runs, but no longer
    than 50 ms, so that they come to an end however much is asked. Inserts have none and never wait.
    """
    return {"max_threads": half_the_cores(), "priority": QUERY_PRIORITY + 1, "low_priority_query_wait_time_ms": 50}


def connect(
    url: str, *, database: str | None = None, settings: Mapping[str, Any] | None = None, timeout_s: float = 300.0
) -> Client:
    """Open one client (one handle of the embedded engine, or one server connection pool).

    Parameters
    ----------
    url : str
        `chdb:///absolute/folder` or `http(s)://user:password@host:port/database`.
    database : str, optional
        Database instead of the one in the url.
    settings : mapping, optional
        ClickHouse settings of this client.
    timeout_s : float
        Longest wait for a server's answer, in seconds.

    Raises
    ------
    StoreLocked
        If another process has the embedded folder open.
    StoreAway
        If the server does not answer.
    StoreError
        If it refuses: wrong password, unknown database, folder not writable.
    """
    if is_embedded(url):
        return _connect_embedded(store_path(url), database, settings)
    return _connect_server(url, database, settings, timeout_s)


def _connect_embedded(path: Path, database: str | None, settings: Mapping[str, Any] | None) -> Client:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"cannot make the store folder {path}: {error.strerror}; choose another with --data") from None
    if not os.access(path, os.W_OK):
        raise StoreError(
            f"the store folder {path} is not writable by this user; correct its owner, or choose another with --data"
        )
    os.environ.setdefault(*_ALLOCATOR)  # it is read when the engine is loaded, which is now
    try:
        return clickhouse_connect.get_client(
            interface="chdb",
            path=f"{path}?config-file={quote(str(_CONFIG))}",
            database=database or DEFAULT_DATABASE,
            settings=dict(settings or {}),
        )
    except ClickHouseError as error:
        if _LOCKED_TEXT in str(error):
            raise StoreLocked(
                f"the store folder {path} cannot be opened: another process has it open, or its disk is full;"
                " stop that process, or choose another folder with --data"
            ) from None
        raise StoreError(f"the store folder {path} cannot be opened: {_first_line(error)}") from None


def _connect_server(url: str, database: str | None, settings: Mapping[str, Any] | None, timeout_s: float) -> Client:
    parts = urlsplit(url)
    address = server_address(url)
    try:
        client = clickhouse_connect.get_client(
            host=parts.hostname or "localhost",
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            secure=parts.scheme == "https",
            username=unquote(parts.username) if parts.username else "default",
            password=unquote(parts.password) if parts.password else "",
            database=database or parts.path.strip("/") or DEFAULT_DATABASE,
            settings=dict(settings or {}),
            connect_timeout=10,
            send_receive_timeout=int(timeout_s),
            client_name="inference-monitor",
            query_retries=0,
        )
    except ClickHouseError as error:
        raise _explain_server(error, address) from None
    readonly = client.server_settings.get("readonly")
    for name, value in _CLUSTER_SETTINGS.items():
        known = client.server_settings.get(name)
        # Who may only read (readonly = 1) may set nothing; on a cluster, that user's profile has to say it.
        if known is None or known.readonly or (readonly is not None and readonly.value == "1"):
            continue
        if name not in (settings or {}):
            client.set_client_setting(name, value)
    return client


def _explain_server(error: ClickHouseError, address: str) -> MonitorError:
    code = error_code(error)
    if code in (_AUTHENTICATION_FAILED, _PASSWORD_REQUIRED):
        return StoreError(f"ClickHouse at {address} refused the user or password of store.url; correct them")
    if code == _UNKNOWN_DATABASE:
        return StoreError(f"ClickHouse at {address} has no such database; run `monitor migrate`, which makes it")
    if code is None or isinstance(error, OperationalError):
        return StoreAway(
            f"ClickHouse at {address} does not answer ({_first_line(error)}); is it running, and is store.url right?"
        )
    return (StoreAway if is_transient(error) else StoreError)(f"ClickHouse at {address} refused: {_first_line(error)}")


def error_code(error: BaseException) -> int | None:
    """ClickHouse's error number, or None if the error is not from ClickHouse itself."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) and code > 0 else None


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the store is away, full, busy, or locked against us for now."""
    if isinstance(error, Retryable):
        return True
    code = error_code(error)
    if code is not None:
        return code in _TRANSIENT
    # No code: the connection broke, or the engine is going down.
    return isinstance(error, (OperationalError, OSError)) or (
        isinstance(error, DatabaseError) and "Error executing HTTP request" in str(error)
    )


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn the driver's errors into ours, in one sentence, inside a `with`."""
    try:
        yield
    except ClickHouseError as error:
        if error_code(error) == _READONLY:
            raise BadInput(f"only reading is allowed here: {_first_line(error)}") from error
        raise _explain_server(error, address) from error


def reason(error: BaseException) -> str:
    """Why a statement of ours failed, in one line for logs and pages.

    Without the statement, which driver and server quote, and in which a secret may stand.
    """
    if isinstance(error, MonitorError):
        return str(error)
    words = _first_line(error)
    if error_code(error) is None:
        return words
    name = _ERROR_NAME.search(words)
    said = _STATEMENT.split(_PREFIX.sub("", words))[0].strip()
    return f"{said} {name.group(1)}" if name and not said.endswith(name.group(1)) else said


# What the system said, out of the driver's account of its attempts.
_SYSTEM_REASON = re.compile(
    r"\[Errno -?\d+\] ([^\"'\])]+)|Error\(\d+, '([^']+)'\)|(timed out)|(Name or service not known)"
    r"|(Remote end closed connection)"
)
_PREFIX = re.compile(
    r"^(?:Received ClickHouse exception, code: \d+, server response: )?Code: \d+\. DB::(Net)?Exception: "
)
# Where ClickHouse's own words end and the statement that it quotes begins.
_STATEMENT = re.compile(
    r"[:,.;]? *(?:in scope|in query|while processing|while executing '|failed at position).*", re.IGNORECASE
)
_ERROR_NAME = re.compile(r"(\([A-Z][A-Z0-9_]+\))$")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if error_code(error) is None and (found := _SYSTEM_REASON.search(text)) is not None:
        return next(group for group in found.groups() if group).strip().lower()
    for unwanted in (" (for url ", " with url: ", " executing HTTP request", " (version "):
        text = text.split(unwanted)[0].strip()
    return text[:300]
