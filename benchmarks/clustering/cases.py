"""Makes rows to cluster, and clusters them with scikit-learn's affinity propagation."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torch_growl.mathematics.similarity.dense import row_similarity

__all__ = ["KINDS", "Case", "Theirs", "cases", "scikit_learn", "tied_rows"]


def tied_rows(n: int, row_length: int, groups: int, noise: float, rng: np.random.Generator) -> Tensor:
    """Return ``(n, row_length)`` float32: normal centres, each row its centre plus ``noise`` times normal values."""
    centres = rng.standard_normal((groups, row_length), dtype=np.float32)
    W = centres[np.arange(n) % groups]
    if noise:
        W += np.float32(noise) * rng.standard_normal((n, row_length), dtype=np.float32)
    return torch.from_numpy(W)


KINDS = {  # name → (rows in a group, or 0: all in one; noise)
    "duplicates": (16, 0.0),
    "tied, noise 1 %": (16, 0.01),
    "tied, noise 5 %": (16, 0.05),
    "tied, noise 20 %": (16, 0.2),
    "groups of 64, noise 5 %": (64, 0.05),
    "groups of 256, noise 5 %": (256, 0.05),
    "random": (1, 0.0),
    "one component": (0, 0.05),
}


@dataclass(frozen=True)
class Theirs:
    """scikit-learn's result; None if it found no exemplar."""

    objective: float | None
    converged: bool
    similarity_seconds: float
    seconds: float


def scikit_learn(W: Tensor, preference: float) -> Theirs:
    """Run ``AffinityPropagation`` at its best settings on our similarity and time both; W must have no zero row."""
    from sklearn.cluster import AffinityPropagation
    from sklearn.exceptions import ConvergenceWarning

    start = time.perf_counter()
    S = row_similarity(W).numpy()
    similar = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = AffinityPropagation(
            affinity="precomputed", preference=preference, damping=0.9, max_iter=1000, random_state=0
        ).fit(S)
    done = time.perf_counter()
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    objective = None
    if len(found.cluster_centers_indices_):
        exemplar = found.cluster_centers_indices_[found.labels_]
        mine = exemplar == np.arange(len(S))
        objective = float(np.where(mine, preference, S[np.arange(len(S)), exemplar]).sum())
    return Theirs(objective, converged, similar - start, done - similar)


@dataclass(frozen=True)
class Case:
    """A random problem: its parameters and its rows."""

    n: int
    row_length: int
    groups: int
    noise: float
    preference: float
    W: Tensor


def cases(number: int, largest: int, seed: int) -> list[Case]:
    """Yield problems of 13 to ``largest`` rows, of varied dimension, groups, noise and preference.

    Every fourth has rows of different size, every fifth is float32.
    """
    drawn = []
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        n = int(np.exp(rng.uniform(np.log(13), np.log(largest))))
        d = int(rng.choice([2, 3, 4, 8, 16, 64]))
        groups = max(1, int(n * rng.choice([0.02, 0.1, 0.3, 1.0])))
        noise = float(rng.choice([0.0, 0.01, 0.1, 0.2, 0.3, 0.5])) if groups < n else 0.0
        preference = float(rng.choice([0.05, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]))
        W = rng.standard_normal((groups, d))[np.arange(n) % groups] + noise * rng.standard_normal((n, d))
        if i % 4 == 0:
            W *= rng.random((n, 1)) + 0.5
        rows = torch.from_numpy(W)
        drawn.append(Case(n, d, groups, noise, preference, rows.float() if i % 5 == 0 else rows))
    return drawn
