"""How far a result may be from the exact one, by dtype: one table for all tests.

A result computed in float64 and rounded once is off by at most half a unit in the last place; the table allows two
units, for the tests' own arithmetic.
"""

from __future__ import annotations

import torch

RELATIVE = {dtype: 2 * torch.finfo(dtype).eps for dtype in (torch.float16, torch.bfloat16, torch.float32)}
RELATIVE[torch.float64] = 1e-13  # sums of up to some thousand terms
ABSOLUTE = {dtype: float(torch.finfo(dtype).smallest_normal) for dtype in RELATIVE}
DTYPES = list(RELATIVE)
assert len(DTYPES) == 4


def close(dtype: torch.dtype) -> dict[str, float]:
    """Keywords for ``torch.testing.assert_close``."""
    return {"rtol": RELATIVE[dtype], "atol": ABSOLUTE[dtype]}
