"""Second moments of what layers read: least squares for their rows, and the rows that can be tied or removed."""

from torch_growl.networks.moments.least_squares import LayerToFit
from torch_growl.networks.moments.merging import Reader, merge_steps, merged_rows
from torch_growl.networks.moments.moments import error_of, has_moments
from torch_growl.networks.moments.paired_runs import PairedRuns, float_outputs, output_error, split_batches
from torch_growl.networks.moments.recorded_inputs import RecordedInputs

__all__ = [
    "LayerToFit",
    "PairedRuns",
    "Reader",
    "RecordedInputs",
    "error_of",
    "float_outputs",
    "has_moments",
    "merge_steps",
    "merged_rows",
    "output_error",
    "split_batches",
]
