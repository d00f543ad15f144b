"""The report of a run, made from its files alone: summary, figures and one HTML page; and a page that compares runs."""

from torch_growl.application.reports.accuracy_notes import accuracy_steps, collapse, loss_note
from torch_growl.application.reports.comparison import make_comparison
from torch_growl.application.reports.report import make_report
from torch_growl.application.reports.summary import headline, summary_table
from torch_growl.application.reports.target_notes import target_line, target_progress

__all__ = [
    "accuracy_steps",
    "collapse",
    "headline",
    "loss_note",
    "make_comparison",
    "make_report",
    "summary_table",
    "target_line",
    "target_progress",
]
