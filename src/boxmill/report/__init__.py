"""A run as one HTML page: numbers, times, failures, and some of the images with their boxes."""

from __future__ import annotations

from boxmill.report.report import ReportOptions, Written, write_report

__all__ = ["ReportOptions", "Written", "write_report"]
