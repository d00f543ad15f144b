"""Runs: the run folder, what the stages share, the stages, training, evaluation, and the sweep over strengths.

The order of the stages and the files of each are in ``recipes.stage_table``, which the report reads too.
"""

from torch_growl.application.runs.environment import environment_record
from torch_growl.application.runs.evaluation import compare_run
from torch_growl.application.runs.listeners import Silent, Watcher
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stage, do_stages
from torch_growl.application.runs.sweep import DEFAULT_STRENGTHS, Sweep, parse_strengths

__all__ = [
    "DEFAULT_STRENGTHS",
    "Run",
    "RunFolder",
    "Silent",
    "Sweep",
    "Watcher",
    "compare_run",
    "do_stage",
    "do_stages",
    "environment_record",
    "parse_strengths",
]
