"""The compact file: safetensors with the structure in its header, int8 weights, and the program beside it.

``docs/format.md`` specifies the file.
"""

from torch_growl.networks.storage.compact_file import FILE_DTYPES, load, load_dense, save, stored_itemsize
from torch_growl.networks.storage.encoding import packed_bytes
from torch_growl.networks.storage.program import load_program

__all__ = ["FILE_DTYPES", "load", "load_dense", "load_program", "packed_bytes", "save", "stored_itemsize"]
