//! The ways to break the model of Delete Configuration.

/// A way to break the model: a condition is dropped, or a write is missing or at the wrong time. Each flaw's
/// comment says what the broken code does. Tests check which property fails with each flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Flaw: a request begins its intent without checking that the installation has not changed since it was
    /// read.
    BeginAsSeen,
    /// Flaw: a request begins its intent without checking whether the installation became in doubt after it
    /// was read.
    BeginDoubtAsSeen,
    /// Flaw: a request begins its intent without checking whether the configuration is deleted already.
    BeginNotGone,
    /// Flaw: a request begins its intent without checking that an active installation's invoices are settled.
    BeginSettled,
    /// Flaw: a request that read no intent begins an intent without checking whether an intent was written
    /// after the read.
    BeginAbsent,
    /// Flaw: a request takes an intent over without checking that the intent's fence has not changed since it
    /// was read.
    BeginFence,
    /// Flaw: a request takes an intent over without checking whether another worker leases the intent.
    BeginNotLeased,
    /// Flaw: a request takes an intent over without checking that the intent's doubt has not changed since it
    /// was read.
    TakeOverDoubtAsSeen,
    /// Flaw: a sweep resumes an intent without checking the intent's fence.
    ResumeFence,
    /// Flaw: a worker marks an intent in doubt without checking the intent's fence.
    MarkFence,
    /// Flaw: a worker withdraws an intent without checking the intent's fence.
    WithdrawFence,
    /// Flaw: a worker withdraws an intent in doubt without checking that the installation has not changed
    /// since it was read.
    WithdrawAsSeen,
    /// Flaw: a worker schedules a retry without checking the intent's fence.
    RetryFence,
    /// Flaw: a late worker in doubt does not take the fence from the worker that holds the intent.
    AgainHeld,
    /// Flaw: a late worker in doubt writes a new intent without checking whether there is an intent.
    AgainAbsent,
    /// Flaw: a late worker in doubt writes a new intent without checking whether the configuration is deleted
    /// already.
    AgainNotGone,
    /// Flaw: a commit does not check whether an outcome is recorded under its key.
    CommitOutcomeAbsent,
    /// Flaw: a commit by a process that read no intent does not check whether an intent was written after the
    /// read.
    CommitNobody,
    /// Flaw: a commit does not check that the intent's fence has not changed since it was read.
    CommitFence,
    /// Flaw: a commit by a process that read no token does not check whether a token was stored after the
    /// read.
    CommitNoToken,
    /// Flaw: a commit does not check that the installation has not changed since it was read.
    CommitAsSeen,
    /// Flaw: a commit does not check whether the configuration is deleted already.
    CommitNotGone,
    /// Flaw: a request that only records an outcome does so without checking whether an outcome is recorded
    /// under its key.
    RecordOutcomeAbsent,
    /// Flaw: a worker calls Vercel without marking the intent in doubt before the call.
    NotMarked,
    /// Flaw: a worker marks the intent in doubt before it is connected to Vercel, and may die before it is
    /// connected.
    MarkedFirst,
    /// Flaw: an attempt that was not sent counts as an attempt in doubt.
    UnreachedInDoubt,
    /// Flaw: a withdrawal in doubt does not store the doubt with the installation.
    DoubtForgotten,
    /// Flaw: a late worker in doubt does not schedule another call to Vercel.
    NotScheduledAgain,
    /// Flaw: a new intent may have the fence of an earlier intent.
    FenceAgain,
    /// Flaw: the outcome is recorded in a second write, after the commit.
    OutcomeApart,
    /// Flaw: the deletion is committed in the table before Vercel is called.
    CommittedFirst,
    /// Flaw: a worker stores a new team without checking the intent's fence.
    MoveFence,
    /// Flaw: a worker stores a new team without checking that the stored team has not changed since it was
    /// read, and that the configuration exists.
    MoveAsSeen,
    /// Flaw: after a 404, a worker believes that the configuration is gone, and does not look it up at
    /// Vercel.
    BelievedAtOnce,
    /// Flaw: a 404 in the team that Vercel named counts as a refusal, although the deletion may have taken
    /// effect in the same call.
    NamedDoubtIgnored,
}
