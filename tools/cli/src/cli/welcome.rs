//! The welcome of `teardown dev`: its address, and commands to paste.

use std::net::SocketAddr;
use std::path::Path;

use teardown::config::Config;

use super::samples::{ACCOUNT, Sample, Samples, TEAM};
use super::{settings, typed};
use crate::terminal::HEADING;

/// The text of the welcome, which fits on a screen. The welcome's `curl` commands work as printed, in their
/// order. Each command makes its own token when it runs.
pub(super) fn text(
    address: SocketAddr,
    data: Option<&Path>,
    config: &Config,
    samples: &Samples,
) -> String {
    let url = format!("http://{address}");
    let Samples { settled, open } = samples;
    let deleted = settled.ready.first().map_or("", String::as_str);
    let kept = match data {
        Some(file) => format!("kept in {}", file.display()),
        None => "in memory; --data FILE keeps it".to_owned(),
    };
    let port =
        if address.port() == 3000 { String::new() } else { format!(" --port {}", address.port()) };
    format!(
        "{HEADING}teardown is listening on {url}{HEADING:#}   Open it in a browser: install, provision, delete, live.

Samples of account {ACCOUNT} ({kept}):
  {settled_line}
  {open_line}

To be pasted here, in another terminal:

{HEADING}Delete a resource{HEADING:#} (204; sent again, it gets the first answer)
curl -i -X DELETE '{url}/v1/installations/{settled_id}/resources/{deleted}' \\
  -H {settled_token} -H 'Idempotency-Key: key-1'
{HEADING}Uninstall{HEADING:#} (200; not final, since invoices are open)
curl -i -X DELETE '{url}/v1/installations/{open_id}' \\
  -H {open_token} -d '{{\"reason\":\"trying it out\"}}'
{HEADING}Delete a configuration{HEADING:#} (204; at Vercel too, for which there is a stand-in)
curl -i -X DELETE '{url}/v1/integrations/configuration/{settled_id}?teamId={TEAM}' \\
  -H {settled_token}
{HEADING}Sweep{HEADING:#} (200; it also happens by itself every 2 seconds)
curl -i '{url}/api/sweep' -H {sweep}

Stop the teardown, due {grace} after the uninstall: {hold} {open_id} --reason mistake
What is stored: {show} {settled_id}   Other commands: {help}
The DynamoDB is AWS_ENDPOINT_URL_DYNAMODB={url}, table {table}.
{others}What the stand-ins for Vercel and the provider are sent is shown below. Ctrl-C ends it.
",
        settled_line = describe(settled, "settled"),
        open_line = describe(open, "open"),
        settled_id = settled.id,
        open_id = open.id,
        settled_token = token(settled, &port),
        open_token = token(open, &port),
        sweep = settings::sweep_header(config),
        show = typed("show") + &port,
        hold = typed("hold") + &port,
        grace = humantime::format_duration(config.grace_period),
        help = typed("--help"),
        table = config.table_name,
        others = others(address.port(), config),
    )
}

/// Lines that name the backend and the provider's endpoint, if these are not the tool's own.
fn others(port: u16, config: &Config) -> String {
    let backend = config.backend_url.as_ref().map(ToString::to_string);
    let backend = backend.filter(|url| *url != settings::sample_backend(port));
    let provider = config.provider.as_ref().map(|provider| provider.url.to_string());
    let provider = provider.filter(|url| *url != settings::stand_in_provider(port));
    let backend = backend
        .map(|url| format!("Vercel's other calls are passed on to your backend at {url}.\n"));
    let provider = provider.map(|url| format!("Your endpoint {url} gets the announcements.\n"));
    backend.into_iter().chain(provider).collect()
}

/// The header with the token of an `ADMIN` of the sample. The shell makes the token with `teardown token`.
/// The terminal that runs the command may not have this process's variables for tokens, so the command sets
/// them.
fn token(sample: &Sample, port: &str) -> String {
    let variables = ["INTEGRATION_ID", "OIDC_ISSUER"].into_iter();
    let variables =
        variables.filter_map(|name| Some(format!("{name}='{}' ", settings::variable(name)?)));
    let command = format!("{}{port} --installation {}", typed("token"), sample.id);
    format!("\"Authorization: Bearer $({}{command})\"", variables.collect::<String>())
}

fn describe(sample: &Sample, invoices: &str) -> String {
    let Sample { id, ready, provisioning } = sample;
    let ready = ready.join(", ");
    format!("{id:<15}  invoices {invoices:<7}  {ready} ready, {provisioning} provisioning")
}
