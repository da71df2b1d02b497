"""The calibration study: many cells of model and demonstrations, every arm fine-tuned on each.

`grid.py` lists the cells before the first run, `run.py` makes them resumably, `ledger.py` keeps what came.
"""
