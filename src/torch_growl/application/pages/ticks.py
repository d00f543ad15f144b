"""Round values for the ticks of an axis, and their texts."""

from __future__ import annotations

import math

__all__ = ["factor_text", "round_factors", "round_values", "value_text"]


def round_values(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most about ``most`` round values from low to high, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def round_factors(low: float, high: float, most: int = 8) -> list[float]:
    """Return round values of a logarithmic axis: 1, 2, 5, 10, … as far as they lie from low to high, > 0."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1,)):
        found = [f * 10.0**p for p in powers for f in factors if low * (1 - 1e-9) <= f * 10.0**p <= high * (1 + 1e-9)]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def value_text(value: float, step: float) -> str:
    """Format a tick with the decimals that its distance from the next one needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{min(decimals, 6)}f}".replace("-", "−")


def factor_text(value: float) -> str:
    """Format a factor: ``1.5x``, ``1,000x``."""
    return f"{value:,.3g}x" if value < 1000 else f"{value:,.0f}x"
