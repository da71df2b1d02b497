"""The study of racing: what a run's score along its training says of the end.

A plan of runs with curves, on the calibration's cells and some more of the kinds that decide the regret.
"""
