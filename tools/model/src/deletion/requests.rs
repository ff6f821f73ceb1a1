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
    /// The deletion of the installation. Without `cascade`, the deletion is refused while resources are live.
    Uninstall { cascade: bool },
    /// The registration of a resource.
    Register(usize),
}

/// The kind of a request's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A token that names the installation.
    Named,
    /// A token that names only the installation's account.
    Account,
    /// A token that names only another account.
    Another,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What the request does.
    pub kind: Kind,
    /// Whether the request has an idempotency key. All requests with a key have the same key.
    pub keyed: bool,
    /// The request's token.
    pub by: By,
    /// The setting `UNINSTALL_WITH_OPEN_INVOICES` of the deployment that answers.
    pub open_invoices: OpenInvoices,
}

/// A request, and `teardown`'s own `Deletion` for it. A registration has no `Deletion`.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) request: Request,
    pub(super) deletion: Option<Deletion>,
    /// The index of the request's operation in `State::outcomes`: a key belongs to one operation.
    pub(super) operation: usize,
}

/// The installation's account, and another account.
pub(super) const ACCOUNTS: [&str; 2] = ["acc_1", "acc_2"];

/// Every request that a client may have in a model with `clients` clients. With three clients, every token
/// names the installation.
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

    /// The request's resource. `None` if the request is an uninstall.
    pub(super) fn resource(&self) -> Option<usize> {
        match self.request.kind {
            Kind::DeleteResource(resource) | Kind::Register(resource) => Some(resource),
            Kind::Uninstall { .. } => None,
        }
    }
}
