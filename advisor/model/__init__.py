"""A model from its files to hidden states and log-probabilities."""
