"""What each plan of runs would have lost on every cell that was measured, and what is shipped of it.

Developers' work: `python -m harness.experiments.replay` writes `advisor/advice/replayed.json`.
"""
