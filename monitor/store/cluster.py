"""The schema on a cluster: what each statement of a migration becomes there.

A migration is written once, for one server. On a cluster a table `x` becomes two: `x_local`, which holds the rows of one
shard, and `x`, a Distributed table over all shards. The plain name is the Distributed one, so that every reader's SQL,
and every exporter that writes into the table, stay what they are. Materialized views exist on each shard, read the rows
that reach its `…_local` table and write into another `…_local` one.

Rows of one trace are on one shard, so that spans of a call meet, and so that a row which is sent twice meets itself:
only on one shard can a deduplication window or FINAL tell that the two are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.errors import StoreError
from monitor.settings import Settings

LOCAL: Final = "_local"

# How long a replicated table knows the tokens of inserts: a store may be away for days before a segment is sent again.
_REPLICATED_WINDOW: Final = "replicated_deduplication_window_seconds = 604800"
_WINDOW: Final = "non_replicated_deduplication_window"

_TOKEN: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'|`[^`]+`|--[^\n]*|\s+|[A-Za-z_]\w*|\d[\w.]*|.", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_]\w*|`[^`]+`")
_CREATE_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\s*", re.IGNORECASE)
_CREATE_MATERIALIZED: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)\s+TO\s+(\w+)\s+AS\s+", re.IGNORECASE
)
_CREATE_VIEW: Final = re.compile(r"CREATE (OR REPLACE )?VIEW (IF NOT EXISTS )?(\w+)\s+AS\s+", re.IGNORECASE)
_ALTER: Final = re.compile(r"ALTER TABLE (\w+)\s+", re.IGNORECASE)
_DROP: Final = re.compile(r"DROP (TABLE|VIEW) IF EXISTS (\w+)(\s+SYNC)?$", re.IGNORECASE)
_MERGE_TREE: Final = re.compile(r"(Replicated)?(\w*)MergeTree$")

# What an ALTER may do to a Distributed table: it has the columns, and nothing of how they are stored.
_FOR_COLUMNS: Final = re.compile(r"(ADD|DROP|MODIFY|RENAME|COMMENT|ALTER) COLUMN\b", re.IGNORECASE)
_FOR_STORAGE: Final = re.compile(
    r"(MODIFY|RESET) SETTING\b|(MODIFY|REMOVE|MATERIALIZE) TTL\b|MODIFY ORDER BY\b|(MATERIALIZE|CLEAR) COLUMN\b"
    r"|(ADD|DROP|MATERIALIZE|CLEAR) (INDEX|PROJECTION|STATISTICS)\b|(ADD|DROP) CONSTRAINT\b|DELETE\b|UPDATE\b",
    re.IGNORECASE,
)
_CLAUSES: Final = ("PARTITION", "PRIMARY", "ORDER", "SAMPLE", "TTL", "SETTINGS", "COMMENT")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How tables lie on the cluster; see `store` in `monitor.settings`."""

    cluster: str
    on_cluster: bool
    replicated: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> Layout | None:
        """None for a single server and the embedded engine."""
        section = settings.store
        if not section.cluster:
            return None
        replicated = section.on_cluster if section.replicated is None else section.replicated
        return cls(cluster=section.cluster, on_cluster=section.on_cluster, replicated=replicated)

    @property
    def ddl(self) -> str:
        """What follows the name of a table that a statement makes, changes or drops."""
        return f" ON CLUSTER '{self.cluster}'" if self.on_cluster else ""

    @property
    def settings(self) -> dict[str, int]:
        """Settings of statements that change tables."""
        # Where each server is told by itself, the next must know what the one before it changed, or it refuses (517).
        return {"alter_sync": 2} if self.replicated and not self.on_cluster else {}


@dataclass
class Renderer:
    """Turns statements into the cluster's, in the order in which they stand in the migrations.

    It remembers what was made, so that it can tell a table, which has a local twin, from a view, which has none.
    """

    layout: Layout
    _columns: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _views: set[str] = field(default_factory=set)

    def all(self, statements: Iterable[str]) -> list[str]:
        return [rendered for statement in statements for rendered in self.render(statement)]

    def render(self, statement: str) -> list[str]:
        """Statements for the cluster that do what this one does on one server.

        Raises
        ------
        StoreError
            If the statement has a shape that is not known here.
        """
        statement = statement.strip().rstrip(";").rstrip()
        if (match := _CREATE_TABLE.match(statement)) is not None:
            return self._create_table(match.group(1), statement[match.end() :])
        if (match := _CREATE_MATERIALIZED.match(statement)) is not None:
            view, target = match.groups()
            self._views.add(view)
            select = self._local_select(statement[match.end() :], statement)
            into = self._local(target, statement)
            return [f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view}{self.layout.ddl} TO {into} AS\n{select}"]
        if (match := _CREATE_VIEW.match(statement)) is not None:
            self._views.add(match.group(3))
            return [f"{match.group().split(' AS')[0].rstrip()}{self.layout.ddl} AS\n{statement[match.end() :]}"]
        if (match := _ALTER.match(statement)) is not None:
            return self._alter(match.group(1), statement[match.end() :], statement)
        if (match := _DROP.match(statement)) is not None:
            return self._drop(*match.groups())
        raise _unknown(statement, "it is none of CREATE TABLE, CREATE VIEW, ALTER TABLE and DROP")

    def _create_table(self, name: str, rest: str) -> list[str]:
        statement = f"CREATE TABLE IF NOT EXISTS {name} {rest}"
        head, engine, arguments, tail = _engine(rest, statement)
        columns, head = self._head(head, statement)
        self._columns[name] = columns
        clauses = _clauses(tail)
        key = _sharding_key(name, engine, columns, _sort_key(clauses))
        local = f"{name}{LOCAL}"
        create = f"CREATE TABLE IF NOT EXISTS {local}{self.layout.ddl}\n{head}\n{self._engine(engine, arguments, name)}"
        if tail:
            create += f"\n{self._settings(tail) if _is_merge_tree(engine) else tail}"
        twin = (
            f"CREATE TABLE IF NOT EXISTS {name}{self.layout.ddl} AS {local}\n"
            f"ENGINE = Distributed('{self.layout.cluster}', currentDatabase(), '{local}', {key})"
        )
        return [create, twin]

    def _head(self, head: str, statement: str) -> tuple[list[tuple[str, str]], str]:
        """Columns, and the text that declares them."""
        if head.startswith("("):
            return _columns(head), head
        words = head.split()
        if len(words) == 2 and words[0].upper() == "AS" and words[1] in self._columns:
            return self._columns[words[1]], f"AS {words[1]}{LOCAL}"
        raise _unknown(statement, "its columns are neither listed nor those of a table that was made before")

    def _engine(self, engine: str, arguments: str, name: str) -> str:
        if not self.layout.replicated or not _is_merge_tree(engine):
            return f"ENGINE = {engine}{arguments}"
        inner = arguments.strip()[1:-1].strip()
        if not self.layout.on_cluster:
            # Made on each server by itself, a table's default path would hold an id that no other replica has.
            path = f"'/clickhouse/tables/{{shard}}/{{database}}/{name}{LOCAL}', '{{replica}}'"
            inner = f"{path}, {inner}" if inner else path
        return f"ENGINE = Replicated{engine}" + (f"({inner})" if inner else "")

    def _settings(self, text: str) -> str:
        """A replicated table has its own names for the window in which inserts are known again."""
        if not self.layout.replicated or _WINDOW not in text:
            return text
        return re.sub(rf"\b{_WINDOW}(\s*=\s*\d+)", rf"replicated_deduplication_window\1, {_REPLICATED_WINDOW}", text)

    def _alter(self, name: str, rest: str, statement: str) -> list[str]:
        if name in self._views:
            if (match := re.match(r"MODIFY QUERY\s+", rest, re.IGNORECASE)) is None:
                raise _unknown(statement, "of a view only the query can be changed")
            select = self._local_select(rest[match.end() :], statement)
            return [f"ALTER TABLE {name}{self.layout.ddl} MODIFY QUERY\n{select}"]
        local = self._local(name, statement)
        commands = _split(rest)
        for_columns = [command for command in commands if _FOR_COLUMNS.match(command)]
        if any(command not in for_columns and _FOR_STORAGE.match(command) is None for command in commands):
            raise _unknown(statement, "what it changes is not known here")
        rendered = [f"ALTER TABLE {local}{self.layout.ddl} {', '.join(map(self._settings, commands))}"]
        if for_columns:
            rendered.append(f"ALTER TABLE {name}{self.layout.ddl} {', '.join(for_columns)}")
        return rendered

    def _drop(self, kind: str, name: str, sync: str | None) -> list[str]:
        if self._columns.pop(name, None) is None:
            self._views.discard(name)
            return [f"DROP {kind} IF EXISTS {name}{self.layout.ddl}{sync or ''}"]
        return [f"DROP TABLE IF EXISTS {each}{self.layout.ddl}{sync or ''}" for each in (name, f"{name}{LOCAL}")]

    def _local(self, name: str, statement: str) -> str:
        if name not in self._columns:
            raise _unknown(statement, f"no statement before it makes the table `{name}`")
        return f"{name}{LOCAL}"

    def _local_select(self, select: str, statement: str) -> str:
        """The query of a materialized view, reading local tables."""
        tokens = _TOKEN.findall(select)
        meaning = [i for i, token in enumerate(tokens) if not token.isspace() and not token.startswith("--")]
        following = dict(zip(meaning, [*meaning[1:], None], strict=True))
        named = {
            tokens[i]
            for i, after, then in zip(meaning, meaning[1:], meaning[2:], strict=False)
            if tokens[after].upper() == "AS" and tokens[then] == "("
        }
        for position, i in enumerate(meaning):
            token = tokens[i]
            if not _WORD.fullmatch(token):
                continue
            before = tokens[meaning[position - 1]].upper() if position else ""
            after = following[i]
            then = tokens[after] if after is not None else ""
            if before in ("FROM", "JOIN") and then not in ("(", "."):
                if token in named:
                    continue
                if then == ",":
                    raise _unknown(statement, "it joins tables by a comma; write JOIN")
                tokens[i] = self._local(token, statement)
            elif token in self._columns and then == "." and before != ".":
                tokens[i] = f"{token}{LOCAL}"
        return "".join(tokens)


def render(migrations: Sequence[Sequence[str]], layout: Layout) -> list[list[str]]:
    """The statements of each migration, in order, as the cluster's."""
    renderer = Renderer(layout)
    return [renderer.all(statements) for statements in migrations]


def _unknown(statement: str, why: str) -> StoreError:
    first = " ".join(statement.split())[:80]
    return StoreError(
        f"the schema statement `{first}…` cannot be made for a cluster: {why}; unset store.cluster, or correct the migration"
    )


def _is_merge_tree(engine: str) -> bool:
    return _MERGE_TREE.match(engine) is not None


def _depths(text: str) -> list[tuple[str, int]]:
    """Tokens with the depth of parentheses that they stand in; a parenthesis stands outside of itself."""
    depth = 0
    found = []
    for token in _TOKEN.findall(text):
        depth -= token in ")]"
        found.append((token, depth))
        depth += token in "(["
    return found


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no parentheses."""
    parts = [""]
    for token, depth in _depths(text):
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def _engine(rest: str, statement: str) -> tuple[str, str, str, str]:
    """What is before ENGINE, the engine, its arguments in parentheses (or nothing), and what follows."""
    pieces = _depths(rest)
    starts = [i for i, (token, depth) in enumerate(pieces) if depth == 0 and token.upper() == "ENGINE"]
    if len(starts) != 1:
        raise _unknown(statement, "it names no engine")
    head = "".join(token for token, _ in pieces[: starts[0]]).strip()
    match = re.match(
        r"ENGINE\s*=\s*(\w+)\s*", after := "".join(token for token, _ in pieces[starts[0] :]), re.IGNORECASE
    )
    if match is None:
        raise _unknown(statement, "it names no engine")
    engine, tail = match.group(1), after[match.end() :]
    if not _is_merge_tree(engine) and engine != "Null":
        raise _unknown(statement, f"the engine {engine} is not known here")
    if engine.startswith("Replicated"):
        raise _unknown(statement, "it is replicated already; write the engine for one server")
    arguments = ""
    if tail.startswith("("):
        end = next(i for i, (token, depth) in enumerate(_depths(tail)) if token == ")" and depth == 0)
        tokens = _TOKEN.findall(tail)
        arguments, tail = "".join(tokens[: end + 1]), "".join(tokens[end + 1 :]).strip()
    return head, engine, arguments, tail.strip()


def _columns(head: str) -> list[tuple[str, str]]:
    """Name and type (with what follows it) of each column."""
    found = []
    for item in _split(head.strip()[1:-1]):
        text = re.sub(r"--[^\n]*\n", "\n", item + "\n").strip()
        name, _, kind = text.partition(" ")
        if name.upper() not in ("INDEX", "CONSTRAINT", "PROJECTION", "PRIMARY"):
            found.append((name.strip("`"), kind.strip()))
    return found


def _clauses(tail: str) -> dict[str, str]:
    """First word of each clause after the engine, and its text."""
    clauses: dict[str, str] = {}
    current = ""
    for token, depth in _depths(tail):
        if depth == 0 and token.upper() in _CLAUSES:
            current = token.upper()
            clauses[current] = ""
        elif current:
            clauses[current] += token
    return clauses


def _sort_key(clauses: dict[str, str]) -> list[str]:
    text = re.sub(r"^\s*BY\s+", "", clauses.get("ORDER", ""), flags=re.IGNORECASE).strip()
    if text in ("", "tuple()"):
        return []
    return _split(text[1:-1]) if text.startswith("(") else [text]


def _sharding_key(name: str, engine: str, columns: list[tuple[str, str]], sort_key: list[str]) -> str:
    """Expression that says which shard a row belongs to: the same each time that the row is sent."""
    names = [column for column, _ in columns]
    trace = next((column for column in ("TraceId", "trace_id") if column in names), None)
    merging = _is_merge_tree(engine) and engine != "MergeTree"
    by_sort_key = f"cityHash64({', '.join(sort_key)})" if sort_key else ""
    # Rows that merge into one must be on one shard: the key may depend on nothing but the sorting key.
    if trace is not None and (not merging or re.search(rf"\b{trace}\b", ", ".join(sort_key))):
        if name in _OFTEN_WITHOUT_TRACE:
            return f"if(empty({trace}), {by_sort_key}, cityHash64({trace}))"
        return f"cityHash64({trace})"
    if not merging and "ResourceAttributes" in names:
        # Measurements of one machine belong together as the spans of one trace do.
        return "cityHash64(ServiceName, ResourceAttributes)"
    if by_sort_key:
        return by_sort_key
    plain = [column for column, kind in columns if not kind.startswith("Nested")]
    return f"cityHash64({', '.join(plain)})"


# Most log records stand in no trace; by an empty id they would all meet on one shard.
_OFTEN_WITHOUT_TRACE: Final = frozenset({"otel_logs"})
