"""Which test shows what: the tasks that the notes left open, and what other agents are blamed for, row by row.

A row names tests; that they are there is tested here, that they are right where they are.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
#: A task of the notes and the tests of what it is done by.
TASKS = {
    "schema for configuration": "test_an_error_of_a_configuration_has_its_place"
    " test_an_invalid_configuration_is_refused_whole_and_the_old_one_runs_on"
    " test_whatever_a_record_is_made_of_it_is_taken_or_every_fault_has_a_pointer"
    " test_what_the_schema_refuses_is_refused test_all_that_is_wrong_is_told_at_once_each_by_its_pointer",
    "file overrides registry": "test_the_matrix test_a_file_may_win_and_explain_says_which",
    "streamline startup": "test_all_a_rank_has_is_one_request_and_one_commit",
    "more host info": "test_all_a_rank_has_is_one_request_and_one_commit"
    " test_processors_their_cores_and_threads_and_what_else_a_tree_says",
    "disk metrics": "test_what_is_sent_is_what_was_counted_or_a_reset"
    " test_a_disk_that_comes_back_under_its_numbers_was_not_busy_all_the_time"
    " test_a_line_of_diskstats_has_4_11_15_or_17_columns test_what_a_disk_did_between_two_readings"
    " test_a_wrap_and_a_reset_are_told_apart",
    "process probe": "test_a_process_may_have_any_name test_this_process_reads_as_itself"
    " test_the_end_of_a_watched_process_is_told_once_as_its_last_sample",
    "NUMATop": "test_what_is_in_the_files test_a_kernel_without_nodes_says_so"
    " test_of_a_process_what_it_has_on_each_node_or_that_it_is_not_ours",
    "better reporting": "test_reports_come_after_every_third_run test_what_is_held_is_reported_when_it_comes_of_age"
    " test_only_what_moved_is_sent_if_that_is_wanted test_what_was_held_when_a_measurement_ends_is_not_lost"
    " test_each_sink_is_told_at_its_own_times_and_its_numbers_have_no_holes"
    " test_what_waits_is_reported_when_it_is_too_much",
    "command": "test_output_becomes_metrics_through_rexec"
    " test_several_expressions_make_one_reading_or_one_a_match_in_order_of_place"
    " test_those_that_misbehave_are_contained_and_their_siblings_never_notice",
    "nagios wrapper": "test_a_line_is_read_item_by_item_and_a_bad_one_costs_nothing_but_itself"
    " test_a_range_alerts_as_its_words_say test_a_plugin_s_counters_are_counters_and_its_units_its_own"
    " test_the_line_of_the_specification test_long_output_has_performance_data_behind_its_second_bar"
    " test_a_plugin_has_a_state_whatever_it_does test_any_other_end_is_unknown_with_its_reason",
    "refactor Proc": "test_files_are_read_whole_however_long_and_from_any_root"
    " test_a_recorded_tree_is_read_like_this_machine test_files_of_the_kernel_are_opened_in_one_place",
    "transient network failures": "test_what_waits_is_what_a_plain_list_has"
    " test_over_lives_that_end_well_or_by_kill_what_was_spooled_comes"
    " test_samples_of_all_ranks_come_to_the_registry_each_once_and_outlive_it"
    " test_ten_minutes_down_at_ten_samples_a_second_lose_nothing_and_keep_their_order"
    " test_a_sink_that_is_down_for_ten_minutes_loses_nothing_and_a_life_between_neither"
    " test_above_its_share_of_memory_the_longest_queue_gives_way_and_at_the_limit_samples_are_refused",
    "asynchronous I/O": "test_a_slow_sink_keeps_nobody_waiting"
    " test_a_read_that_holds_the_loop_again_and_again_fails_with_what_to_do",
    "adaptive 1, 3": "test_readings_above_a_rule_are_followed_closer_before_the_next_report"
    " test_a_rule_sets_a_fast_grid_from_its_trigger_and_the_base_grid_comes_back",
    "adaptive 2": "test_a_module_follows_its_record_and_a_wrong_one_is_refused_whole"
    " test_another_schedule_is_swapped_in_and_series_numbers_live_on",
    "conflict resolving": "test_the_table_of_slots"
    " test_measurements_of_many_ranks_never_run_at_once_and_go_on_reserving"
    " test_no_second_of_any_resource_is_used_more_than_wholly_and_slots_are_as_early_as_can_be",
    "shell": "test_mkdir_p_makes_all_of_the_way_and_is_no_mistake_twice"
    " test_interrupting_drops_the_line_and_twice_leaves"
    " test_a_script_edits_a_record_and_puts_it_with_the_version_it_read",
    "netlogger": "test_a_log_that_was_rotated_is_read_to_its_end_first test_a_log_cut_short_begins_again"
    " test_a_line_without_its_end_waits_for_it test_words_in_any_order test_after_a_restart_it_goes_on_where_it_was",
    "query by JSON": "test_filters test_the_table_of_methods_and_answers",
    "many collections in one post": "test_many_records_of_many_collections_are_one_commit_and_nothing_new_is_none"
    " test_samples_are_sent_many_series_at_once_asked_for_by_time_and_scraped",
    "independent probes": "test_those_that_misbehave_end_alone_and_are_told"
    " test_an_answer_nested_without_end_is_junk test_nothing_is_left_open_when_a_measurement_goes_or_fails",
}
#: A weakness of the agent of the notes, or of others, and the tests that it is none here.
WEAKNESSES = {
    "own writes restart the probe": "test_the_table_of_the_arbiter"
    " test_what_says_nothing_new_is_no_version_whatever_the_server_keys_say",
    "an edit or an end switches a measurement off": "test_a_finished_onetime_is_done_and_wanted_all_the_same"
    " test_off_stops_at_once_keeps_the_record_and_on_starts_again",
    "a registry that is away kills": "test_neither_a_registry_nor_a_file_is_told_with_both_names"
    " test_a_commit_that_fails_leaves_the_record_as_it_was",
    "a write answers a number": "test_a_lost_update_is_ESTALE_and_the_record_comes_back_with_every_write",
    "stop waits, and loses the buffer": "test_off_stops_at_once_keeps_the_record_and_on_starts_again"
    " test_what_was_held_when_a_measurement_ends_is_not_lost",
    "no timeout, restart, jitter": "test_a_read_that_hangs_is_timed_out_forgotten_and_leaves_nothing_pending"
    " test_a_failing_probe_backs_off_and_comes_back_on_its_grid test_jitter_shifts_the_whole_grid_once",
    "silent drops, re-posting": "test_after_every_step_what_went_in_is_accounted_for"
    " test_gaps_are_told_up_to_a_bound_and_drops_are_counted_all_the_same",
    "a path for everybody, no one asked who": "test_only_who_has_the_token_writes_and_everybody_reads",
    "three requests a metric": "test_all_a_rank_has_is_one_request_and_one_commit",
    "a window fires twice at its start": "test_a_window_anchors_the_grid_on_its_own_start"
    " test_windows_are_the_union_of_their_grids",
    "a past start fires what was missed": "test_a_grid_keeps_its_phase_and_ends_before_its_end",
    "a wrong expression is seen late": "test_a_command_that_cannot_be_is_refused_before_it_runs",
    "the command line loses": "test_the_command_line_is_over_the_file_and_the_registry_over_both_if_it_wins",
    "ttl means nothing": "test_a_service_expires_by_its_time_to_live_and_is_back_when_it_is_heard_of",
    "not=tom asks for m": "test_filters",
    "polling": "test_whoever_watches_is_told_what_he_asked_for_until_he_cancels"
    " test_a_watcher_hears_of_each_change",
    "overruns are not counted": "test_a_tick_inside_a_run_is_dropped_delayed_or_made_up_for"
    " test_runs_start_when_the_words_say_at_any_read_time",
    "zombies": "test_a_process_that_ends_is_started_again_and_the_descriptors_are_as_they_were"
    " test_those_that_misbehave_end_alone_and_are_told",
    "one slow output blocks all": "test_a_slow_sink_keeps_nobody_waiting"
    " test_a_sink_that_is_full_leaves_the_others_alone",
    "memory grows while a sink is down": "test_the_worked_example_of_a_sink_that_is_down_for_eight_runs",
    "a reload loses buffers": "test_a_reload_tries_a_sink_again_at_once_and_what_waited_goes_to_the_new_one"
    " test_what_was_held_is_sent_before_what_comes_after_an_edit"
    " test_another_schedule_is_swapped_in_and_series_numbers_live_on",
    "a clock set back fires again": "test_a_wall_clock_that_is_set_back_fires_nothing_twice_and_stops_nothing",
    "a full disk ends it": "test_a_full_disk_makes_it_memory_alone_counted_and_told"
    " test_a_full_disk_is_waited_for_and_nothing_stands_there_twice",
    "a receiver over its limit loses the batch": "test_a_receiver_that_says_when_to_come_again_is_believed",
}


@pytest.fixture(scope="module")
def names():
    return {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("row", sorted({**TASKS, **WEAKNESSES}))
def test_every_row_has_its_tests(row, names):
    wanted = {**TASKS, **WEAKNESSES}[row].split()
    assert wanted and [name for name in wanted if name not in names] == []
