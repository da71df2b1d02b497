"""The table of objectives, their weight functions, and what other trainers make of them."""
