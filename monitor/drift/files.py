"""Tables in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from monitor.errors import BadInput

ENDINGS: Final = (".csv", ".csv.gz", ".parquet", ".parquet.gz", ".pq")


def is_file(text: str) -> bool:
    """Whether this is meant as a file, and no window."""
    return text.lower().endswith(ENDINGS) or Path(text).exists()


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV or Parquet file, gzipped or not; only some of its columns, if they are named.

    Raises
    ------
    BadInput
        If there is no such file, it cannot be read, has no such column or no columns at all.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}; give a CSV or Parquet file, or a window such as 7d..1d")
    try:
        table = _read(path, columns)
    except BadInput:
        raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path} cannot be read as {_kind(path)}: {first}") from None
    if not len(table.columns):
        raise BadInput(f"{path} has no columns; a CSV file begins with a line of column names")
    return table


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if _kind(path) == "CSV":
        table = pd.read_csv(path, low_memory=False)
    elif path.suffix.lower() == ".gz":
        import gzip
        import io

        table = pd.read_parquet(io.BytesIO(gzip.decompress(path.read_bytes())))
    else:
        table = pd.read_parquet(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise BadInput(f"{path} has no column `{missing[0]}`; it has {', '.join(map(str, table.columns))}")
    return table[list(columns)] if columns else table


def _kind(path: Path) -> str:
    name = path.name.lower()
    return "Parquet" if name.endswith((".parquet", ".parquet.gz", ".pq")) else "CSV"
