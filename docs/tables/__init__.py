"""Tables of the documentation, a file for each page: functions from records and code to Markdown."""
