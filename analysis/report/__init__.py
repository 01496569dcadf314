"""Results as one offline HTML page: verdicts first, then all that they rest on."""

from analysis.report.page import report_page as report_page
from analysis.report.page import write_report as write_report
