"""Pure numbers: numbers in, numbers out; no store, no clock, no files."""
