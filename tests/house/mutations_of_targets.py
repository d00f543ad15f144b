"""Mutations of targets, of what leads to them, and of networks that shrink without training."""

from __future__ import annotations

from tests.support.mutations import Mutation

TARGETS = [
    Mutation(
        "what removed rows carried is lost",
        "networks/penalty/penalised_network.py",
        "at_once.fit_(before)",
        "pass",
        "networks/targets/test_compensated_target.py::test_rows_go_in_one_step_and_the_rest_takes_over[input]",
    ),
    Mutation(
        "norms choose the rows that go in one step",
        "networks/targets/stretch.py",
        "by_law = not chosen or self.press",
        "by_law = bool(chosen) or self.press",
        "networks/targets/test_compensated_target.py::test_rows_are_those_that_shrink_removes_without_training[perceptron]",
    ),
    Mutation(
        "inputs of a validation are recorded",
        "networks/moments/recorded_inputs.py",
        "if not torch.is_grad_enabled():",
        "if False:",
        "networks/moments/test_recorded_inputs.py::test_what_cannot_be_given_again_or_kept_is_not_recorded",
    ),
    Mutation(
        "a resumed training has lost the inputs that were recorded",
        "networks/penalty/penalised_network.py",
        'self._one_step.load_state(state.get("inputs", ()), self._hooks.count)',
        "pass",
        "networks/shrinking/test_one_step.py::test_a_training_that_is_resumed_before_the_step_is_bit_equal",
    ),
    Mutation(
        "a choice that fails ends the training",
        "networks/shrinking/one_step.py",
        "            if not recorded:",
        "            if True:",
        "networks/shrinking/test_one_step.py::test_a_choice_that_fails_is_warned_of_and_the_training_goes_on",
    ),
    Mutation(
        "the fit revives filters of removed channels",
        "networks/penalty/penalised_network.py",
        "            self._step.zero_pruned()  # the fit",
        "            pass  # the fit",
        "networks/targets/test_compensated_target.py::test_rows_go_in_one_step_and_the_rest_takes_over[channel]",
    ),
    Mutation(
        "the first row of a group counts as added when it goes itself",
        "networks/targets/counting.py",
        "np.unique(np.where(there, labels, -1), return_index=True)[1]",
        "np.unique(labels, return_index=True)[1]",
        "networks/targets/test_counting.py::test_tied_rows_are_counted_as_one[mlp]",
    ),
    Mutation(
        "a row more goes than the target asks for",
        "networks/targets/pressing.py",
        "return left(rows) <= self.figure.aim",
        "return left(rows) <= 0.9 * self.figure.aim",
        "networks/targets/test_pressing.py::test_the_rows_named_are_the_fewest_that_meet_the_target[Target(weights=0.5)]",
    ),
    Mutation(
        "rows are chosen by their norms alone",
        "networks/targets/pressing.py",
        "found[order] = energy / np.maximum(there, 1e-300)",
        "found[order] = energy",
        "networks/targets/test_pressing.py::test_layers_lose_rows_evenly_whatever_their_scale_and_spread",
    ),
    Mutation(
        "a row is a large step and nothing is given back",
        "networks/targets/pressing.py",
        "            if met(fewer):\n                found = fewer",
        "            if met(fewer):\n                pass",
        "networks/targets/test_pressing.py::test_where_one_row_is_a_large_step_others_are_given_back[0.31]",
    ),
    Mutation(
        "rows shrink before the first tenth is over",
        "networks/targets/control.py",
        "_FREE, _SHRINKING_UNTIL = 0.1, 0.5",
        "_FREE, _SHRINKING_UNTIL = 0.0, 0.5",
        "networks/targets/test_every_loop.py::test_rows_shrink_evenly_to_zero",
    ),
    Mutation(
        "chance ends a search",
        "networks/paths/trials.py",
        "if lost <= self._drop + self._error and not self._doubtful:",
        "if lost <= self._drop and not self._doubtful:",
        "networks/paths/test_trials.py::test_with_its_standard_error_a_noisy_judge_ends_the_search_later",
    ),
    Mutation(
        "the rows of a path do not go first",
        "networks/targets/pressing.py",
        "order = np.lexsort((scores, later))",
        "order = np.lexsort((scores,))",
        "networks/paths/test_starting.py::test_a_target_above_the_whole_path_takes_rows_of_its_largest_network_alone",
    ),
    Mutation(
        "biases of removed channels are counted",
        "networks/targets/counting.py",
        "return weights + self.bias * outputs,",
        "return weights + self.bias * self.outputs,",
        "networks/targets/test_counting.py::test_the_count_is_that_of_the_compact_network[mlp]",
    ),
]
