"""What a query from outside may contain: one statement that reads tables, and nothing that reaches further.

`readonly = 1` on a handle of the embedded engine is not enough. Tried on the engine, these go through in
spite of it: `SELECT … INTO OUTFILE` (also behind EXPLAIN), the scalar function `file('/etc/passwd')`, written
as a call, as `arrayMap(file, …)`, as `* APPLY file` or as a bound `{f:Identifier}`; `KILL QUERY`; `USE`; and
`sqlite('/path', …)` makes an empty file before it is refused. On an embedded engine all of this runs as the
user who runs the service.

So a statement is first written anew by the engine's own parser (`formatQuerySingleLine`), which refuses more
than one statement and leaves no comment, no here-document and no odd spelling of a keyword. The *rewritten*
text is then split into tokens and judged here, and the rewritten text is what is run: there is no second
parser that could see something else. Whatever the splitting does not know is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Catalogue", "Refused", "Statement", "judge", "tokens"]


class Refused(Exception):
    """The statement does more than read tables. The message says what, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of the rewritten statement; `value` is the name of an identifier or the content of a string."""

    kind: str  # word, name (a quoted identifier), string, number, symbol
    text: str
    value: str
    start: int
    end: int
    depth: int  # brackets open before it


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Names that may not be used; made once from what the engine has."""

    calls: frozenset[str]
    output_formats: Mapping[str, str]  # lower-case name -> name

    @classmethod
    def of(cls, table_functions: Iterable[str], output_formats: Iterable[str]) -> Catalogue:
        """Every table function of the engine is refused unless known to stay inside: new ones too."""
        calls = {name.lower() for name in table_functions} | _KNOWN_OUTSIDE
        return cls(
            calls=frozenset((calls - SAFE_TABLE_FUNCTIONS) | OUTSIDE_FUNCTIONS),
            output_formats={name.lower(): name for name in output_formats},
        )


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement that may be run, as `text`."""

    text: str
    format: str | None  # of its FORMAT clause
    settings: Mapping[str, str]  # of its SETTINGS clauses; the caller must admit each of them
    is_select: bool  # not SHOW, DESCRIBE, EXISTS, EXPLAIN
    has_totals: bool


# Table functions that make rows from their arguments or from tables, and touch neither file nor network nor
# Python. `merge` is not here: it names tables by pattern, which would reach those of INTERNAL_TABLES.
SAFE_TABLE_FUNCTIONS = frozenset({
    "format", "generaterandom", "generateseries", "generate_series", "null", "numbers", "numbers_mt", "one",
    "primes", "sqlstandardvalues", "values", "view", "viewexplain", "viewifpermitted", "zeros", "zeros_mt",
})  # fmt: skip

# Ordinary functions that read files or speak to other machines.
OUTSIDE_FUNCTIONS = frozenset({
    "file", "catboostevaluate", "evalmlmethod", "showcertificate", "getclienthttpheader", "getserverport",
    "tcpport", "logtrace", *(f"ai{name}" for name in ("classify", "embed", "extract", "filter", "generate",
    "redact", "similarity", "translate")),
})  # fmt: skip

# Refused even if the engine does not list them (chDB registers its Python function apart from the others).
_KNOWN_OUTSIDE = frozenset({
    "python", "file", "filecluster", "filesystem", "url", "urlcluster", "s3", "s3cluster", "gcs", "oss",
    "cosn", "hdfs", "hdfscluster", "azureblobstorage", "azureblobstoragecluster", "remote", "remotesecure",
    "cluster", "clusterallreplicas", "executable", "mysql", "postgresql", "mongodb", "redis", "sqlite",
    "odbc", "jdbc", "ytsaurus", "bigquery", "arrowstream", "arrowflight", "dictionary", "input", "infile",
    "eval", "loop", "merge", "mergetreeindex", "iceberg", "deltalake", "hudi", "paimon", "deltalakelocal",
    "iceberglocal", "paimonlocal", "fuzzquery", "fuzzjson",
})  # fmt: skip

# Tables about the process itself: stacks of its threads, symbols, memory, secrets of its configuration.
INTERNAL_TABLES = frozenset({
    "stack_trace", "symbols", "certificates", "named_collections", "dns_cache", "fail_points",
    "user_directories", "jemalloc_bins", "jemalloc_arena_bins", "jemalloc_profile_text",
    "jemalloc_sampled_allocations", "jemalloc_stats", "remote_data_paths", "zookeeper",
    "zookeeper_connection", "user_query_log",
})  # fmt: skip

_FIRST_WORDS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN"})
_EXPLAIN_KINDS = frozenset({"AST", "SYNTAX", "QUERY", "TREE", "PLAN", "PIPELINE", "ESTIMATE"})

# A piece of rewritten text. Numbers have no point, sign or exponent here: splitting finer than the engine
# shows more names than there are, never fewer.
_TOKEN = re.compile(
    r"""
      (?P<space>[\x20\t\r\n]+)
    | (?P<string>'(?:[^'\\]|\\.|'')*')
    | (?P<name>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    | (?P<number>[0-9][0-9A-Za-z_]*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<comment>--|/\*|//)
    | (?P<symbol>[()\[\]{},.:<>=!+\-*/%|^?@&~])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_PATH_LIKE = re.compile(r"^(?:[/~]|\.{1,2}/)|://|(?:^|/)\.\.(?:/|$)|^[A-Za-z]:\\")


def judge(
    sql: str,
    *,
    rewrite: Callable[[str], str],
    catalogue: Catalogue,
    parameters: Mapping[str, str] | None = None,
) -> Statement:
    """Rewrite one statement with the engine's parser and decide whether it may be run.

    Parameters
    ----------
    sql : str
        What the client sent, without its parameters filled in.
    rewrite : callable
        The engine's `formatQuerySingleLine`; raises the engine's error for a syntax error or several
        statements.
    catalogue : Catalogue
        Names that are refused.
    parameters : mapping, optional
        Values of `{name:Type}`, as the client sent them.

    Raises
    ------
    Refused
        If the statement writes, or reaches out of the tables.
    """
    text = rewrite(sql).strip()
    pieces = tokens(text)
    if not pieces:
        raise Refused("Empty query")
    _check_statement(pieces)
    _check_names(pieces, catalogue)
    _check_parameters(pieces, parameters or {})
    return Statement(
        text=text,
        format=_format_clause(pieces, catalogue.output_formats),
        settings=_settings_clauses(pieces, text),
        is_select=next(piece.text for piece in pieces if piece.text != "(") in ("SELECT", "WITH"),
        has_totals=any(piece.kind == "word" and piece.text == "TOTALS" for piece in pieces),
    )


def tokens(text: str) -> list[Token]:
    """Split rewritten text; refuse whatever is not plain SQL."""
    found: list[Token] = []
    position = depth = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup == "comment":
            raise Refused(f"`{text[position : position + 20]}` is not understood here")
        kind, piece = str(match.lastgroup), match.group()
        if piece in ")]}":
            depth -= 1
        if kind != "space":
            value = _unquoted(piece) if kind in ("string", "name") else piece
            found.append(Token(kind=kind, text=piece, value=value, start=position, end=match.end(), depth=depth))
        if kind == "symbol" and piece in "([{":
            depth += 1
        position = match.end()
    return found


def _unquoted(piece: str) -> str:
    quote, body = piece[0], piece[1:-1]
    body = body.replace(quote * 2, quote)
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(1)), body, flags=re.DOTALL)


def _is(piece: Token | None, text: str) -> bool:
    return piece is not None and piece.kind in ("word", "symbol") and piece.text.upper() == text


def _after(pieces: list[Token], index: int) -> Token | None:
    return pieces[index + 1] if index + 1 < len(pieces) else None


def _outside(what: str) -> Refused:
    return Refused(f"Cannot execute query in readonly mode: {what}")


def _no_change(setting: str, why: str) -> Refused:
    return Refused(f"Cannot modify '{setting}' setting in readonly mode: {why}")


def _check_statement(pieces: list[Token]) -> None:
    start = next((index for index, piece in enumerate(pieces) if piece.text != "("), len(pieces))
    first = pieces[min(start, len(pieces) - 1)].text.upper()
    if first not in _FIRST_WORDS or (start > 0 and first not in ("SELECT", "WITH")):
        raise _outside(f"{first} is not allowed, only reading is")
    if first == "EXPLAIN":
        _check_explained(pieces)
    for index, piece in enumerate(pieces):
        if piece.kind != "word":
            continue
        following = _after(pieces, index)
        if _is(piece, "INTO") and _is(following, "OUTFILE"):
            raise _outside("INTO OUTFILE writes a file where the service runs")
        if _is(piece, "FROM") and _is(following, "INFILE"):
            raise _outside("FROM INFILE reads a file where the service runs")
        if _is(piece, "PARALLEL") and _is(following, "WITH"):
            raise _outside("PARALLEL WITH runs several statements")


def _check_explained(pieces: list[Token]) -> None:
    """EXPLAIN [kind] [setting = value, …] must be followed by a query."""
    index = 1
    while index < len(pieces) and pieces[index].text in _EXPLAIN_KINDS:
        index += 1
    while index + 2 < len(pieces) and _is(pieces[index + 1], "="):
        index += 3
        if index < len(pieces) and _is(pieces[index], ","):
            index += 1
    if index >= len(pieces) or pieces[index].text not in ("SELECT", "WITH", "("):
        raise _outside("only a SELECT can be explained")


def _check_names(pieces: list[Token], catalogue: Catalogue) -> None:
    for index, piece in enumerate(pieces):
        if piece.kind not in ("word", "name", "number"):
            continue
        name, following = piece.value.lower(), _after(pieces, index)
        if name in catalogue.calls and _is(following, "("):
            raise _outside(f"function `{piece.value}` reaches out of the tables of this store")
        in_path = _is(following, ".") or (index > 0 and _is(pieces[index - 1], "."))
        # Without brackets a function can still be called: arrayMap(file, …), * APPLY file.
        if name in OUTSIDE_FUNCTIONS and not in_path:
            raise _outside(
                f"`{piece.value}` is also a function that reaches out of this store;"
                " write a column of that name with its table, as in `t.file`"
            )
        _check_identifier(piece.value)


def _check_identifier(name: str) -> None:
    if name.lower() in INTERNAL_TABLES:
        raise _outside(f"`{name}` tells about the process, not about the data")
    # The engine's default database takes a table name that is a path for a file, and says whether it is
    # there.
    if _PATH_LIKE.search(name):
        raise _outside(f"`{name}` names a file or an address, not a table")


def _check_parameters(pieces: list[Token], parameters: Mapping[str, str]) -> None:
    """A bound identifier is judged like a written one; the values of all other types are only ever data."""
    for index, piece in enumerate(pieces):
        if piece.text != "{" or index + 3 >= len(pieces) or not _is(pieces[index + 2], ":"):
            continue
        if pieces[index + 3].value.lower() != "identifier":
            continue
        value = parameters.get(pieces[index + 1].value, "")
        if "\\" in value:
            raise _outside("a bound identifier has no escapes here")
        for name in (value, *value.split(".")):
            if name.strip('`" \t\n\r').lower() in OUTSIDE_FUNCTIONS:
                raise _outside(f"`{name}` is also a function that reaches out of this store")
            _check_identifier(name.strip('`"'))


def _format_clause(pieces: list[Token], formats: Mapping[str, str]) -> str | None:
    for index in range(len(pieces) - 2, -1, -1):
        piece, following = pieces[index], pieces[index + 1]
        if piece.kind != "word" or piece.text != "FORMAT" or piece.depth != 0 or following.kind != "word":
            continue
        last = index + 2 == len(pieces) or _is(pieces[index + 2], "SETTINGS")
        if last:
            return formats.get(following.text.lower())
    return None


def _settings_clauses(pieces: list[Token], text: str) -> dict[str, str]:
    """Settings of the whole query; a sub-query cannot have its own, since they would apply unseen."""
    settings: dict[str, str] = {}
    for index, piece in enumerate(pieces):
        if piece.kind != "word" or piece.text != "SETTINGS":
            continue
        at = index + 1
        while at + 1 < len(pieces) and pieces[at].kind in ("word", "name") and _is(pieces[at + 1], "="):
            name = pieces[at].value
            if piece.depth != 0:
                raise _no_change(name, "a sub-query has no settings of its own here")
            value, at = _setting_value(pieces, at + 2, text, name)
            if settings.setdefault(name, value) != value:
                raise _no_change(name, "it is given twice")
            if at >= len(pieces) or not _is(pieces[at], ","):
                break
            at += 1
    return settings


def _setting_value(pieces: list[Token], at: int, text: str, name: str) -> tuple[str, int]:
    """The literal that starts at `at`, and the place after it: a string, a word, or a number."""
    if at < len(pieces) and pieces[at].kind in ("string", "word"):
        return pieces[at].value, at + 1
    end = at
    while end < len(pieces) and (pieces[end].kind == "number" or pieces[end].text in "+-."):
        end += 1
    if end == at:
        raise _no_change(name, "its value is not a plain one")
    return text[pieces[at].start : pieces[end - 1].end], end
