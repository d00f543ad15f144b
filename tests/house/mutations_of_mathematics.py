"""Mutations of the mathematics: owl, similarity, clustering."""

from __future__ import annotations

from tests.support.mutations import Mutation

MATHEMATICS = [
    Mutation(
        "pruned rows are forgotten",
        "mathematics/owl/step_kernel.py",
        "if dead[i]:",
        "if False:",
        "networks/penalty/test_optimizer_hook.py::test_with_any_optimizer_rows_are_pruned_and_stay_zero[sgd]",
    ),
    Mutation(
        "a layer may be emptied",
        "mathematics/owl/step_kernel.py",
        "if left >= least:",
        "if True:",
        "networks/penalty/test_growl.py::test_a_layer_is_never_emptied_and_one_warning_names_it[paper]",
    ),
    Mutation(
        "the width counts in the penalty",
        "mathematics/owl/step_kernel.py",
        "math.sqrt(n) * norm",
        "norm",
        "networks/penalty/test_growl.py::test_the_scale_free_step_is_its_formula",
    ),
    Mutation(
        "the norm of a layer is not restored",
        "mathematics/owl/step_kernel.py",
        "back = norm / max(_norm(x), _TINY)",
        "back = norm / norm",
        "networks/penalty/test_growl.py::test_the_scale_free_step_is_its_formula",
    ),
    Mutation(
        "the rows after the last eight are left out",
        "mathematics/owl/row_scaling.py",
        "range(eights, len(w))",
        "range(0)",
        "networks/penalty/test_row_step.py::test_tiny_and_huge_weights",
    ),
    Mutation(
        "the prox is not clipped",
        "mathematics/owl/prox_kernel.py",
        "max(means[b], 0.0) *",
        "means[b] *",
        "mathematics/owl/test_operators.py::test_it_is_the_isotonic_regression_for_every_size[normal-steep-46]",
    ),
    Mutation(
        "insertion stops early",
        "mathematics/owl/_sorting.py",
        "while j >= 0 and y[j] < value",
        "while j > 0 and y[j] < value",
        "mathematics/owl/test_operators.py::test_it_is_the_isotonic_regression_for_every_size[normal-constant-3]",
    ),
    Mutation(
        "a radix pass forgets a bit",
        "mathematics/owl/_sorting.py",
        "shift += digit\n",
        "shift += digit + 1\n",
        "mathematics/owl/test_operators.py::test_it_is_the_isotonic_regression_for_every_size[normal-constant-48]",
    ),
    Mutation(
        "screening leaves out too much",
        "mathematics/owl/_sorting.py",
        "stays = int(abs(v[lo + i]) > screen)",
        "stays = int(abs(v[lo + i]) > 2 * screen)",
        "mathematics/owl/test_prox_kernel.py::test_long_vectors_of_every_radix[255-crowded]",
    ),
    Mutation(
        "some similar pairs are missed",
        "mathematics/similarity/_screening.py",
        "if similarity >= preference:",
        "if similarity >= preference + 0.001:",
        "mathematics/similarity/test_sparse.py::test_they_are_the_dense_similarity_from_the_preference_on[0.05-torch.float16]",
    ),
    Mutation(
        "missing convergence is not reported",
        "mathematics/clustering/_affinity.py",
        "    return -1\n",
        "    return max_iter\n",
        "mathematics/clustering/test_affinity.py::test_non_convergence_is_returned",
    ),
    Mutation(
        "pruned rows are a group",
        "mathematics/clustering/partition.py",
        "PRUNED if label == PRUNED else",
        "0 if label < 0 else",
        "mathematics/clustering/test_partition.py::test_labels_are_renumbered_by_first_appearance",
    ),
]
