//! The ways to break the model of a Provision.

/// A way to break the model: a condition is dropped, or a write is done separately or too late. Each flaw's
/// comment says what the broken code does. Tests check which property fails with each flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Flaw: an attempt writes its intent without checking that the installation is active.
    BeginActive,
    /// Flaw: an attempt registers the installation with its intent, without checking whether there is an
    /// installation.
    BeginAbsent,
    /// Flaw: an attempt that joins an intent does not raise the intent's fence.
    BeginFence,
    /// Flaw: an attempt that joins an intent that is due does not postpone the intent by 15 minutes.
    BeginDue,
    /// Flaw: a new intent may have the fence of an earlier intent.
    FenceAgain,
    /// Flaw: an attempt writes its intent after it called the backend.
    IntentAfter,
    /// Flaw: an attempt that was delayed for 15 minutes still calls the backend.
    NotTooLate,
    /// Flaw: an attempt may call the backend more than once.
    AskAgain,
    /// Flaw: an attempt records its end first, and registers its resource in a later write.
    RegisterApart,
    /// Flaw: an attempt deletes the intent without checking whether the intent has other attempts.
    EndSole,
    /// Flaw: an attempt deletes the intent without checking that the intent has this attempt.
    EndMine,
    /// Flaw: an attempt removes itself from the intent without checking that the intent has other attempts.
    EndShared,
    /// Flaw: an attempt registers a resource without checking that the installation is active (or absent, if
    /// the attempt believes that).
    RegisterActive,
    /// Flaw: an attempt registers a resource without checking that the resource's item is absent.
    RegisterAbsent,
    /// Flaw: an attempt registers a resource without checking whether the resource has a receipt.
    RegisterReceipt,
    /// Flaw: an attempt registers a resource without checking whether the resource's announcement is pending.
    RegisterAnnouncement,
    /// Flaw: an attempt updates a resource without checking that the installation is active.
    UpdateActive,
    /// Flaw: an attempt updates a resource without checking that the resource's item exists.
    UpdateThere,
    /// Flaw: an attempt announces a resource without checking that the installation is deleted.
    AnnounceDeleted,
    /// Flaw: an attempt announces a resource without checking whether the resource has a receipt.
    AnnounceReceipt,
    /// Flaw: an attempt replaces a pending announcement of its resource.
    AnnounceWhereNone,
    /// Flaw: an attempt announces a resource, and does not delete the resource's item.
    AnnounceDeletes,
    /// Flaw: a worker claims the intent without checking that the intent is due.
    ClaimDue,
    /// Flaw: a worker ends the intent without checking the intent's fence.
    CompleteFence,
    /// Flaw: a worker schedules a retry or parks the intent without checking the intent's fence.
    RetryFence,
    /// Flaw: a worker registers a resource without checking that the installation is active.
    SweepActive,
    /// Flaw: a worker registers a resource without checking that the resource's item is absent.
    SweepAbsent,
    /// Flaw: a worker registers a resource without checking whether the resource has a receipt or a pending
    /// announcement.
    SweepReceipt,
    /// Flaw: a worker announces a resource without checking whether the resource has a receipt.
    SweepAnnounceReceipt,
}
