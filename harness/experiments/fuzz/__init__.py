"""Broken files by the thousand against every reader of foreign data: what is not read has to be refused."""
