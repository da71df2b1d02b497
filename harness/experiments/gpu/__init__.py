"""A first run on a GPU, in minutes: what is right there, and how fast, into one record as it goes."""
