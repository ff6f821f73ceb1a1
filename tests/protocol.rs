//! The model checks of the deletion protocol. `tools/model/` says what the model checks and what it does not
//! check.
//!
//! Tests of flaws drop one condition of a transaction at a time, or split one transaction into two writes.
//! With the flaw, the model must violate the property that the test names. Slow tests are ignored by default,
//! and `.ci/run` runs them, too.

use teardown_model::Search::{All, Deep, For, Nearest};
use teardown_model::{ENDS_WELL, Report, deletion, provision, saga, teardown, work};

fn holds(name: &str, report: &Report) {
    println!(
        "{name}: {} states, {} steps deep, {:.1} s",
        report.states,
        report.depth,
        report.time.as_secs_f64()
    );
    assert!(report.violated.is_empty(), "{name}: {:#?}", report.violated);
    assert!(report.missing.is_empty(), "{name} never comes to: {:?}", report.missing);
}

fn is_caught(flaw: &str, property: &str, report: &Report) {
    println!("without {flaw}: {:?}", report.violated.keys());
    assert!(report.violated.contains_key(property), "{flaw}: {:#?}", report.violated);
}

/// C1 to C4, D1 to D5, D7, A6, B6, F1, F2, F4, F5: two requests at the same time, of any kind and with any
/// token, violate no property. Between the two requests, an operator may move the resource (I1, I2).
#[test]
fn two_requests_at_once_keep_every_property() {
    holds("two requests", &deletion::Deletions::new(2, None).check(All));
}

/// C1 to C4, D1 to D5, D7, B6, F1, F2, F4, F5: three requests at the same time violate no property.
#[test]
#[ignore = "15 s"]
fn three_requests_at_once_keep_every_property() {
    holds("three requests", &deletion::Deletions::new(3, None).check(All));
}

#[test]
fn each_condition_of_a_deletion_is_needed() {
    use deletion::Flaw::*;
    for (flaw, property) in [
        (OutcomeAbsent, "a replay gets the first answer"),
        (ResourceActive, "no second effect"),
        (ResourceAccount, "no other account's installation is deleted"),
        (ResourceThere, "the count is the number of resources"),
        (ResourceReady, "a resource being provisioned is not deleted"),
        (UnknownActive, "no second effect"),
        (UnknownAccount, ENDS_WELL),
        (UnknownResourceAbsent, "a deleted resource is not registered again"),
        (UnknownInstallationAbsent, "the count is the number of resources"),
        (UnknownReceiptAbsent, "no second effect"),
        (UninstallActive, "no second effect"),
        (UninstallAccount, "no other account's installation is deleted"),
        (UninstallBilling, "an uninstall's answer matches the billing"),
        (UninstallNoneLive, "resources that must stay are not deleted"),
        (TombstoneAbsent, "no second effect"),
        (OutcomeAccount, ENDS_WELL),
        (RegisterActive, "no live resource under a deleted installation"),
        (RegisterAbsent, "the count is the number of resources"),
        (RegisterReceipt, "a deleted resource is not registered again"),
        (UpdateActive, "no live resource under a deleted installation"),
        (UpdateThere, "a deleted resource is not registered again"),
        (InstallNotDeleted, "no live resource under a deleted installation"),
        (OutcomeApart, "no effect without its outcome"),
        (WorkApart, "no effect without its receipt and its work"),
        (ReceiptApart, "no effect without its receipt and its work"),
        (NotCounted, "the count is the number of resources"),
        (MoveActive, "nothing is live twice, or deleted and live"),
        (MoveThere, "nothing is live twice, or deleted and live"),
        (MoveNotCounted, "the count is the number of resources"),
        (MoveReceiptApart, "a moved resource is not announced by its source"),
    ] {
        let report = deletion::Deletions::new(2, Some(flaw)).check(For(property));
        is_caught(&format!("{flaw:?}"), property, &report);
    }
    // This condition only saves a call: without the condition, a request learns the same facts in two calls.
    let report = deletion::Deletions::new(2, Some(ReceiptAbsent)).check(All);
    holds("without ReceiptAbsent", &report);
}

/// G1 to G4, D6, F5: three sweeps at the same time bring every job to its end.
#[test]
fn three_sweeps_at_once_finish_every_job() {
    for scope in work::Scope::ALL {
        let report = work::Sweeps::new(scope, 3, None).check(All);
        holds(&format!("three sweeps, {scope:?}"), &report);
    }
}

#[test]
fn each_condition_of_a_lease_is_needed() {
    use work::Flaw::*;
    use work::Scope::{Announcement, Finalization, Purge};
    for (flaw, scope, property) in [
        (ClaimDue, Finalization, "nothing is finalized before its time"),
        (ClaimNotParked, Announcement, "a parked job stays parked until an operator retries it"),
        (ClaimNotLeased, Finalization, "no job runs twice at once"),
        (FinishFence, Announcement, "a worker without its lease changes nothing"),
        (RetryFence, Announcement, "a job that is done does not come back"),
        (EndPurgeFence, Purge, "a worker without its lease changes nothing"),
        (EndPurgeAsSeen, Finalization, ENDS_WELL),
        (EndFinalizationFence, Finalization, "a worker without its lease changes nothing"),
        (EndFinalizationAsSeen, Finalization, ENDS_WELL),
        (SwapThere, Purge, "a job that is done does not come back"),
        (RetryParked, Announcement, "no job runs twice at once"),
        (SwapApart, Purge, "no lost announcement"),
        (TokenApart, Finalization, "the token is kept until it is finalized"),
        (SettleEndsLease, Finalization, "no job runs twice at once"),
    ] {
        let report = work::Sweeps::new(scope, 2, Some(flaw)).check(Nearest);
        is_caught(&format!("{flaw:?}"), property, &report);
    }
}

/// H1, H2, H3, F5: an operator runs `hold` and `release`, or `keep`, while two workers run, die or are late.
/// In every order of the steps, what the commands report is true.
#[test]
fn a_hold_reports_the_truth_in_every_order() {
    for (name, keeps) in [("hold and release", false), ("keep", true)] {
        holds(name, &teardown::Teardowns::new(keeps, 2, None).check(All));
    }
}

#[test]
fn each_condition_of_a_teardown_is_needed() {
    use teardown::Flaw::*;
    const IN_TIME: &str = "a hold reported as in time is in time";
    const WHILE_HELD: &str = "nothing is announced under a reported hold";
    const KEPT: &str = "a kept resource is never announced";
    for (flaw, keeps, property) in [
        (ClaimNotHeld, false, ENDS_WELL),
        (ClaimDoubt, false, IN_TIME),
        (FailureDoubt, false, IN_TIME),
        (HeldDoubt, false, IN_TIME),
        (GoOnFence, false, IN_TIME),
        (CompleteFence, false, WHILE_HELD),
        (FailFence, false, IN_TIME),
        (PutOnHoldFence, false, IN_TIME),
        (PutOnHoldStands, false, ENDS_WELL),
        (Look, false, IN_TIME),
        (LookUnderLease, false, IN_TIME),
        (LeaseNotOver, false, WHILE_HELD),
        (ScheduledAnnounces, false, IN_TIME),
        (HoldBeforeLook, false, IN_TIME),
        (WaitForLease, false, IN_TIME),
        (ReleaseBeforeWake, false, ENDS_WELL),
        (KeepFence, true, KEPT),
    ] {
        // One flaw may violate several properties, so the search goes through all states.
        let report = teardown::Teardowns::new(keeps, 2, Some(flaw)).check(All);
        is_caught(&format!("{flaw:?}"), property, &report);
    }
    // This model does not need the condition, because a leased job is due only when its lease ends. The
    // condition is needed if an operator makes a job due (`each_condition_of_a_lease_is_needed`).
    let report = teardown::Teardowns::new(false, 2, Some(ClaimNotLeased)).check(All);
    holds("without ClaimNotLeased", &report);
}

/// E2 to E5, F1, F4, F5: a request and a sweep at the same time violate no property, whatever Vercel answers.
#[test]
fn a_request_and_a_sweep_agree_on_a_configuration() {
    let report = saga::Sagas::new(saga::Scope::Vercel, 2, None).check(All);
    holds("a configuration, two processes", &report);
}

/// E2 to E5, E7, F1, F4, F5: a request and a sweep at the same time violate no property, even if the
/// configuration moves to another team before them or while they run.
#[test]
fn a_request_and_a_sweep_agree_on_a_configuration_that_moves() {
    let report = saga::Sagas::new(saga::Scope::Moves, 2, None).check(All);
    holds("a configuration that moves, two processes", &report);
}

/// E2 to E5, F1, F4, F5: a request and a sweep at the same time violate no property, even if other operations
/// change the installation while they run.
#[test]
#[ignore = "15 s"]
fn a_request_and_a_sweep_agree_beside_other_writes() {
    let report = saga::Sagas::new(saga::Scope::Meanwhile, 2, None).check(All);
    holds("a configuration, two processes, and what happens meanwhile", &report);
}

/// E2 to E5, F1, F4, F5: three processes that delete one configuration at the same time violate no property.
#[test]
#[ignore = "1 min"]
fn three_processes_agree_on_a_configuration() {
    let report = saga::Sagas::new(saga::Scope::Vercel, 3, None).check(All);
    holds("a configuration, three processes", &report);
}

/// E2 to E5, E7, F1, F4, F5: three processes that delete one configuration at the same time violate no
/// property, even if the configuration moves to another team.
#[test]
#[ignore = "2 min"]
fn three_processes_agree_on_a_configuration_that_moves() {
    let report = saga::Sagas::new(saga::Scope::Moves, 3, None).check(All);
    holds("a configuration that moves, three processes", &report);
}

#[test]
fn each_condition_of_a_configurations_deletion_is_needed() {
    use saga::Flaw::*;
    use saga::Scope::{Meanwhile, Moves, Vercel};
    for (flaw, scope, processes, property) in [
        (BeginDoubtAsSeen, Vercel, 3, "no doubt is lost"),
        (BeginSettled, Meanwhile, 2, "Vercel is not called while invoices are open"),
        (BeginAbsent, Vercel, 3, "no lost deletion"),
        (BeginFence, Vercel, 2, "one lease at a time"),
        (TakeOverDoubtAsSeen, Vercel, 2, "no lost deletion"),
        (ResumeFence, Vercel, 2, "no lost deletion"),
        (MarkFence, Vercel, 2, "a worker without its lease changes nothing"),
        (WithdrawFence, Vercel, 2, "no lost deletion"),
        (RetryFence, Vercel, 2, "no lost deletion"),
        (AgainHeld, Vercel, 2, "Vercel's result becomes known, or Vercel is called again"),
        (AgainNotGone, Vercel, 2, ENDS_WELL),
        (NotScheduledAgain, Vercel, 2, "Vercel's result becomes known, or Vercel is called again"),
        (CommitNobody, Vercel, 2, ENDS_WELL),
        (CommitFence, Vercel, 2, "a worker without its lease changes nothing"),
        (CommitNoToken, Meanwhile, 2, "the table deletes alone only without a token"),
        (CommitAsSeen, Meanwhile, 2, "no second effect"),
        (NotMarked, Vercel, 2, "no lost deletion"),
        (MarkedFirst, Vercel, 2, "the table keeps it until Vercel has deleted it"),
        (UnreachedInDoubt, Vercel, 2, "the table keeps it until Vercel has deleted it"),
        (DoubtForgotten, Vercel, 2, "no lost deletion"),
        (FenceAgain, Vercel, 2, "one lease at a time"),
        (OutcomeApart, Vercel, 2, "no effect without its outcome"),
        (CommittedFirst, Vercel, 2, "the table deletes alone only without a token"),
        (MoveFence, Moves, 2, "a worker without its lease changes nothing"),
        (MoveAsSeen, Moves, 2, "Vercel's result becomes known, or Vercel is called again"),
        (BelievedAtOnce, Moves, 2, "the table keeps it until Vercel has deleted it"),
        (NamedDoubtIgnored, Moves, 2, "no lost deletion"),
    ] {
        let report = saga::Sagas::new(scope, processes, Some(flaw)).check(For(property));
        is_caught(&format!("{flaw:?}"), property, &report);
    }
    // The first two flaws show only after many steps, so the search goes deep first. The order of the actions
    // decides which property such a search violates first. The third flaw shows only if two requests have one
    // key.
    for (flaw, property) in [(BeginNotGone, ENDS_WELL), (CommitNotGone, "no second effect")] {
        let report = saga::Sagas::new(Meanwhile, 2, Some(flaw)).check(Deep);
        is_caught(&format!("{flaw:?}"), property, &report);
    }
    let recorded_twice = saga::Sagas::new(Vercel, 3, Some(RecordOutcomeAbsent)).under_one_key();
    let report = recorded_twice.check(Nearest);
    is_caught("RecordOutcomeAbsent", "a replay gets the first answer", &report);
}

/// Each of these five conditions can be dropped, because something else guards the same property. The commit
/// notices everything that has changed since the intent was written. If another worker has taken the lease
/// since then, the lease has another fence. Once a doubt is stored, it stays stored. If an intent is
/// overwritten, it has another fence, too. Only one commit succeeds, and no outcome is recorded before this
/// commit.
#[test]
#[ignore = "2 min"]
fn some_conditions_of_a_configurations_deletion_guard_twice() {
    use saga::Flaw::{
        AgainAbsent, BeginAsSeen, BeginNotLeased, CommitOutcomeAbsent, WithdrawAsSeen,
    };
    use saga::Scope::{Meanwhile, Vercel};
    for (flaw, scope, processes) in [
        (BeginAsSeen, Meanwhile, 2),
        (BeginNotLeased, Meanwhile, 2),
        (WithdrawAsSeen, Meanwhile, 2),
        (AgainAbsent, Meanwhile, 2),
        (CommitOutcomeAbsent, Vercel, 3),
    ] {
        let report = saga::Sagas::new(scope, processes, Some(flaw)).check(Nearest);
        holds(&format!("without {flaw:?}"), &report);
    }
}

/// J4, F5: if two attempts at a Provision under one key run at the same time as an uninstall, a deletion and
/// the sweep, no resource that the backend made is lost.
#[test]
fn two_attempts_at_a_provision_lose_nothing() {
    for scope in provision::Scope::ALL {
        let report = provision::Provisions::new(scope, 2, 1, None).check(All);
        holds(&format!("two attempts at a Provision, {scope:?}"), &report);
    }
}

/// J4, F5: if two attempts at a Provision run with two workers, or three attempts with one worker, no
/// resource that the backend made is lost. One of two workers may be late.
#[test]
#[ignore = "2 min"]
fn three_attempts_at_a_provision_lose_nothing() {
    for (attempts, workers) in [(2, 2), (3, 1)] {
        for scope in provision::Scope::ALL {
            let report = provision::Provisions::new(scope, attempts, workers, None).check(All);
            holds(&format!("{attempts} attempts, {workers} workers, {scope:?}"), &report);
        }
    }
}

#[test]
fn each_condition_of_a_provision_is_needed() {
    use provision::Flaw::*;
    use provision::Scope::{Deletion, Uninstall, WithoutKeys};
    const LOST: &str = "no resource that was made is lost";
    const COUNT: &str = "the count is the number of resources";
    const REGISTERED: &str = "nothing is registered in a deleted installation";
    const ANEW: &str = "a pending announcement is not written again";
    for (flaw, scope, property) in [
        (BeginActive, Uninstall, "nothing is begun in a deleted installation"),
        (BeginAbsent, Uninstall, "a deleted installation stays deleted"),
        (BeginFence, Uninstall, "a sweep ends no intent of a later attempt"),
        (BeginDue, Uninstall, LOST),
        (FenceAgain, Uninstall, "a sweep ends no intent of a later attempt"),
        (IntentAfter, Uninstall, LOST),
        (NotTooLate, Uninstall, LOST),
        (AskAgain, WithoutKeys, LOST),
        (RegisterApart, Uninstall, LOST),
        (EndSole, Uninstall, LOST),
        (EndSole, Uninstall, "a refusal ends no other call's intent"),
        (EndMine, Uninstall, LOST),
        (RegisterActive, Uninstall, REGISTERED),
        (RegisterAbsent, Uninstall, COUNT),
        (RegisterReceipt, Deletion, "a deleted resource is not registered again"),
        (UpdateActive, Uninstall, REGISTERED),
        (UpdateThere, Deletion, COUNT),
        (AnnounceReceipt, Deletion, "a kept resource is never announced"),
        (AnnounceWhereNone, Uninstall, ANEW),
        (AnnounceDeletes, Uninstall, ANEW),
        (ClaimDue, Uninstall, LOST),
        (CompleteFence, Uninstall, "a sweep ends no intent of a later attempt"),
        (RetryFence, Uninstall, "a worker without its lease changes nothing"),
        (SweepActive, Uninstall, REGISTERED),
        (SweepAbsent, Uninstall, COUNT),
        (SweepReceipt, Deletion, "a deleted resource is not registered again"),
        (SweepAnnounceReceipt, Deletion, "a kept resource is never announced"),
    ] {
        let report = provision::Provisions::new(scope, 2, 1, Some(flaw)).check(For(property));
        is_caught(&format!("{flaw:?}"), property, &report);
    }
}

/// Each of these three conditions can be dropped, because something else guards the same property. Once an
/// installation is deleted, it stays deleted. If an announcement is pending, there is also a receipt or a
/// deleted installation. The sweep ends an intent that has no attempts.
#[test]
#[ignore = "5 s"]
fn some_conditions_of_a_provision_guard_twice() {
    use provision::Flaw::{AnnounceDeleted, EndShared, RegisterAnnouncement};
    for flaw in [AnnounceDeleted, EndShared, RegisterAnnouncement] {
        for scope in provision::Scope::ALL {
            let report = provision::Provisions::new(scope, 2, 1, Some(flaw)).check(All);
            holds(&format!("without {flaw:?}, {scope:?}"), &report);
        }
    }
}
