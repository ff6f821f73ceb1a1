//! What `cargo dev` says when it is up: where it listens, and lines to paste.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use teardown::config::Config;

use super::HEADING;
use super::samples::{ACCOUNT, Sample, Samples, TEAM};
use super::settings;
use crate::issuer::{Issuer, Subject, Token};

/// How long the tokens of the printed lines are good: a day's work.
const EXPIRY: Duration = Duration::from_hours(12);

/// The text. Every `curl` line in it works as it stands, in the order in which they stand.
pub(super) fn text(
    address: SocketAddr,
    data: Option<&Path>,
    config: &Config,
    issuer: &Issuer,
    samples: &Samples,
) -> String {
    let url = format!("http://{address}");
    let token = |sample: &Sample| {
        let token = Token {
            issuer: config.oidc_issuer.clone(),
            audience: config.integration_id.clone(),
            account: ACCOUNT.to_owned(),
            installation: Some(sample.id.clone()),
            subject: Subject::User { role: "ADMIN".to_owned() },
            expires: EXPIRY,
        };
        issuer.sign(&token.claims())
    };
    let Samples { settled, open } = samples;
    let deleted = settled.ready.first().map_or("", String::as_str);
    let delete = format!(
        "curl -i -X DELETE '{url}/v1/installations/{id}/resources/{deleted}' \
         -H 'Authorization: Bearer {token}' -H 'Idempotency-Key: delete-{deleted}'",
        id = settled.id,
        token = token(settled),
    );
    let uninstall = format!(
        "curl -i -X DELETE '{url}/v1/installations/{id}' -H 'Authorization: Bearer {token}' \
         -H 'Content-Type: application/json' \
         -d '{{\"cascadeResourceDeletion\":true,\"reason\":\"trying it out\"}}'",
        id = open.id,
        token = token(open),
    );
    let configuration = format!(
        "curl -i -X DELETE '{url}/v1/integrations/configuration/{id}?teamId={TEAM}' \
         -H 'Authorization: Bearer {token}'",
        id = settled.id,
        token = token(settled),
    );
    let sweep = format!("curl -i '{url}/api/sweep' -H {}", settings::sweep_header(config));
    let kept = match data {
        Some(file) => format!("kept in {}", file.display()),
        None => "in memory; --data FILE keeps it".to_owned(),
    };
    let other_port =
        if address.port() == 3000 { String::new() } else { format!(" --port {}", address.port()) };
    format!(
        "{HEADING}teardown is listening on {url}{HEADING:#}

Samples of account {ACCOUNT} ({kept}):
  {settled_line}
  {open_line}

{HEADING}Delete a resource{HEADING:#} (204; the tokens are good for 12 hours):
{delete}

{HEADING}Repeat it{HEADING:#} (the same key: the first answer, and nothing happens twice):
{delete}

{HEADING}Uninstall{HEADING:#} (200; not final, since invoices are open):
{uninstall}

{HEADING}Delete a configuration{HEADING:#} (204; at Vercel too, for which there is a stand-in):
{configuration}

{HEADING}Sweep{HEADING:#} (200; it also happens by itself every few seconds):
{sweep}

Settle invoices:  cargo dev settle{other_port} {open_id}
Another token:    cargo dev token --installation {id} --role USER
What is stored:   cargo dev show{other_port} {id}
What is parked:   cargo dev parked{other_port}
The DynamoDB:     AWS_ENDPOINT_URL_DYNAMODB={url} (table {table})
What the stand-ins for Vercel and the provider are sent is shown below. Ctrl-C ends it.
",
        settled_line = describe(settled, "settled"),
        open_line = describe(open, "open"),
        id = settled.id,
        open_id = open.id,
        table = config.table_name,
    )
}

fn describe(sample: &Sample, invoices: &str) -> String {
    let Sample { id, ready, provisioning } = sample;
    let ready = ready.join(", ");
    format!("{id:<15}  invoices {invoices:<7}  {ready} ready, {provisioning} provisioning")
}
