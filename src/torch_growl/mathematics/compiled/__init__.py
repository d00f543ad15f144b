"""How numeric kernels are compiled and cached, read a tensor by its address, and run on threads."""

from torch_growl.mathematics.compiled.threads import run_all

__all__ = ["address", "compilation", "run_all"]
