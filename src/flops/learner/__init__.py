"""The learner: trains on the data of its node."""
