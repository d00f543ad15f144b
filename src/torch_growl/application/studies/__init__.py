"""Studies: many runs of one recipe with other settings, on Optuna's storage, by any number of workers.

Optuna keeps the trials and proposes settings; each trial is a complete run folder.
"""

from torch_growl.application.studies.space import parse_space
from torch_growl.application.studies.study import Study

__all__ = ["Study", "parse_space"]
