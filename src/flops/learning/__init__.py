"""The federated learning engine, without any role."""
