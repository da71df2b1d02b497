"""Runs on disk: what was run, on what, and what came out; every format so far opens."""
