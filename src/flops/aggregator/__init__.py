"""The aggregator: runs the rounds and keeps the best model."""
