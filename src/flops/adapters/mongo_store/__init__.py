"""The managers' memory in MongoDB, for managers on several machines."""

from flops.adapters.mongo_store.store import MongoStore

__all__ = ["MongoStore"]
