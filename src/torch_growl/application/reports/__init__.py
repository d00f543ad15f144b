"""The report of a run, made from its files alone: summary, figures and one HTML page.

``curve_figure`` draws the curve of a sweep over strengths.
"""

from torch_growl.application.reports.curves import curve_figure
from torch_growl.application.reports.report import make_report
from torch_growl.application.reports.summary import headline, summary_table

__all__ = ["curve_figure", "headline", "make_report", "summary_table"]
