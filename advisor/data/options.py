"""How a dataset is read."""

SWITCHES = ("drop_bad_rows",)
