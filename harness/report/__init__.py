"""`advisor report RESULTS`: one self-contained HTML page of what was run and what it says."""

from harness.report.page import Report, write_report

__all__ = ["Report", "write_report"]
