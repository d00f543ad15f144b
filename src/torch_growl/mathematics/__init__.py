"""Ring 1: functions of tensors; nothing here knows ``torch.nn``.

Rooms in the order of their imports; rooms on one line never import each other:

* ``compiled``: compilation of kernels, access to a tensor's memory, threads
* ``owl`` | ``similarity``: sequences, norms and proximal operators | similarity of rows
* ``clustering``: partitions of rows, affinity propagation, exact clustering, Ward merging

Third parties: numba, numpy, scipy, torch.
"""
