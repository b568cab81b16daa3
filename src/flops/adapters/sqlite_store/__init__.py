"""The manager's memory in one SQLite file: the embedded default."""

from flops.adapters.sqlite_store.store import SqliteStore

__all__ = ["SqliteStore"]
