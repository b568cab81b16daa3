"""The inference server of a trained model."""
