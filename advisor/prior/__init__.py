"""How much probability a model already gives the targets of a dataset, with intervals."""
