"""The process a run lives in: memory, ranks, versions, quiet libraries."""
