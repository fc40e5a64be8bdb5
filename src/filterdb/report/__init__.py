"""The report: one offline HTML page on a network or on a database, for everybody to read.

Everything is in the page: no script, no request, pictures as data. It needs the extra ``report``.
"""

from filterdb.report.collection import database_report
from filterdb.report.network import network_report
from filterdb.report.page import write_report

__all__ = ["database_report", "network_report", "write_report"]
