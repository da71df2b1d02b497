"""Learning rates of short fine-tunes, by the size of the model and what of it is trained."""

TINY_RATES, RATES, ADAPTER_RATES = (3e-4, 1e-3), (1e-5, 5e-5), (1e-4, 5e-4)
"""Grids of learning rates: models under 2M parameters, others, adapters."""
