"""Real ClickHouse servers on loopback: `python -m tests.tools.clickhouse_server --http-port N --path DIR`.

The library's entry point is `clickhouse local` with its full command line, which can listen. Users: `monitor`, who may do
all, `reader` (readonly = 2), `locked` (readonly = 1), `few`, who may read and write the database of that name and see system
tables, and `fewer`, who may not even that, all with the password; `default`, without one, is what the engine itself and the
shards among themselves use. There is no Keeper in it; with a ZooKeeper (`--keeper PORT`) replicated
tables are made, and find each other there, and KeeperMap tables work. That is all: the library has nothing that sends parts to other replicas, so
such tables stay read-only, and there is no ON CLUSTER.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tools.clickhouse_library import library
from tests.tools.ports import free_port

PASSWORD = "a-real-pass:word@1"
CLUSTER = "monitor"
# The same servers as replicas of one shard, of which each gets every row (COPIES) or one of them does (REPLICAS).
COPIES = "copies"
REPLICAS = "replicas"


class _Result(ctypes.Structure):
    """`local_result_v2` of chdb.h."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("vector", ctypes.c_void_p),
        ("elapsed", ctypes.c_double),
        ("rows_read", ctypes.c_uint64),
        ("bytes_read", ctypes.c_uint64),
        ("error", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Server:
    """One running server."""

    process: subprocess.Popen[bytes]
    port: int
    path: Path
    options: tuple[str, ...] = ()

    def restarted(self) -> Server:
        """The same again, after it ended."""
        return start(self.path, self.port, self.options)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, also to one that is suspended; `start` on the same path and port brings it back."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """It hangs: connections are taken by the system, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str = "default", user: str = "monitor", password: str = PASSWORD) -> str:
        from urllib.parse import quote

        return f"http://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"


def start(
    path: Path,
    port: int | None = None,
    options: tuple[str, ...] = (),
    *,
    password: str = PASSWORD,
    read_only: bool = False,
) -> Server:
    """Start a server on this data folder and wait until it answers; `read_only` forbids `monitor` to write, too."""
    more = ("--password", password, *(["--read-only"] if read_only else []))
    server = launch(path, port, (*options, *more))
    wait(server)
    return server


def launch(path: Path, port: int | None = None, options: tuple[str, ...] = ()) -> Server:
    """Start a server without waiting for it."""
    port = port or free_port()
    path.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.tools.clickhouse_server", "--http-port", str(port), "--path", str(path)]
    command += options
    with (path.parent / f"{path.name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    return Server(process, port, path, options)


def wait(server: Server) -> None:
    """Until it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ping", timeout=1).read()
            return
        except OSError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                server.process.kill()
                log = server.path.parent / f"{server.path.name}.log"
                raise RuntimeError(f"no ClickHouse server: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)


@contextlib.contextmanager
def running(path: Path) -> Iterator[Server]:
    server = start(path)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def cluster(folder: Path, shards: int = 2, *, keeper: int | None = None) -> Iterator[list[Server]]:
    """Servers that know each other as the shards of the cluster `CLUSTER`; a list whose items a test may replace.

    With the port of a ZooKeeper as `keeper` their macros say that they are replicas of one shard, as in `REPLICAS`.
    """
    tcp_ports = [free_port() for _ in range(shards)]
    hosts = ",".join(f"127.0.0.1:{port}" for port in tcp_ports)
    more = ("--keeper", str(keeper)) if keeper else ()
    servers = [
        launch(
            folder / f"shard{number}",
            None,
            ("--tcp-port", str(port), "--cluster", hosts, "--shard", str(number), *more),
        )
        for number, port in enumerate(tcp_ports, 1)
    ]
    try:
        for server in servers:
            wait(server)
        yield servers
    finally:
        for server in servers:
            server.stop()


# On a busy machine one shard takes longer to answer another than the defaults allow (1 s), and is then asked over a second
# connection while the first is cut off. A server that is a `clickhouse local` does not survive a connection that is reset.
_PATIENCE: Final = (
    "<use_hedged_requests>0</use_hedged_requests>"
    "<connect_timeout_with_failover_ms>30000</connect_timeout_with_failover_ms>"
    "<handshake_timeout_ms>30000</handshake_timeout_ms>"
)


def _write_config(
    folder: Path, password: str, hosts: str, number: int, keeper: int | None = None, *, read_only: bool = False
) -> Path:
    secret = f"<password>{password}</password>"
    profile = "reading" if read_only else "default"
    networks = "<networks><ip>::1</ip><ip>127.0.0.1</ip></networks><quota>default</quota>"
    (folder / "users.xml").write_text(
        f"<clickhouse><profiles><default>{_PATIENCE}</default><reading>{_PATIENCE}<readonly>2</readonly></reading>"
        f"<locked>{_PATIENCE}<readonly>1</readonly></locked></profiles><users>"
        f"<default><password></password><profile>default</profile>{networks}</default>"
        f"<monitor>{secret}<profile>{profile}</profile>{networks}<access_management>1</access_management></monitor>"
        f"<reader>{secret}<profile>reading</profile>{networks}</reader>"
        f"<locked>{secret}<profile>locked</profile>{networks}</locked>"
        f"<few>{secret}<profile>default</profile>{networks}<grants><query>GRANT SELECT, INSERT ON few.*</query>"
        "<query>GRANT SELECT ON system.*</query></grants></few>"
        f"<fewer>{secret}<profile>default</profile>{networks}<grants><query>GRANT SELECT, INSERT ON few.*</query>"
        "</grants></fewer>"
        "</users><quotas><default/></quotas></clickhouse>",
        encoding="utf-8",
    )
    replicas = [
        f"<replica><host>{host}</host><port>{port}</port></replica>"
        for host, port in (each.split(":") for each in hosts.split(",") if each)
    ]
    servers = "".join(
        f"<{name}>{shards}</{name}>"
        for name, shards in (
            (CLUSTER, "".join(f"<shard>{replica}</shard>" for replica in replicas)),
            (COPIES, f"<shard>{''.join(replicas)}</shard>"),
            (REPLICAS, f"<shard><internal_replication>true</internal_replication>{''.join(replicas)}</shard>"),
        )
        if replicas
    )
    # Each says where its sessions are: as the library gives all servers one id, they would end each other's.
    meeting = (
        f"<zookeeper><node><host>127.0.0.1</host><port>{keeper}</port></node>"
        f"<sessions_path>/sessions/{number}</sessions_path></zookeeper>"
        "<keeper_map_path_prefix>/keeper_map</keeper_map_path_prefix>"
        if keeper
        else ""
    )
    config = folder / "config.xml"
    config.write_text(
        f"<clickhouse><users_config>{folder}/users.xml</users_config><remote_servers>{servers}</remote_servers>{meeting}"
        "<merge_tree><old_parts_lifetime>480</old_parts_lifetime></merge_tree>"  # as a server has it
        "<access_control_improvements><select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>"
        "</access_control_improvements>"
        f"<backups><allowed_path>{folder}/backups/</allowed_path></backups>"
        f"<macros><shard>{1 if keeper else number}</shard><replica>r{number}</replica></macros></clickhouse>",
        encoding="utf-8",
    )
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--password", default=PASSWORD)
    parser.add_argument("--read-only", action="store_true", help="`monitor` may not write either")
    parser.add_argument("--tcp-port", type=int, help="where other shards reach it")
    parser.add_argument("--cluster", default="", help="HOST:TCP_PORT,HOST:TCP_PORT,… one shard each")
    parser.add_argument("--shard", type=int, default=1)
    parser.add_argument("--keeper", type=int, help="port of a ZooKeeper, with which the shards are replicas of one")
    parser.add_argument("--seconds", type=int, default=3600, help="stop by itself after this long")
    options = parser.parse_args()
    folder = options.path.with_name(f"{options.path.name}-config")
    folder.mkdir(exist_ok=True)
    config = _write_config(
        folder, options.password, options.cluster, options.shard, options.keeper, read_only=options.read_only
    )
    listen = "SYSTEM START LISTEN HTTP;"
    if options.tcp_port:
        listen += " SYSTEM START LISTEN TCP;"
    # `clickhouse local` ends with its queries, so the last one takes as long as the server shall run.
    stay = f"SELECT sleepEachRow(1) FROM numbers({options.seconds}) SETTINGS max_block_size = 1 FORMAT Null"
    arguments = [
        "clickhouse",
        f"--config-file={config}",
        f"--path={options.path}",
        f"--http_port={options.http_port}",
        "--listen_host=127.0.0.1",
        f"--query={listen} {stay}",
    ]
    if options.tcp_port:
        arguments.insert(-1, f"--tcp_port={options.tcp_port}")
    engine = ctypes.CDLL(str(library()))
    engine.query_stable_v2.restype = ctypes.POINTER(_Result)
    array = (ctypes.c_char_p * len(arguments))(*[argument.encode() for argument in arguments])
    result = engine.query_stable_v2(len(arguments), array)
    if result and result.contents.error:
        sys.exit(result.contents.error.decode())


if __name__ == "__main__":
    main()
