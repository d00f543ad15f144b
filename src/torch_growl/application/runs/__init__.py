"""A run: its folder, its stages, training and evaluation, and the sweep over several strengths."""

from torch_growl.application.runs.evaluation import compare_run, environment
from torch_growl.application.runs.run_folder import RunFolder, write_whole
from torch_growl.application.runs.stages import STAGES, Pipeline
from torch_growl.application.runs.sweep import DEFAULT_STRENGTHS, Sweep, parse_strengths

__all__ = [
    "DEFAULT_STRENGTHS",
    "STAGES",
    "Pipeline",
    "RunFolder",
    "Sweep",
    "compare_run",
    "environment",
    "parse_strengths",
    "write_whole",
]
