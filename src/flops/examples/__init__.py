"""Example ML repositories that are shipped with FLOps."""
