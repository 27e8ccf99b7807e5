"""What servers of one cluster must agree on before the schema is changed: who answers, and how their tables are made.

Replicas of a table find each other by its path in the Keeper, and ClickHouse refuses one that is made otherwise than
those that are there. What a migration says is how the table began: since then it may have got columns and another time
to live. So a server that has no replica yet makes it as the others have it now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from monitor.errors import StoreAway, StoreError
from monitor.store.client import Client, is_transient
from monitor.store.cluster import Layout

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\b")
_VIEW: Final = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)\b")
_ADDRESS: Final = re.compile(r"\(([^()\s]+:\d+)\)")  # of the server, in ClickHouse's words
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"
_DEFINITION: Final = re.compile(r"CREATE TABLE (?:\w+|`(?:[^`\\]|\\.|``)*`)\.\w+\s+")


def refuse_unfit_cluster(client: Client, layout: Layout) -> None:
    """Say so if the cluster cannot get the schema as a whole, or would lose rows or take them twice.

    Raises
    ------
    StoreAway
        If a server does not answer. ON CLUSTER would wait for it for minutes.
    StoreError
        If the servers know no such cluster, or what they write to each replica does not go with the tables.
    """
    name = _name(client, layout)
    query = (
        "SELECT shard_num, count(), any(internal_replication) FROM system.clusters WHERE cluster = {cluster:String}"
        " GROUP BY shard_num ORDER BY shard_num"
    )
    shards = client.query(query, parameters={"cluster": name}).result_rows
    if not shards:
        raise StoreError(
            f"the server has no cluster `{name}` in its remote_servers; correct store.cluster, or add it there"
        )
    for number, replicas, internal in shards:
        if int(replicas) > 1 and bool(internal) != layout.replicated:
            raise StoreError(
                f"shard {number} of the cluster `{name}` has {replicas} replicas, and its internal_replication is"
                f" {'on' if internal else 'off'} in remote_servers, while the tables are"
                f" {'' if layout.replicated else 'not '}replicated: {_harm(replicated=layout.replicated)};"
                f" turn it {'on' if layout.replicated else 'off'} there, or change store.replicated"
            )
    if layout.on_cluster or layout.replicated:
        _refuse_absence(client, layout, name)


def _harm(*, replicated: bool) -> str:
    return "each row would be written to all of them" if replicated else "each row would reach one of them only"


def _name(client: Client, layout: Layout) -> str:
    """The cluster's name, with what the server puts for macros."""
    name = layout.cluster
    if "{" in name:
        for macro, value in client.query("SELECT macro, substitution FROM system.macros").result_rows:
            name = name.replace(f"{{{macro}}}", str(value))
    return name


def _refuse_absence(client: Client, layout: Layout, name: str) -> None:
    try:
        client.command(f"SELECT count() FROM clusterAllReplicas('{layout.cluster}', system.one)")
    except ClickHouseError as error:
        if not is_transient(error):
            raise
        found = _ADDRESS.search(str(error))
        raise StoreAway(
            f"a server of the cluster `{name}` does not answer{f' ({found.group(1)})' if found else ''}, and the schema is"
            " to be changed on all of them; start it, then run `monitor migrate`"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Present:
    """What servers of the cluster have: CREATE statement of each replicated table, id of each materialized view."""

    tables: dict[str, str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)

    def adapt(self, statement: str) -> str:
        """The statement of a migration, as replicas can follow it that are not the first."""
        if (match := _TABLE.match(statement)) is not None:
            return self.tables.get(match.group(1), statement)
        if (match := _VIEW.match(statement)) is not None and match.group(1) in self.views:
            # By the view's id and the insert's token a replica knows rows that came through another replica before.
            return f"{match.group()} UUID '{self.views[match.group(1)]}'{statement[match.end() :]}"
        return statement


def present_on(client: Client, layout: Layout) -> Present:
    """What servers of the cluster have by now in this database.

    That of the same shard comes first: it must be the same, while another shard may be one change ahead.
    """
    of_server = client.query("SELECT substitution FROM system.macros WHERE macro = 'shard'").result_rows
    shard = str(of_server[0][0]) if of_server else ""
    macro = "getMacro('shard')" if of_server else "''"
    query = (
        f"SELECT {macro} AS shard, name, create_table_query, toString(uuid) AS id"
        f" FROM clusterAllReplicas('{layout.cluster}', system.tables)"
        " WHERE database = {database:String} AND (startsWith(engine, 'Replicated') OR engine = 'MaterializedView')"
    )
    rows = client.query(query, parameters={"database": client.database}).result_rows
    found = Present()
    for _, name, create, identity in sorted(rows, key=lambda row: (row[0] != shard, *row)):
        if (match := _DEFINITION.match(create)) is not None:
            # Of a path by the table's id: by an id of its own, a new replica would stand alone.
            body = create[match.end() :].replace("{uuid}", identity)
            found.tables.setdefault(name, f"CREATE TABLE IF NOT EXISTS {name}{layout.ddl} {body}")
        elif identity != _NO_ID:
            found.views.setdefault(name, identity)
    return found
