"""Federated Learning Operations: from one request to a trained, tracked and served federated model."""
