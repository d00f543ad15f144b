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

ROOT = Path(__file__).resolve().parents[1]

# file of the package, what stands there, what it becomes, the tests that must then fail
MUTATIONS = {
    "dead rows are forgotten": ("_shrink.py", "if dead[i]:", "if False:", "test_penalty.py"),
    "a layer may be emptied": ("_shrink.py", "if left >= least:", "if True:", "test_penalty.py"),
    "width counts in the penalty": ("_shrink.py", "math.sqrt(n) * norm", "norm", "test_penalty.py"),
    "the norm is not held": (
        "_shrink.py",
        "back = norm / max(_norm(x), _TINY)",
        "back = norm / norm",
        "test_penalty.py",
    ),
    "the last rows of eight are left out": ("_rows.py", "range(eights, len(w))", "range(0)", "test_step.py"),
    "a moved weight is not noticed": ("step.py", "or weight.stride() != seen[2]", "or False", "test_step.py"),
    "centroids are plain means": ("tied.py", "centroids / self.root", "centroids", "test_tied.py"),
    "momentum is averaged": ("tied.py", "total[:-1] / self.root", "total[:-1] / self.root**2", "test_tied.py"),
    "groups of channels are mixed up": (
        "layers.py",
        'blocks if side == "input" else',
        "blocks if True else",
        "test_layers.py",
    ),
    "chain counts pruned as kept": ("tying.py", "kept = 1 - after.sparsity", "kept = after.sparsity", "test_tying.py"),
    "pruned rows are a group": (
        "partition.py",
        "PRUNED if label == PRUNED else",
        "0 if label < 0 else",
        "test_partition.py",
    ),
    "the prox is not clipped": ("_pava.py", "max(means[b], 0.0) *", "means[b] *", "test_owl.py"),
    "insertion stops early": (
        "_sorting.py",
        "while j >= 0 and y[j] < value",
        "while j > 0 and y[j] < value",
        "test_fuzz.py",
    ),
    "a radix pass forgets a bit": ("_sorting.py", "shift += digit\n", "shift += digit + 1\n", "test_fuzz.py"),
    "screening goes too far": (
        "_sorting.py",
        "stays = int(abs(v[lo + i]) > screen)",
        "stays = int(abs(v[lo + i]) > 2 * screen)",
        "test_fuzz.py",
    ),
    "some similar pairs are missed": (
        "_pairs.py",
        "if similarity >= preference:",
        "if similarity >= preference + 0.001:",
        "test_pairs.py",
    ),
    "what did not converge is not told": (
        "_affinity.py",
        "    return -1\n",
        "    return max_iter\n",
        "test_clustering.py",
    ),
    "a device is asked": ("capturable.py", "fine = finite.all()", "fine = bool(finite.all())", "test_capturable.py"),
    "later epochs stay in the log": ("run_folder.py", "<= epoch)", ">= 0)", "test_run_folder.py"),
    "channels that meet are not coupled": (
        "recording.py",
        "self.edges.append(couples(a, b))",
        "self.edges.append(couples(a, b)[:0])",
        "test_graph.py",
    ),
    "what is left may be ragged": (
        "demand.py",
        "            _complete(needed, grid)\n",
        "            pass\n",
        "test_graph.py",
    ),
    "a nonzero weight is overlooked": (
        "demand.py",
        "links[name][:, needed[outputs]].any(axis=1)",
        "links[name][:, needed[outputs]].all(axis=1)",
        "test_graph.py",
    ),
    "int8 is rounded down": (
        "quantization.py",
        "/ divisor[part]).round()",
        "/ divisor[part]).floor()",
        "test_quantization.py",
    ),
    "scales are those of other channels": (
        "quantization.py",
        "mul_(scale.reshape(",
        "mul_(scale.flip(0).reshape(",
        "test_quantization.py",
    ),
    "a damaged file is believed": (
        "container.py",
        'if f"{value:08x}" != claimed:',
        "if False:",
        "test_storage_faults.py",
    ),
    "packed groups are mixed up": (
        "index_codec.py",
        "labels[alive] = group * (width // groups) + local",
        "labels[alive] = local",
        "test_index_codec.py",
    ),
    "the program is of the network before rounding": (
        "storage.py",
        "            _fill_(as_stored, tensors)\n",
        "",
        "test_program.py",
    ),
    "tied inputs are not summed": (
        "inputs.py",
        "return sums.index_add_(self.dim, self.targets, x.index_select(self.dim, self.others))",
        "return sums",
        "test_inputs.py",
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
