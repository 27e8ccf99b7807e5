"""What `monitor.stats.drift` is fed with: tables in files, and windows of the store, which the store counts."""

from monitor.drift.files import is_file, read_table
from monitor.drift.render import to_json, to_table
from monitor.drift.windows import compare_windows, parse_window

__all__ = ["compare_windows", "is_file", "parse_window", "read_table", "to_json", "to_table"]
