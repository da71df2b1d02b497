"""The command line: the only place that knows flags, a terminal and both packages."""
