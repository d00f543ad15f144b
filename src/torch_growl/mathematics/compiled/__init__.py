"""Compilation and caching of numeric kernels, access to a tensor by its address, and threads."""

from torch_growl.mathematics.compiled.events import compilations
from torch_growl.mathematics.compiled.threads import run_all

__all__ = ["address", "compilation", "compilations", "run_all"]
