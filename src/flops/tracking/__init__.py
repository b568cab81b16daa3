"""The tracking server, one per user."""
