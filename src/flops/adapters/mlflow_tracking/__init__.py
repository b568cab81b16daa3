"""Tracking with an MLflow server."""

from flops.adapters.mlflow_tracking.tracking import MlflowTracking

__all__ = ["MlflowTracking"]
