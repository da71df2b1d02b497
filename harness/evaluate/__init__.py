"""Tasks and scores: lm-eval on a model in memory, held-out rows, final answers."""
