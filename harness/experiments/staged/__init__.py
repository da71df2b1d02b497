"""The study of objectives that change while they train: is one run good at both ends?

A plan, its runs and what came of them; the cells and their scoring are those of `calibration`.
"""
