"""Exemplars of one connected component of similar rows: candidates, and the local search that improves them.

It stands under :mod:`torch_growl.clustering`. The problem: choose a non-empty set E of the component's distinct rows,
row i standing for m_i bit-equal ones, that maximises

    J(E) = Σ_{k∈E} (preference + m_k − 1) + Σ_{i∉E} m_i max_{k∈E} S(i, k):

an exemplar counts as the preference, its m_k − 1 copies are as similar to it as can be. Bit-equal rows belong to one
group in every optimum (preference ≤ 1), so this is the problem over all rows. It is written below with the gain
matrix ``G(i, k) = m_i S(i, k)``, ``G(k, k) = preference + m_k − 1``: J(E) is the sum over E of the diagonal plus, for
the rest, the row's largest entry in the columns E.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_exemplars", "gains", "net_similarity"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EXACT = 10  # components up to this size are solved by trying every set of exemplars
_ROUNDS = 50  # of local search: it ends much earlier


def gains(S: Floats, copies: Ints, preference: float) -> Floats:
    """``G`` of the module's description from the similarities and multiplicities of the distinct rows."""
    G = S * copies[:, None].astype(np.float64)
    np.fill_diagonal(G, preference + copies - 1)
    return G


def net_similarity(G: Floats, E: Ints) -> float:
    """J(E)."""
    best = G[:, E].max(axis=1)
    best[E] = G[E, E]
    return float(best.sum())


def best_exemplars(G: Floats, *, damping: float, max_iter: int) -> tuple[Ints, bool]:
    """The best set of exemplars found, ascending, and whether the search is trusted.

    Up to 10 distinct rows: the optimum, by trying all sets. Else the better of affinity propagation (Frey and Dueck
    2007; scikit-learn's) and a greedy choice, each improved by local search. Deterministic.

    Returns:
        The exemplars, and False if affinity propagation did not converge within ``max_iter`` iterations.
    """
    n = len(G)
    if n <= _EXACT:
        return _by_trying_all(G), True
    spread, converged = _propagate(G, damping, max_iter)
    found = [_improve(G, E) for E in (spread, _greedy(G)) if len(E)]
    return max(found, key=lambda E: (net_similarity(G, E), -len(E))), converged


def _by_trying_all(G: Floats) -> Ints:
    n = len(G)
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1  # (2ⁿ − 1, n)
    sets = sets[np.argsort(sets.sum(axis=1), kind="stable")]  # of equally good sets, the first smallest one
    rows = np.where(sets[:, None, :], G, -np.inf).max(axis=2)
    rows = np.where(sets, np.diag(G), rows)
    J = rows.sum(axis=1)
    return np.flatnonzero(sets[np.flatnonzero(J.max() - J <= 1e-12 * n)[0]])


def _propagate(G: Floats, damping: float, max_iter: int) -> tuple[Ints, bool]:
    """Exemplars by affinity propagation (none, if it found none), and whether it converged."""
    from sklearn.cluster import affinity_propagation
    from sklearn.exceptions import ConvergenceWarning

    off = ~np.eye(len(G), dtype=bool)
    if np.ptp(np.diag(G)) == 0 and np.ptp(G[off]) == 0:  # sklearn refuses to choose: all or one
        return np.arange(len(G) if G[0, 0] > G[0, 1] else 1), True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        centers, _ = affinity_propagation(
            G, preference=np.diag(G).copy(), damping=damping, max_iter=max_iter, random_state=0
        )
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return np.asarray(centers, dtype=np.int64), converged


def _greedy(G: Floats) -> Ints:
    """Leaders: rows by how much the rest gains from them; whoever no earlier leader serves well enough is one."""
    own = np.diag(G)
    usefulness = np.maximum(G - own[:, None], 0).sum(axis=0) + own
    best = np.full(len(G), -np.inf)
    chosen = []
    for k in np.argsort(-usefulness, kind="stable"):
        if best[k] < own[k]:
            chosen.append(k)
            best = np.maximum(best, G[:, k])
    return np.sort(np.array(chosen, dtype=np.int64))


def _improve(G: Floats, E: Ints) -> Ints:
    """Local search from E: re-centre groups, drop, add and swap exemplars, as long as J grows."""
    n = len(G)
    is_exemplar = np.zeros(n, dtype=bool)
    is_exemplar[E] = True
    least = 1e-12 * max(n, 1)  # what rounding could do is no gain
    for _ in range(_ROUNDS):
        changed = _recentre(G, is_exemplar, least)
        changed |= _drop(G, is_exemplar, least)
        changed |= _add(G, is_exemplar, least)
        if not changed and not _swap(G, is_exemplar, least):
            break
    return np.flatnonzero(is_exemplar)


def _recentre(G: Floats, is_exemplar: NDArray[np.bool_], least: float) -> bool:
    """In every group, make the row exemplar that serves the group best."""
    E = np.flatnonzero(is_exemplar)
    owner = E[G[:, E].argmax(axis=1)]
    owner[E] = E
    by_owner = np.argsort(owner, kind="stable")
    changed = False
    for members in np.split(by_owner, np.flatnonzero(np.diff(owner[by_owner])) + 1):
        if len(members) == 1:
            continue
        k = owner[members[0]]
        served = G[np.ix_(members, members)].sum(axis=0)
        better = members[served.argmax()]
        if served.max() > served[members == k][0] + least:
            is_exemplar[k], is_exemplar[better] = False, True
            changed = True
    return changed


def _drop(G: Floats, is_exemplar: NDArray[np.bool_], least: float) -> bool:
    """Drop exemplars whose members, and who themselves, are served about as well by the others."""
    E = np.flatnonzero(is_exemplar)
    rows = np.arange(len(G))
    reach = G[:, E].copy()  # (n, exemplars)
    owner = reach.argmax(axis=1)
    owner[E] = np.arange(len(E))
    others = reach.copy()
    others[rows, owner] = -np.inf
    gain = np.bincount(owner, others.max(axis=1) - reach[rows, owner], minlength=len(E))
    changed = False
    for position in np.argsort(-gain, kind="stable"):
        if not gain[position] > least:  # a drop never makes another one pay better
            break
        served = owner == position
        before = reach[:, position].copy()
        reach[:, position] = -np.inf
        if (reach[served].max(axis=1) - before[served]).sum() > least:
            is_exemplar[E[position]] = False
            owner[served] = reach[served].argmax(axis=1)
            changed = True
        else:
            reach[:, position] = before
    return changed


def _add(G: Floats, is_exemplar: NDArray[np.bool_], least: float) -> bool:
    """Add exemplars that serve enough rows better than their present ones do."""
    own = np.diag(G)
    best = np.where(is_exemplar, np.inf, G[:, is_exemplar].max(axis=1))  # exemplars serve themselves
    surplus = np.maximum(G - best[:, None], 0)
    np.fill_diagonal(surplus, 0)
    gain = np.where(is_exemplar, -np.inf, own - best + surplus.sum(axis=0))
    changed = False
    for k in np.argsort(-gain, kind="stable"):
        if not gain[k] > least:
            break
        others = np.maximum(G[:, k] - best, 0)
        others[k] = own[k] - best[k]
        if others.sum() > least:
            is_exemplar[k] = True
            best = np.maximum(best, G[:, k])
            best[k] = np.inf
            changed = True
    return changed


def _swap(G: Floats, is_exemplar: NDArray[np.bool_], least: float) -> bool:
    """Make the best single exchange of an exemplar for another row; all pairs in O(n²), as FastPAM does."""
    E, own = np.flatnonzero(is_exemplar), np.diag(G)
    reach = G[:, E].copy()
    owner = reach.argmax(axis=1)
    owner[E] = np.arange(len(E))
    by_owner = np.argsort(owner, kind="stable")
    rows = np.arange(len(G))
    first = reach[rows, owner][:, None]
    reach[rows, owner] = -np.inf
    second = reach.max(axis=1, keepdims=True)
    kept = np.where(is_exemplar[:, None], 0, np.maximum(G - first, 0))  # what row i gains if its exemplar stays,
    freed = np.maximum(second, G) - first  # and if its exemplar goes, when k (the column) comes
    np.fill_diagonal(kept, own - first[:, 0])
    np.fill_diagonal(freed, own - first[:, 0])
    starts = np.searchsorted(owner[by_owner], np.arange(len(E)))
    gain = kept.sum(axis=0) + np.add.reduceat((freed - kept)[by_owner], starts, axis=0)  # (exemplars, n)
    gain[:, E] = -np.inf
    goes, comes = np.unravel_index(gain.argmax(), gain.shape)
    if not gain[goes, comes] > least:
        return False
    is_exemplar[E[goes]], is_exemplar[comes] = False, True
    return True
