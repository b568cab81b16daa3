"""The manager: a loop around the workflow."""
