//! The clients' requests.

use std::sync::LazyLock;

use teardown::clock::Timestamp;
use teardown::deletion::{Cascade, Deletion, OpenInvoices, Target};
use teardown::grant::{Actor, Grant, Scope};
use teardown::ids::{IdempotencyKey, InstallationId, ResourceId};

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The deletion of a resource.
    DeleteResource(usize),
    /// The deletion of the installation, with its live resources or only without.
    Uninstall { cascade: bool },
    /// The registration of a resource.
    Register(usize),
}

/// With which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// One that names the installation.
    Named,
    /// One that names the installation's account.
    Account,
    /// One that names another account.
    Another,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What.
    pub kind: Kind,
    /// Whether under the one idempotency key.
    pub keyed: bool,
    /// By whom.
    pub by: By,
    /// What the deployment that answers does while invoices are open.
    pub open_invoices: OpenInvoices,
}

/// A request, and what the program makes of it; nothing, where it is a registration.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) request: Request,
    pub(super) deletion: Option<Deletion>,
    /// Which outcomes its key finds: those of its operation.
    pub(super) operation: usize,
}

/// The account of the installation, and another.
pub(super) const ACCOUNTS: [&str; 2] = ["acc_1", "acc_2"];

/// Every request that one of so many clients may have. With three of them it is by tokens that name
/// the installation alone.
pub(super) fn requests(clients: usize) -> &'static [Planned] {
    static FEW: LazyLock<Vec<Planned>> = LazyLock::new(|| all().collect());
    static MANY: LazyLock<Vec<Planned>> =
        LazyLock::new(|| all().filter(|planned| planned.request.by == By::Named).collect());
    if clients < 3 { &FEW } else { &MANY }
}

fn all() -> impl Iterator<Item = Planned> {
    let delete = Kind::DeleteResource;
    let [any, unless_live] = [true, false].map(|cascade| Kind::Uninstall { cascade });
    [
        (delete(0), false, By::Named),
        (delete(0), true, By::Named),
        (delete(1), true, By::Named),
        (delete(0), true, By::Account),
        (delete(0), true, By::Another),
        (any, false, By::Named),
        (any, true, By::Named),
        (any, true, By::Account),
        (unless_live, true, By::Named),
        (any, false, By::Another),
        (Kind::Register(0), false, By::Named),
        (Kind::Register(1), false, By::Named),
    ]
    .into_iter()
    .map(|(kind, keyed, by)| (kind, keyed, by, OpenInvoices::Accept))
    .chain([(any, true, By::Named, OpenInvoices::Refuse)])
    .map(|(kind, keyed, by, open_invoices)| Planned::of(Request { kind, keyed, by, open_invoices }))
}

impl Planned {
    fn of(request: Request) -> Self {
        let target = match request.kind {
            Kind::DeleteResource(resource) => {
                let id = ResourceId::parse(["db_0", "db_1"][resource]);
                Some(Target::Resource(id.expect("an id")))
            }
            Kind::Uninstall { cascade } => {
                let cascade = if cascade { Cascade::Yes } else { Cascade::No };
                let open_invoices = request.open_invoices;
                Some(Target::Installation { cascade, reason: None, open_invoices })
            }
            Kind::Register(_) => None,
        };
        let (account, scope) = match request.by {
            By::Named => (ACCOUNTS[0], Scope::Installation),
            By::Account => (ACCOUNTS[0], Scope::Account),
            By::Another => (ACCOUNTS[1], Scope::Account),
        };
        let grant = Grant {
            installation: InstallationId::parse("icfg_1").expect("an id"),
            by: Actor::System { account: account.to_owned() },
            scope,
        };
        let key = request.keyed.then(|| IdempotencyKey::parse(b"key").expect("a key"));
        let at = Timestamp::from_secs(1_800_000_000);
        let deletion = target.map(|target| Deletion { grant, target, key, at });
        let operation = usize::from(matches!(request.kind, Kind::Uninstall { .. }));
        Self { request, deletion, operation }
    }

    /// The resource, where it is of one.
    pub(super) fn resource(&self) -> Option<usize> {
        match self.request.kind {
            Kind::DeleteResource(resource) | Kind::Register(resource) => Some(resource),
            Kind::Uninstall { .. } => None,
        }
    }
}
