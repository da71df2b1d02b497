"""Objectives that were added to the table after the grid was run: whether they help on its smallest cells."""
