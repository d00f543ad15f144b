"""The table of ``growl doctor``."""

from __future__ import annotations

from rich.table import Table

from torch_growl.networks.measurement import Diagnosis

__all__ = ["doctor_table"]


def doctor_table(found: Diagnosis) -> Table:
    """Draw a diagnosis for a rich console; the reasons in the last column are folded."""
    titles, *lines = found.cells()
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", min_width=24 if title == titles[-1] else None)
    for line in lines:
        table.add_row(*line)
    return table
