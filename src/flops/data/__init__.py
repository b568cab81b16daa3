"""Training data: what lies on a learner node, and how it gets there."""
