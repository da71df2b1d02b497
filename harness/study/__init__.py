"""A study of arms: what to run, running it, and what the runs say."""
