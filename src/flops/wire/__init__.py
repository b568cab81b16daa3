"""The wire: every topic and every message shape."""
