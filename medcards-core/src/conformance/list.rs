use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::whole::WholeStore;
use crate::cache::Cache;
use crate::chat::{ChatStore, SharedAnswers};
use crate::leaderboard::FedLeaderboards;
use crate::lease::FeedbackLeases;
use crate::limit::RateLimiter;
use crate::precompute::BatchStore;
use crate::session::SessionStore;
use crate::spend::SpendLedger;
use crate::store::Store;
use crate::testing::ManualClock;

/// A check with its name, as the tables list it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name and what it names")]
pub struct Check<B> {
    /// Its module and name, such as `answers::two_users_may_use_the_same_answer_id`.
    pub name: &'static str,
    /// Runs it on a fresh backend; it panics if the promise is broken.
    pub run: fn(B) -> BoxFuture<'static, ()>,
}

/// A rate limiter, and the clock that drives it.
pub type DrivenLimiter = (Arc<dyn RateLimiter>, Arc<ManualClock>);

/// All checks of a store.
pub const STORE_CHECKS: &[Check<Arc<dyn Store>>] =
    crate::__store_checks!([crate::__check_table] []);

/// All checks of a store of batches.
pub const BATCH_CHECKS: &[Check<Arc<dyn BatchStore>>] =
    crate::__batch_checks!([crate::__check_table] []);

/// All checks of a cache.
pub const CACHE_CHECKS: &[Check<Arc<dyn Cache>>] =
    crate::__cache_checks!([crate::__check_table] []);

/// All checks of leases.
pub const LEASE_CHECKS: &[Check<Arc<dyn FeedbackLeases>>] =
    crate::__lease_checks!([crate::__check_table] []);

/// All checks of a spend ledger, which are among those of a store.
pub const LEDGER_CHECKS: &[Check<Arc<dyn SpendLedger>>] =
    crate::__ledger_checks!([crate::__check_table] []);

/// All checks of leaderboards.
pub const LEADERBOARD_CHECKS: &[Check<Arc<dyn FedLeaderboards>>] =
    crate::__leaderboard_checks!([crate::__check_table] []);

/// All checks of a store of sessions.
pub const SESSION_CHECKS: &[Check<Arc<dyn SessionStore>>] =
    crate::__session_checks!([crate::__check_table] []);

/// All checks of a store of chats.
pub const CHAT_CHECKS: &[Check<Arc<dyn ChatStore>>] =
    crate::__chat_checks!([crate::__check_table] []);

/// All checks of a store of shared answers.
pub const SHARED_ANSWER_CHECKS: &[Check<Arc<dyn SharedAnswers>>] =
    crate::__shared_answer_checks!([crate::__check_table] []);

/// All checks of a store of jobs.
pub const JOB_CHECKS: &[Check<Arc<dyn WholeStore>>] =
    crate::__job_checks!([crate::__check_table] []);

/// All checks of a store of notices.
pub const NOTICE_CHECKS: &[Check<Arc<dyn WholeStore>>] =
    crate::__notice_checks!([crate::__check_table] []);

/// All checks of a store of views.
pub const VIEW_CHECKS: &[Check<Arc<dyn WholeStore>>] =
    crate::__view_checks!([crate::__check_table] []);

/// All checks of a rate limiter.
pub const LIMITER_CHECKS: &[Check<DrivenLimiter>] =
    crate::__limiter_checks!([crate::__check_table] []);

/// Expands every check of a store into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (impl $crate::store::Store, impl ::core::marker::Sized) {
            $make().await
        }

        $crate::__store_checks! { [$crate::__check_tests] [store_bare store_behind_arc_dyn] }
    };
}

/// Expands every check of a store of batches into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! batch_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::precompute::BatchStore,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__batch_checks! { [$crate::__check_tests] [batch_bare batch_behind_arc_dyn] }
    };
}

/// Expands every check of a cache into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. It must have room for some thousand small entries. Use it in a
/// module of its own; see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! cache_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (impl $crate::cache::Cache, impl ::core::marker::Sized) {
            $make().await
        }

        $crate::__cache_checks! { [$crate::__check_tests] [cache_bare cache_behind_arc_dyn] }
    };
}

/// Expands every check of leases into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend, whose leases last
/// [`LEASE_TTL`](crate::conformance::leases::LEASE_TTL), and a guard, which is dropped after the
/// check. Use it in a module of its own; see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! lease_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::lease::FeedbackLeases,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__lease_checks! { [$crate::__check_tests] [leases_bare leases_behind_arc_dyn] }
    };
}

/// Expands every check of a spend ledger into tests of a backend that is no store, or wraps one.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! ledger_conformance {
    ($make:path) => {
        async fn conformance_backend()
        -> (impl $crate::spend::SpendLedger, impl ::core::marker::Sized) {
            $make().await
        }

        $crate::__ledger_checks! { [$crate::__check_tests] [ledger_bare ledger_behind_arc_dyn] }
    };
}

/// Expands every check of leaderboards into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes fresh, empty boards which go by the
/// machine's clock, and a guard, which is dropped after the check. Use it in a module of its own;
/// see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! leaderboard_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::leaderboard::FedLeaderboards,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__leaderboard_checks! {
            [$crate::__check_tests] [leaderboard_bare leaderboard_behind_arc_dyn]
        }
    };
}

/// Expands every check of a store of sessions into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! session_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::session::SessionStore,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__session_checks! {
            [$crate::__check_tests] [session_bare session_behind_arc_dyn]
        }
    };
}

/// Expands every check of a store of chats into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! chat_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (impl $crate::chat::ChatStore, impl ::core::marker::Sized)
        {
            $make().await
        }

        $crate::__chat_checks! {
            [$crate::__check_tests] [chat_bare chat_behind_arc_dyn]
        }
    };
}

/// Expands every check of a store of shared answers into tests of a backend.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! shared_answer_conformance {
    ($make:path) => {
        async fn conformance_backend()
        -> (impl $crate::chat::SharedAnswers, impl ::core::marker::Sized) {
            $make().await
        }

        $crate::__shared_answer_checks! {
            [$crate::__check_tests] [shared_answer_bare shared_answer_behind_arc_dyn]
        }
    };
}

/// Expands every check of a queue of jobs into tests of a backend that is also a store of
/// everything else.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! job_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::conformance::WholeStore,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__job_checks! { [$crate::__check_tests] [whole_bare whole_behind_arc_dyn] }
    };
}

/// Expands every check of a store of notices into tests of a backend that is also a store of
/// everything else.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! notice_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::conformance::WholeStore,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__notice_checks! { [$crate::__check_tests] [whole_bare whole_behind_arc_dyn] }
    };
}

/// Expands every check of a store of views into tests of a backend that is also a store of
/// everything else.
///
/// Takes the path of an `async fn() -> (S, G)` that makes a fresh, empty backend and a guard, which
/// is dropped after the check. Use it in a module of its own; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! view_conformance {
    ($make:path) => {
        async fn conformance_backend() -> (
            impl $crate::conformance::WholeStore,
            impl ::core::marker::Sized,
        ) {
            $make().await
        }

        $crate::__view_checks! { [$crate::__check_tests] [whole_bare whole_behind_arc_dyn] }
    };
}

/// Expands every check of a rate limiter into tests of a backend.
///
/// Takes the path of an `async fn(Arc<ManualClock>) -> (S, G)` that makes a fresh, empty backend
/// which tells the time by this clock, and a guard, which is dropped after the check. Use it in a
/// module of its own; see [`conformance`](crate::conformance).
#[macro_export]
macro_rules! limiter_conformance {
    ($make:path) => {
        async fn conformance_backend(
            clock: ::std::sync::Arc<$crate::testing::ManualClock>,
        ) -> (impl $crate::limit::RateLimiter, impl ::core::marker::Sized) {
            $make(clock).await
        }

        $crate::__limiter_checks! {
            [$crate::__check_tests] [limiter_bare limiter_behind_arc_dyn]
        }
    };
}

/// Turns a list of checks into the entries of a table.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_table {
    ([] $($group:ident { $($check:ident)* })*) => {
        &[$($(
            $crate::conformance::Check {
                name: concat!(stringify!($group), "::", stringify!($check)),
                run: |backend| Box::pin($crate::conformance::$group::$check(backend)),
            },
        )*)*]
    };
}

/// Turns a list of checks into tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_tests {
    ([$bare:ident $behind_arc_dyn:ident] $($group:ident $checks:tt)*) => {
        mod bare {
            $($crate::__check_tests! { @group $bare $group $checks })*
        }

        mod behind_arc_dyn {
            $($crate::__check_tests! { @group $behind_arc_dyn $group $checks })*
        }
    };
    (@group $run:ident $group:ident { $($check:ident)* }) => {
        mod $group {
            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let make = super::super::conformance_backend;
                    $crate::conformance::$run(make, async |backend| {
                        $crate::conformance::$group::$check(backend).await
                    })
                    .await;
                }
            )*
        }
    };
}

/// Hands the list of all checks of a store to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            answers {
                a_new_answer_is_found_as_it_was_given
                a_repeated_answer_gives_the_first_one_back
                a_repeated_answer_adds_no_event
                an_answer_sent_by_many_at_once_is_stored_once
                two_users_may_use_the_same_answer_id
                an_answer_of_another_user_is_not_found
                a_read_with_the_token_sees_the_write
                a_token_of_another_store_is_read_strong
                a_dropped_recording_leaves_both_answer_and_event_or_neither
                answers_are_listed_newest_first
                pages_of_any_limit_hold_every_answer_once
                a_walk_through_answers_is_not_disturbed_by_new_ones
                a_list_of_answers_refuses_foreign_cursors
                totals_count_a_users_answers_and_cases
                totals_are_right_after_many_answers_at_once
                the_next_case_is_one_not_yet_seen
                then_the_next_case_is_the_one_answered_longest_ago
                the_next_case_passes_the_filter
                the_next_case_is_the_same_for_the_same_answers
                the_next_case_with_the_token_knows_the_answer
                a_new_version_of_a_seen_case_is_not_unseen
                an_answer_keeps_the_version_that_was_seen
            }
            cases {
                new_content_becomes_a_case_and_is_found_whole
                equal_content_changes_nothing
                changed_content_becomes_the_next_version
                an_old_version_stays_as_it_was
                publications_come_in_the_order_of_the_batch
                the_later_of_two_contents_in_a_batch_wins
                the_same_content_published_at_once_gives_one_version
                different_contents_published_at_once_each_get_a_version
                source_and_external_id_name_a_case_together
                an_unknown_case_or_version_is_not_found
                cases_are_listed_in_order_of_id
                pages_of_any_limit_hold_every_case_once
                a_walk_through_cases_is_not_disturbed_by_new_ones
                a_filter_lets_through_what_it_names
                a_filter_looks_at_the_current_version
                a_list_of_cases_refuses_foreign_cursors
            }
            search {
                a_search_looks_at_the_fields_it_should
                each_word_of_a_search_must_begin_a_word
                a_search_disregards_case_and_accents
                a_search_without_a_word_matches_nothing
                a_search_has_no_syntax
                words_beyond_the_sixteenth_are_ignored
                the_best_matches_come_first
                a_search_finds_the_current_version
                a_search_obeys_the_filter
                pages_of_a_search_hold_every_match_once
                a_walk_through_a_search_is_not_disturbed_by_new_cases
                a_search_refuses_foreign_cursors
            }
            users {
                a_new_user_is_found_as_it_was_given
                a_known_user_stays_as_it_is
                a_user_ensured_by_many_at_once_is_stored_once
                new_settings_replace_the_old
                new_settings_are_recorded_as_an_event
                settings_of_an_unknown_user_are_refused
            }
            events {
                an_event_carries_the_whole_answer
                events_stand_in_the_order_of_commits
                reading_on_gives_every_event_once
                a_read_of_the_log_is_bounded
                reading_while_many_write_misses_and_repeats_nothing
                an_unknown_reader_stands_at_the_start
                a_moved_reader_is_found_where_it_was_moved_to
                a_reader_that_is_elsewhere_is_not_moved
                one_of_many_moves_of_a_reader_at_once_succeeds
                a_reader_does_not_go_back
                events_of_everyone_are_read_as_they_were_appended
                an_event_that_is_not_of_everyone_is_refused
                events_after_a_place_are_counted
                who_waits_for_events_hears_of_them
            }
            corrections {
                a_correction_publishes_and_is_listed
                corrections_are_events_of_everyone
                corrections_are_numbered_without_a_gap
                one_of_many_corrections_at_once_counts
                a_correction_of_what_is_not_there_is_refused
                a_correction_of_another_current_version_is_refused
                a_correction_that_cannot_be_written_is_refused
                publishing_goes_on_after_a_correction
            }
            precomputed {
                kept_feedback_is_found_as_it_was_given
                keys_that_differ_in_one_part_are_different
                an_unreviewed_text_is_replaced
                a_reviewed_text_is_not_replaced
                a_decision_is_written_down
                a_review_of_nothing_is_refused
                a_withdrawal_stands_against_texts_kept_at_once
                feedback_is_listed_by_state_oldest_first
                pages_of_any_limit_hold_every_feedback_once
                reviewing_page_by_page_skips_nothing
                a_list_of_feedback_refuses_foreign_cursors
                keys_are_read_in_the_order_first_kept
                keys_kept_at_once_are_all_read
                reviews_are_listed_since_an_instant_oldest_first
            }
            spend {
                money_is_set_aside_up_to_the_budget
                many_at_once_set_aside_no_more_than_the_budget
                without_a_budget_all_is_granted
                each_day_has_its_budget
                the_same_reservation_sets_money_aside_once
                settling_frees_the_rest_and_books_the_cost
                settling_twice_books_once
                overspending_is_booked
                rows_that_belong_together_add_up
                rows_added_at_once_all_count
                totals_hold_the_days_asked_for
                totals_are_sorted
                a_month_has_one_budget_for_its_days
                each_user_has_a_budget_of_the_day
                each_purpose_has_a_budget_of_the_day
                the_last_percent_are_kept_for_premium_users
                a_refused_wish_leaves_nothing_set_aside
                settling_frees_and_books_in_every_scope
                what_nobody_reserved_counts_in_day_and_month
                sums_come_in_the_order_asked_for
                many_users_at_once_exceed_no_limit
                sums_of_days_stay_for_a_week_and_those_of_months_for_a_year
            }
        }
    };
}

/// Hands the list of all checks of a store of batches to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            batches {
                an_opened_batch_is_found_as_it_was_given
                a_batch_never_opened_is_not_found
                a_batch_without_a_key_or_with_one_twice_is_refused
                a_batch_opened_again_stays_as_it_is
                a_key_is_in_one_open_batch_only
                one_of_many_who_want_the_same_keys_gets_them
                one_of_many_claims_of_a_batch_succeeds
                a_claim_must_have_seen_the_last_attempt
                a_named_or_closed_batch_is_not_claimed
                a_batch_is_found_by_its_name
                a_name_is_given_by_the_last_attempt_and_once
                a_batch_is_closed_by_the_last_attempt
                a_batch_closed_again_stays_as_it_is
                an_end_without_all_outcomes_is_refused
                the_keys_of_a_closed_batch_are_free
                rejections_of_a_key_are_counted
                open_batches_are_listed_oldest_first
            }
        }
    };
}

/// Hands the list of all checks of a cache to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            cache {
                what_was_put_is_found_whole
                what_was_never_put_is_not_found
                keys_that_differ_in_one_part_are_different
                many_keys_are_found_in_their_order
                an_entry_takes_the_place_of_the_one_before
                a_removed_key_is_not_found
                nobody_finds_what_was_removed
                a_purge_forgets_every_key_of_a_case_and_no_other
                entries_put_at_once_are_not_mixed_up
            }
        }
    };
}

/// Hands the list of all checks of leases to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __lease_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            leases {
                one_of_many_gets_the_lease
                followers_see_the_words_as_they_come
                words_pushed_twice_are_shown_once
                followers_see_how_it_ended
                an_ended_lease_can_be_taken_again
                a_lease_given_back_is_vacant
                a_failed_call_is_not_made_again_at_once
                the_lease_of_a_dead_holder_is_taken_over
                a_live_holder_keeps_its_lease
                who_was_given_up_on_changes_nothing
                a_silent_holder_goes_on_if_nobody_came
            }
        }
    };
}

/// Hands the list of all checks of a spend ledger to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __ledger_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            spend {
                money_is_set_aside_up_to_the_budget
                many_at_once_set_aside_no_more_than_the_budget
                without_a_budget_all_is_granted
                each_day_has_its_budget
                the_same_reservation_sets_money_aside_once
                settling_frees_the_rest_and_books_the_cost
                settling_twice_books_once
                overspending_is_booked
                rows_that_belong_together_add_up
                rows_added_at_once_all_count
                totals_hold_the_days_asked_for
                totals_are_sorted
                a_month_has_one_budget_for_its_days
                each_user_has_a_budget_of_the_day
                each_purpose_has_a_budget_of_the_day
                the_last_percent_are_kept_for_premium_users
                a_refused_wish_leaves_nothing_set_aside
                settling_frees_and_books_in_every_scope
                what_nobody_reserved_counts_in_day_and_month
                sums_come_in_the_order_asked_for
                many_users_at_once_exceed_no_limit
                sums_of_days_stay_for_a_week_and_those_of_months_for_a_year
            }
        }
    };
}

/// Hands the list of all checks of leaderboards to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __leaderboard_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            leaderboards {
                points_count_on_the_boards_they_belong_to
                what_nobody_is_on_is_empty
                equal_points_share_a_rank
                a_top_has_as_many_as_were_asked_for
                neighbours_are_those_next_to_me
                a_batch_counts_once
                a_batch_applied_by_many_at_once_counts_once
                a_part_without_gains_moves_the_place
                batches_that_nobody_may_apply_are_refused
                cohorts_fill_in_the_order_of_the_log
                a_rebuild_is_not_seen_before_it_is_switched_in
                what_was_switched_out_takes_no_more
                a_rebuild_begun_by_many_is_one
                a_rebuild_knows_of_the_corrections_asked_for
                a_week_long_over_counts_for_all_time_alone
                answers_say_what_they_take_into_account
                boards_agree_with_counting_by_hand
            }
        }
    };
}

/// Hands the list of all checks of a store of sessions to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __session_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            sessions {
                a_new_session_is_found_as_it_was_given
                a_session_begun_again_stays_as_it_is
                a_session_lives_a_day_after_its_last_use
                a_use_moves_the_end_for_all
                a_clock_set_back_ends_nothing_earlier
                a_session_ends_after_thirty_days
                an_expired_session_is_neither_found_nor_listed
                sessions_are_listed_newest_first
                a_revoked_session_is_not_found
                a_session_of_another_user_goes_on
                all_sessions_of_a_user_are_revoked_together
                nobody_finds_what_was_revoked
                many_may_use_a_session_at_once
                one_session_too_many_ends_the_oldest
                an_expired_session_takes_no_place
                sessions_begun_at_once_are_no_more_than_allowed
            }
        }
    };
}

/// Hands the list of all checks of a store of chats to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __chat_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            chats {
                a_new_turn_is_begun_and_found_as_it_was_given
                a_turn_is_begun_once
                an_id_names_one_question
                two_users_may_use_the_same_turn_id
                a_turn_of_another_user_is_not_found
                a_broken_attempt_is_begun_again
                the_reply_of_an_attempt_given_up_on_is_refused
                a_reply_counts_once
                a_reply_is_found_as_it_was_given
                a_reply_to_no_turn_is_refused
                a_chat_has_no_more_turns_than_allowed
                turns_begun_at_once_are_no_more_than_allowed
                a_turn_begun_by_many_at_once_is_begun_once
                a_broken_turn_begun_by_many_at_once_is_begun_once
                one_of_many_replies_at_once_counts
                turns_are_listed_newest_first
                pages_of_any_limit_hold_every_turn_once
                a_walk_through_turns_is_not_disturbed_by_new_ones
                a_list_of_turns_refuses_foreign_cursors
                a_summary_is_found_as_it_was_given
                a_summary_only_moves_forward
                of_summaries_put_at_once_the_longest_reaching_is_left
                a_summary_through_no_turn_is_refused
                a_forgotten_chat_is_gone
                what_comes_late_to_a_forgotten_chat_is_refused
                a_chat_forgotten_meanwhile_stays_forgotten
                words_of_any_script_are_kept_whole
                words_that_do_not_fit_are_refused
            }
        }
    };
}

/// Hands the list of all checks of a store of shared answers to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __shared_answer_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            shared_answers {
                a_shared_answer_is_found_as_it_was_given
                a_shared_answer_takes_the_place_of_the_one_before
                shared_answers_are_listed_in_order_of_id
                an_id_names_an_answer_about_one_case
                a_removed_shared_answer_is_gone
                a_case_has_no_more_shared_answers_than_allowed
                shared_answers_put_at_once_are_no_more_than_allowed
                words_of_any_script_are_kept_whole
                words_that_do_not_fit_are_refused
            }
        }
    };
}

/// Hands the list of all checks of a rate limiter to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __limiter_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            limiter {
                the_quota_is_allowed_and_no_more
                many_at_once_get_no_more_than_the_quota
                a_refused_call_is_not_counted
                a_call_counts_its_whole_cost
                each_key_counts_apart
                several_quotas_count_together_or_not_at_all
                decisions_are_those_of_the_sliding_window
                who_waits_as_long_as_was_said_is_let_through
                all_of_the_quota_is_there_again_when_said
                a_clock_set_back_gives_nothing_twice
            }
        }
    };
}

/// Hands the list of all checks of a queue of jobs to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            jobs {
                a_new_job_is_claimed_as_it_was_given
                the_longest_job_that_is_allowed_is_kept
                a_job_is_not_claimed_before_its_time
                only_jobs_of_the_given_kinds_are_claimed
                jobs_due_longest_are_claimed_first
                a_claim_is_bounded
                claimers_at_once_get_different_jobs
                a_job_whose_lease_has_ended_is_claimed_again
                a_heartbeat_prolongs_a_claim
                a_heartbeat_of_a_lost_claim_says_so
                a_job_that_is_done_is_forgotten
                a_late_attempt_counts_if_no_other_was_made
                a_lost_attempt_writes_nothing
                an_attempt_is_settled_once
                an_attempt_ends_once_though_its_job_goes_on
                one_of_many_settlements_at_once_counts
                effects_are_written_with_the_end
                a_job_of_an_effect_is_like_any_other
                settlements_are_answered_in_their_order
                effects_that_cannot_be_written_are_refused_whole
                jobs_that_cannot_be_enqueued_are_refused_whole
                too_many_at_once_are_refused
                a_job_that_is_there_is_known
                a_key_is_taken_while_its_job_is_there
                a_key_is_taken_as_long_as_was_asked
                a_key_is_of_one_kind
                a_key_is_taken_within_a_call
                one_of_many_takes_a_key
                keys_that_are_free_are_swept
                jobs_in_order_are_done_one_at_a_time
                a_job_in_order_holds_up_those_of_other_kinds
                a_retried_job_holds_up_those_behind_it
                a_requeued_job_waits_for_one_under_way
                jobs_in_order_hold_up_no_others
                claimers_at_once_keep_the_order_of_a_user
                a_retry_is_due_when_it_was_asked_for
                a_released_job_is_due_at_once
                a_job_given_up_is_kept
                dead_jobs_are_listed_in_order_of_id
                a_requeued_job_is_due_and_goes_on
                a_discarded_job_is_gone
                jobs_are_counted_by_kind
                the_next_due_instant_is_the_earliest
                who_waits_for_jobs_hears_of_them
                a_correction_enqueues_its_jobs
            }
        }
    };
}

/// Hands the list of all checks of a store of notices to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __notice_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            notices {
                a_notice_is_read_as_it_was_written
                notices_stand_in_the_order_of_commits
                reading_on_gives_every_notice_once
                a_read_of_notices_is_bounded
                a_user_reads_no_notice_of_another
                reading_while_many_write_misses_and_repeats_nothing
                what_comes_is_behind_the_last_place
                old_notices_are_swept
                who_waits_for_notices_hears_of_them
            }
        }
    };
}

/// Hands the list of all checks of a store of views to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __view_checks {
    ([$($then:tt)*] $passed:tt) => {
        $($then)*! {
            $passed
            views {
                a_view_that_nobody_began_is_empty
                a_new_view_has_announced_what_the_log_has
                an_edition_begun_again_stays_as_it_is
                an_edition_of_other_rules_gives_up_the_next_one
                an_edition_begun_by_many_at_once_is_one
                views_are_listed_and_kept_apart
                one_runner_leads_until_its_lease_has_ended
                a_lead_given_up_is_free
                one_of_many_takes_the_lead
                rows_are_found_as_they_were_committed
                rows_are_replaced_and_removed
                as_many_rows_as_allowed_are_written_at_once
                a_commit_counts_from_where_the_edition_stands
                one_of_many_commits_at_once_counts
                only_who_leads_commits
                a_commit_to_no_edition_is_told_so
                a_commit_that_cannot_be_written_is_refused_whole
                an_event_is_announced_once
                a_badge_is_awarded_once
                rows_of_an_owner_are_listed_in_order_of_item
                a_shelf_is_read_in_order_of_place
                the_next_edition_takes_the_place_of_the_current_one
                an_edition_that_is_gone_has_no_rows
                events_set_aside_are_kept_and_counted
            }
        }
    };
}
