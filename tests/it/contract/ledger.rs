//! What every ledger owes its callers, told once and held against SQLite and PostgreSQL.
//!
//! Each story gets an empty ledger of its own. It looks only through the trait; SQL has no place here. The stories lie in the
//! rooms below; `steps` holds what they have in common.

mod audit;
mod cancel;
mod claim;
mod history;
mod idempotency;
mod keys;
mod leases;
mod load;
mod record;
mod registry;
mod rescue;
mod retention;
mod road;
mod steps;
mod submit;
mod tenants;
mod trail;
mod unique;
mod uploads;
mod webhook_ends;
mod webhooks;

use std::sync::Arc;

use longshore_runtime::ledger::Ledger;
use longshore_runtime::ledger::postgres::Postgres;
use longshore_runtime::ledger::sqlite::Sqlite;
use longshore_tests::scratch;

/// More connections than a story has calls at once would hide what happens when they run out.
const CONNECTIONS: usize = 6;

async fn on_sqlite<F: Future<Output = ()>>(story: impl FnOnce(Arc<dyn Ledger>) -> F) {
    let home = scratch::dir("ledger").unwrap();
    let ledger = Sqlite::open(home.path().join("ledger.db")).unwrap();
    ledger.migrate().await.unwrap();
    story(Arc::new(ledger)).await;
}

async fn on_postgres<F: Future<Output = ()>>(story: impl FnOnce(Arc<dyn Ledger>) -> F) {
    let server = longshore_tests::postgres::Postgres::shared().await.unwrap();
    let ledger = Postgres::connect(&server.database().await.unwrap(), CONNECTIONS).unwrap();
    ledger.migrate().await.unwrap();
    story(Arc::new(ledger)).await;
}

macro_rules! stories {
    ($($room:ident { $($sentence:ident)+ })+) => {
        mod sqlite {
            $(mod $room { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sentence() {
                    super::super::on_sqlite(super::super::$room::$sentence).await;
                }
            )+ })+
        }
        mod postgres {
            $(mod $room { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sentence() {
                    super::super::on_postgres(super::super::$room::$sentence).await;
                }
            )+ })+
        }
    };
}

// A story that is not named here would be dead code, which the compiler reports.
stories! {
    submit {
        a_job_that_is_due_is_on_the_road_at_once
        a_scheduled_job_waits_for_the_relay
        a_repeated_submit_finds_the_row_of_the_first
        json_comes_back_byte_for_byte
        a_failed_publish_goes_to_the_relay_if_the_version_is_unchanged
        jobs_are_listed_newest_first_by_state_kind_and_page
        of_an_unknown_job_nothing_is_known
    }
    idempotency {
        a_key_that_comes_again_finds_the_job_of_the_first
        a_key_with_another_fingerprint_is_a_conflict_and_writes_nothing
        a_key_twice_in_one_batch_makes_one_job
        of_64_callers_with_one_key_one_makes_the_job_and_all_get_it
        batches_that_share_keys_in_any_order_do_not_lock_each_other_out
        a_key_whose_time_is_over_makes_a_new_job
        only_dead_letters_whose_end_is_announced_are_purged_with_all_that_is_theirs
    }
    unique {
        a_unique_key_is_held_while_its_job_waits_or_runs_and_free_afterwards
        another_kind_another_key_and_no_key_are_none_of_its_business
        a_unique_key_twice_in_one_batch_makes_one_job
        a_submit_repeated_after_a_lost_reply_finds_its_own_job_whoever_has_the_key_now
        an_idempotency_key_remembers_the_job_that_held_the_unique_key
        of_64_callers_with_one_unique_key_one_makes_the_job_and_all_see_it
        batches_that_share_unique_keys_in_any_order_do_not_lock_each_other_out
        while_a_key_changes_hands_it_never_has_two_unfinished_jobs
        a_dead_letter_is_replayed_only_while_no_other_job_has_its_unique_key
        keys_of_finished_jobs_are_removed_and_no_others
    }
    trail {
        every_change_of_keys_webhooks_and_jobs_is_noted_once_with_who_did_it
        a_test_and_a_repeat_of_a_delivery_are_noted_once_with_who_sent_them
        what_changes_nothing_or_is_nobodys_is_not_noted
        lines_are_a_tenants_own_come_in_pages_and_go_with_their_age
    }
    claim {
        a_claim_starts_the_next_attempt
        of_workers_racing_for_a_job_exactly_one_runs_it
        a_job_claimed_twice_in_one_round_runs_once
        a_running_job_is_busy_for_everyone_even_past_its_lease
        a_settled_job_repeats_its_event
        a_claim_that_comes_too_early_changes_nothing
        without_a_live_lease_nothing_is_claimed
        a_job_that_crashed_twice_runs_only_alone
        a_job_whose_wait_is_over_can_be_claimed
    }
    record {
        a_completed_job_keeps_its_output
        a_retry_waits_and_is_charged
        a_dead_letter_keeps_its_evidence
        an_attempt_that_obeyed_a_cancel_ends_the_job
        a_hand_back_is_due_at_once_and_charged_nothing
        a_job_that_was_put_off_is_due_after_its_wait_and_charged_nothing
        a_retry_or_hand_back_after_a_cancel_becomes_the_cancel
        an_output_that_is_ready_wins_over_a_cancel_that_came_late
        a_record_repeated_after_a_lost_reply_is_recognised
        a_record_of_another_attempt_or_worker_is_fenced
        a_record_whose_reply_was_lost_is_recognised_though_the_job_has_gone_on
        a_mixed_round_is_answered_in_order
        a_checkpoint_is_kept_for_the_next_attempt
        a_checkpoint_of_an_attempt_that_lost_its_job_is_refused
        progress_is_shown_while_its_attempt_runs_and_moves_no_version
    }
    cancel {
        a_pending_job_is_canceled_at_once
        a_running_job_is_asked_to_stop
        a_settled_job_stays_as_it_is
        a_dead_letter_is_replayed_with_a_fresh_account
        only_a_dead_letter_is_replayed
    }
    road {
        due_jobs_come_oldest_first_and_only_those
        the_next_due_time_is_known
        a_published_job_is_marked_if_its_version_is_unchanged
        a_job_lost_on_the_road_is_overdue_after_its_patience
        patience_doubles_with_every_publish_and_starts_anew_after_a_claim
        an_announcement_is_cleared_only_for_the_version_announced
        a_failed_announcement_is_left_to_the_relay
        a_census_counts_what_waits_and_runs_by_kind
        dead_letters_are_counted_by_kind
        a_job_published_again_has_waited_since_it_was_due
    }
    history {
        a_history_is_what_was_told_at_every_step
        the_histories_of_what_changed_since_a_moment_are_found_while_they_are_not_too_many
        what_somebody_owes_to_announce_holds_back_the_moment_up_to_which_everything_is
        a_history_has_the_latest_progress_while_its_attempt_runs
        a_lost_attempt_and_one_handed_back_are_told
        a_poisoned_jobs_failure_says_so
        every_attempt_that_a_dead_worker_ended_unannounced_is_told_again
        a_record_whose_reply_was_lost_is_told_as_it_was
    }
    leases {
        a_worker_is_known_by_its_card_and_its_last_heartbeat
        a_worker_whose_row_is_gone_hears_so
        a_lease_that_ran_out_is_revived_if_nobody_took_it
        a_heartbeat_hears_of_its_own_cancels_only
        a_worker_sees_the_attempts_it_is_credited_with
        an_attempt_that_never_ran_is_handed_back_by_its_holder_only
        a_hand_back_of_a_canceled_job_cancels_it
        one_holder_at_a_time_has_a_role
    }
    rescue {
        only_expired_leases_are_taken_unless_everyones_are
        a_lost_job_is_ready_again_and_charged_nothing
        a_lost_job_whose_cancel_was_accepted_is_canceled
        a_job_that_kills_three_workers_alone_is_poison
        a_loss_tells_what_its_worker_had_told
        a_worker_that_is_known_to_be_gone_is_rescued_at_once
        what_the_dead_had_not_announced_is_owed_whoever_has_settled_it_since
        a_job_lost_in_company_is_never_poison
        any_end_but_a_loss_clears_the_account_of_crashes
        what_was_settled_after_the_watermark_is_announced_again
        an_attempt_that_was_lost_records_nothing
        a_running_job_without_a_worker_is_found_by_the_long_scan_alone
        two_rescuers_lose_an_attempt_once
    }
    keys {
        a_key_is_found_as_it_was_made
        a_key_is_ended_by_its_tenant_or_by_the_house_and_stays_ended
        a_keys_use_is_noted_to_the_minute
    }
    tenants {
        a_jobs_tenant_is_in_its_row_its_claim_and_all_its_events
        a_tenants_jobs_and_dead_letters_are_found_under_its_name_alone
        two_tenants_may_choose_the_same_keys_and_never_meet
    }
    audit {
        jobs_that_went_every_way_break_no_rule
        a_running_job_whose_lease_ran_out_is_found_until_it_is_rescued
        an_announcement_owed_for_too_long_is_found
        pages_lead_through_all_jobs_once
    }
    webhook_ends {
        a_jobs_own_webhook_that_is_gone_is_told_nothing_more_and_its_deliveries_are_listed
        since_when_a_subscription_fails_is_known_until_it_succeeds_or_is_enabled
    }
    webhooks {
        every_move_makes_a_delivery_for_whoever_asked_for_it
        every_progress_is_told_as_it_was_though_the_row_keeps_the_newest
        what_a_try_needs_is_found_for_many_at_once
        a_delivery_is_a_job_that_is_due_with_its_kinds_policy
        who_did_not_ask_is_not_told
        a_jobs_own_webhook_is_told_of_what_it_asked_for
        what_changes_nothing_tells_nobody
        a_subscription_is_kept_changed_and_removed
        a_changed_secret_signs_beside_the_one_before_it
        a_delivery_made_by_hand_is_there_once_with_its_tries
        deliveries_that_ended_long_ago_are_removed_and_dead_letters_with_their_purge
    }
    uploads {
        an_upload_is_found_as_it_was_begun_by_whoever_asks
        a_tenant_has_so_many_unfinished_uploads_and_no_more
        of_two_who_would_append_one_may_and_only_where_the_upload_stands
        a_writer_whose_lease_ran_out_goes_on_until_another_one_took_over
        a_whole_upload_is_a_file_once_and_shown_for_a_while
        what_is_doomed_is_shown_to_nobody_and_forgotten_when_its_bytes_are_gone
        uploads_that_stand_still_expire_and_those_that_go_on_do_not
        a_file_that_no_job_names_expires_and_one_that_is_named_stays
    }
    retention {
        a_finished_job_goes_after_its_time_with_all_that_is_its_own
        every_page_is_looked_at_once
        a_job_that_is_still_to_be_told_of_or_remembered_stays
        the_id_of_a_foreign_job_outlives_it_so_that_a_late_repeat_is_no_second_one
        a_file_stays_as_long_as_a_job_that_names_it
    }
    registry {
        a_kind_registered_again_is_replaced
        a_file_is_found_by_its_id
    }
    load {
        ten_thousand_jobs_pass_in_rounds_of_500
        many_processes_may_migrate_at_once
        its_connections_are_counted_while_they_are_busy
        the_clock_answers_and_does_not_stand_still
    }
}
