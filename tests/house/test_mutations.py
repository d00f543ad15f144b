"""One-line sabotages of what the library exists for: each must turn its tests red, or those tests cannot fail.

A mutation is made in a copy of the package, never in the working tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# file of the package, what stands there, what it becomes, the tests that must then fail
MUTATIONS = {
    "dead rows are forgotten": (
        "mathematics/owl/shrinkage.py",
        "if dead[i]:",
        "if False:",
        "networks/penalty/test_attachment.py",
    ),
    "a layer may be emptied": (
        "mathematics/owl/shrinkage.py",
        "if left >= least:",
        "if True:",
        "networks/penalty/test_growl.py",
    ),
    "width counts in the penalty": (
        "mathematics/owl/shrinkage.py",
        "math.sqrt(n) * norm",
        "norm",
        "networks/penalty/test_growl.py",
    ),
    "the norm is not held": (
        "mathematics/owl/shrinkage.py",
        "back = norm / max(_norm(x), _TINY)",
        "back = norm / norm",
        "networks/penalty/test_growl.py",
    ),
    "the last rows of eight are left out": (
        "mathematics/owl/row_scaling.py",
        "range(eights, len(w))",
        "range(0)",
        "networks/penalty/test_row_step.py",
    ),
    "a moved weight is not noticed": (
        "networks/penalty/row_step.py",
        "or weight.stride() != seen[2]",
        "or False",
        "networks/penalty/test_row_step.py",
    ),
    "centroids are plain means": (
        "networks/tying/parametrization.py",
        "centroids / self.root",
        "centroids",
        "networks/tying/test_parametrization.py",
    ),
    "momentum is averaged": (
        "networks/tying/parametrization.py",
        "total[:-1] / self.root.double()",
        "total[:-1] / self.root.double() ** 2",
        "networks/tying/test_parametrization.py",
    ),
    "groups of channels are mixed up": (
        "networks/layers/kinds.py",
        'blocks if side == "input" else',
        "blocks if True else",
        "networks/layers/test_kinds.py",
    ),
    "chain counts pruned as kept": (
        "networks/tying/tying.py",
        "kept = 1 - after.sparsity",
        "kept = after.sparsity",
        "networks/tying/test_tying.py",
    ),
    "pruned rows are a group": (
        "mathematics/clustering/partition.py",
        "PRUNED if label == PRUNED else",
        "0 if label < 0 else",
        "mathematics/clustering/test_partition.py",
    ),
    "the prox is not clipped": (
        "mathematics/owl/pooling.py",
        "max(means[b], 0.0) *",
        "means[b] *",
        "mathematics/owl/test_operators.py",
    ),
    "insertion stops early": (
        "mathematics/owl/_sorting.py",
        "while j >= 0 and y[j] < value",
        "while j > 0 and y[j] < value",
        "mathematics/owl/test_pooling.py",
    ),
    "a radix pass forgets a bit": (
        "mathematics/owl/_sorting.py",
        "shift += digit\n",
        "shift += digit + 1\n",
        "mathematics/owl/test_pooling.py",
    ),
    "screening goes too far": (
        "mathematics/owl/_sorting.py",
        "stays = int(abs(v[lo + i]) > screen)",
        "stays = int(abs(v[lo + i]) > 2 * screen)",
        "mathematics/owl/test_pooling.py",
    ),
    "some similar pairs are missed": (
        "mathematics/similarity/_screening.py",
        "if similarity >= preference:",
        "if similarity >= preference + 0.001:",
        "mathematics/similarity/test_sparse.py",
    ),
    "what did not converge is not told": (
        "mathematics/clustering/_affinity.py",
        "    return -1\n",
        "    return max_iter\n",
        "mathematics/clustering/test_clusters.py",
    ),
    "a device is asked": (
        "networks/penalty/capturable_step.py",
        "fine = finite.all()",
        "fine = bool(finite.all())",
        "networks/penalty/test_capturable_step.py",
    ),
    "later epochs stay in the log": (
        "application/runs/run_folder.py",
        "<= epoch)",
        ">= 0)",
        "application/runs/test_run_folder.py",
    ),
    "channels that meet are not coupled": (
        "networks/wiring/recording.py",
        "self.edges.append(couples(a, b))",
        "self.edges.append(couples(a, b)[:0])",
        "networks/wiring/test_pointwise.py",
    ),
    "what is left may be ragged": (
        "networks/wiring/needed.py",
        "            _complete(needed, grid)\n",
        "            pass\n",
        "networks/wiring/test_contractions.py",
    ),
    "a nonzero weight is overlooked": (
        "networks/wiring/needed.py",
        "links[name][:, needed[outputs]].any(axis=1)",
        "links[name][:, needed[outputs]].all(axis=1)",
        "networks/wiring/test_needed.py",
    ),
    "int8 is rounded down": (
        "networks/storage/int8.py",
        "/ divisor[part]).round()",
        "/ divisor[part]).floor()",
        "networks/storage/test_int8.py",
    ),
    "scales are those of other channels": (
        "networks/storage/int8.py",
        'scale_rows_(module, scale, "output", found)',
        'scale_rows_(module, scale.flip(0), "output", found)',
        "networks/storage/test_int8.py",
    ),
    "a damaged file is believed": (
        "networks/storage/container.py",
        'if f"{value:08x}" != claimed:',
        "if False:",
        "networks/storage/test_damaged_files.py",
    ),
    "packed groups are mixed up": (
        "networks/storage/bit_packing.py",
        "labels[alive] = group * (width // groups) + local",
        "labels[alive] = local",
        "networks/storage/test_bit_packing.py",
    ),
    "the program is of the network before rounding": (
        "networks/storage/compact_file.py",
        "            _fill_(as_stored, tensors)\n",
        "",
        "networks/storage/test_program.py",
    ),
    "tied inputs are not summed": (
        "networks/compaction/inputs.py",
        "return sums.index_add_(self.dim, self.targets, x.index_select(self.dim, self.others))",
        "return sums",
        "networks/compaction/test_inputs.py",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_sabotage_turns_the_suite_red(name: str, tmp_path: Path) -> None:
    file, stands, becomes, tests = MUTATIONS[name]
    package = tmp_path / "torch_growl"
    shutil.copytree(ROOT / "src" / "torch_growl", package)  # with the compiled kernels, for those that stay
    text = (package / file).read_text(encoding="utf-8")
    assert text.count(stands) == 1, f"{file} no longer holds {stands!r} once: bring the mutation up to date"
    (package / file).write_text(text.replace(stands, becomes), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / tests)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 1, done.stdout[-2000:]  # 1: tests failed; anything else: they never ran
    assert " failed" in done.stdout
