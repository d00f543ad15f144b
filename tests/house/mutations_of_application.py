"""Mutations of the application: recipes, reports, runs."""

from __future__ import annotations

from tests.support.mutations import Mutation

APPLICATION = [
    Mutation(
        "an average of the weights is made and not used",
        "application/runs/training.py",
        "            self._average.write_()",
        "            pass",
        "application/runs/test_training.py::"
        "test_options_of_recovery_change_a_training_and_a_resumed_one_is_the_same[average]",
    ),
    Mutation(
        "growl names the packages that are installed",
        "__main__.py",
        "if not _installed(name)]",
        "if _installed(name)]",
        "house/test_light_library.py::test_growl_names_each_package_that_is_not_installed",
    ),
    Mutation(
        "settings of the command line are ignored",
        "application/recipes/loading.py",
        "        _set(fields, key, value)\n",
        "        pass\n",
        "application/recipes/test_loading.py::test_settings_are_yaml_values_by_dotted_field",
    ),
    Mutation(
        "a recipe's choice by name is merged with the other's",
        "application/recipes/loading.py",
        'or ("name" in changes and not top)',
        "or False",
        "application/recipes/test_loading.py::test_a_file_extends_another_field_by_field_and_named_choices_whole",
    ),
    Mutation(
        "a recipe that extends itself is read for ever",
        "application/recipes/loading.py",
        "if where in chain:",
        "if False:",
        "application/recipes/test_loading.py::test_a_recipe_that_cannot_be_extended_is_an_error",
    ),
    Mutation(
        "the report's ratio is upside down",
        "application/reports/summary.py",
        "else dense / compact",
        "else compact / dense",
        "application/reports/test_summary.py::test_the_headline_has_all_ratios",
    ),
    Mutation(
        "a slower network is no worse",
        "application/reports/summary.py",
        'lines.append(Comparison(f"ms at batch {batch}", before, after, change, change.endswith("slower")))',
        'lines.append(Comparison(f"ms at batch {batch}", before, after, change, False))',
        "application/reports/test_summary.py::test_slower_and_larger_figures_are_named",
    ),
    Mutation(
        "the evaluation reads the dense accuracy",
        "application/runs/evaluation.py",
        '"compact": agreement.compact',
        '"compact": evaluate(dense.to(run.device), test, run.device, **run.testing)',
        "application/runs/test_evaluation.py::test_every_accuracy_is_that_of_its_network",
    ),
    Mutation(
        "the compression of the network is upside down",
        "application/runs/evaluation.py",
        '"network": before.bytes / stored',
        '"network": stored / before.bytes',
        "application/runs/test_evaluation.py::test_counts_and_ratios_are_those_of_dense_and_compact_network",
    ),
    Mutation(
        "other predictions of the compact network are accepted",
        "application/runs/evaluation.py",
        'if agreement.fault and recipe.compact.dtype == "float32":',
        "if False:",
        "application/runs/test_evaluation.py::test_a_compact_network_with_other_predictions_is_refused",
    ),
    Mutation(
        "retrained rows that leave their group are accepted",
        "application/runs/evaluation.py",
        "if not layer.partition.holds(",
        "if False and not layer.partition.holds(",
        "application/runs/test_evaluation.py::test_retrained_rows_that_differ_from_the_tying_are_refused",
    ),
    Mutation(
        "later epochs stay in the log",
        "application/runs/run_folder.py",
        "return bool(1 <= epoch <= done.get(stage, 0))",
        "return bool(1 <= epoch)",
        "application/runs/test_run_folder.py::test_metrics_after_a_checkpoint_are_dropped_on_resuming",
    ),
    Mutation(
        "a folder of another recipe is resumed",
        "application/runs/run_folder.py",
        'update={"description": recipe.description})) != recipe:',
        'update={"description": recipe.description})) is None:',
        "application/runs/test_run_folder.py::test_a_run_is_resumed_only_on_request_and_with_its_own_recipe",
    ),
    Mutation(
        "a killed training starts again",
        "application/runs/stages.py",
        "growl=penalty, state=state,",
        "growl=penalty, state=None,",
        "application/runs/test_stages.py::test_a_run_killed_in_the_middle_of_an_epoch_ends_the_same[train-5]",
    ),
    Mutation(
        "an option that several commands share has another name",
        "application/command/shared_options.py",
        'typer.Option("--data"',
        'typer.Option("--date"',
        "application/command/test_app.py::test_what_is_wrong_is_one_line_exit_2_and_nothing_is_written[missing data]",
    ),
    Mutation(
        "a layer's name can end the page's script",
        "application/reports/layer_parts.py",
        'text.replace("<", ',
        'text.replace("<!", ',
        "application/reports/test_layer_parts.py::test_names_cannot_end_the_script_and_too_many_rows_are_left_out",
    ),
    Mutation(
        "errors that rise are drawn upwards",
        "application/pages/size_charts.py",
        "return share if scale.higher_is_better else 1 - share",
        "return share",
        "application/pages/test_size_charts.py::test_smaller_is_right_and_better_is_up[scale1-50.0-54.0]",
    ),
    Mutation(
        "the cost of a compact layer has another name than in the dense network",
        "networks/measurement/layer_counts.py",
        "        name = outer\n",
        "        break\n",
        "networks/measurement/test_layer_counts.py::test_a_compact_network_has_the_names_of_the_dense_one",
    ),
    Mutation(
        "names of layers are HTML in a notebook",
        "html_table.py",
        "{escape(text)}</{tag}>",
        "{text}</{tag}>",
        "test_html_table.py::test_every_text_is_escaped",
    ),
]
