"""Runs made here or elsewhere, brought to one form and compared by the one verdict."""
