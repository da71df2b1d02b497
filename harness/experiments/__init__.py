"""Experiments on the program itself, for its developers."""
