//! The hosts that a function can run on, which are Vercel, AWS Lambda and a plain port. Only the module
//! `host` depends on the runtimes of the hosts.

mod lambda;

use std::process::ExitCode;
use std::sync::Arc;

use http::HeaderName;

use crate::app::App;
use crate::auth::jwks::AfterAnswer;
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError, from_env, whole};
use crate::credentials::WebIdentity;
use crate::http::Endpoint;
use crate::telemetry;

/// An error that ends the process of a function.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// Vercel's platform. teardown can trust the headers that the platform adds.
    Vercel,
    /// A plain port of this machine, with `vercel dev` or without any host. Without Vercel's platform,
    /// Vercel's runtime is a plain HTTP server on `127.0.0.1:$VERCEL_DEV_PORT`, by default on port 3000.
    Port,
    /// AWS Lambda, or an emulator of Lambda.
    Lambda,
}

impl Host {
    /// What the host does with the process after an answer. Vercel keeps the process running until the work
    /// given to `wait_until` is done. Lambda may freeze the process. On a plain port, nobody guarantees that
    /// the process keeps running.
    fn after_answer(self) -> AfterAnswer {
        match self {
            Self::Vercel => AfterAnswer::GoesOn,
            Self::Port | Self::Lambda => AfterAnswer::MayFreeze,
        }
    }

    fn detect(is_set: impl Fn(&str) -> bool) -> Self {
        if is_set("VERCEL_IPC_PATH") {
            Self::Vercel
        } else if !is_set("VERCEL_DEV_PORT") && is_set("AWS_LAMBDA_RUNTIME_API") {
            Self::Lambda
        } else {
            Self::Port
        }
    }
}

/// Serves an endpoint on the host that this process runs on, until the host ends the process. If the function
/// cannot start, one line on standard error says why.
#[must_use]
pub fn serve(endpoint: Endpoint) -> ExitCode {
    match run(endpoint) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("teardown: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(endpoint: Endpoint) -> Result<(), Failure> {
    telemetry::init_json(config::log_filter_of_functions()?);
    let config = Config::from_env()?;
    match endpoint {
        Endpoint::Sweep => drop(config.require_cron_secret()?),
        Endpoint::Webhook => drop(config.require_client_secret()?),
        _ => {}
    }
    if endpoint == Endpoint::Front {
        config.require_backend_url()?;
    }
    // One thread is enough, because a function has at most one core, and a request needs only 0.1 ms of CPU
    // time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Host::detect(|name| std::env::var_os(name).is_some());
        // teardown trusts the header with the OIDC token only on Vercel, because on other hosts a caller can
        // forge the header.
        let identity = config.role.clone().filter(|_| host == Host::Vercel).map(WebIdentity::new);
        let clock = Clock::system();
        let app = App::new(&config, identity.clone(), clock, host.after_answer()).await?;
        // The host's runtime clones the handler and its app for each request, and an `Arc` makes these clones
        // cheap.
        let app = Arc::new(app);
        match host {
            Host::Vercel | Host::Port => vercel(app, identity, endpoint).await,
            Host::Lambda => lambda::serve(app, endpoint).await,
        }
    })
}

/// The port that Vercel's runtime listens on. The variable `VERCEL_DEV_PORT` contains the port.
///
/// # Errors
///
/// [`ConfigError`] if `VERCEL_DEV_PORT` is not a port, because Vercel's runtime would then listen on port
/// 3000.
fn dev_port() -> Result<u16, ConfigError> {
    const NAME: &str = "VERCEL_DEV_PORT";
    match whole(NAME, from_env(NAME))?.map(|text| text.parse()) {
        None => Ok(3000),
        Some(Ok(port)) if port > 0 => Ok(port),
        Some(_) => Err(ConfigError::new(NAME, "is not a port, 1 to 65535")),
    }
}

/// The header with the deployment's OIDC token, from Vercel's platform.
const OIDC_TOKEN: HeaderName = HeaderName::from_static("x-vercel-oidc-token");

async fn vercel(
    app: Arc<App>,
    identity: Option<WebIdentity>,
    endpoint: Endpoint,
) -> Result<(), Failure> {
    let handler = move |mut request: vercel_runtime::Request, state: vercel_runtime::AppState| {
        if let Some(identity) = &identity {
            // If a caller sent an OIDC token too, the last of the two headers is from Vercel's platform.
            let token = request.headers().get_all(OIDC_TOKEN).iter().next_back();
            if let Some(token) = token.and_then(|token| token.to_str().ok()) {
                identity.keep_token(token);
            }
        }
        request.headers_mut().remove(OIDC_TOKEN);
        let app = app.clone();
        async move {
            let (response, follow_up) = app.handle_and_follow_up(endpoint, request).await;
            if let Some(follow_up) = follow_up {
                state.wait_until(follow_up.run());
            }
            Ok::<_, vercel_runtime::Error>(response.map(vercel_runtime::ResponseBody::from))
        }
    };
    let port = dev_port()?;
    let ended = vercel_runtime::run(vercel_runtime::service_fn(handler)).await;
    ended.map_err(|error| format!("127.0.0.1:{port}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vercel_is_asked_first() {
        for (set, host) in [
            (&[][..], Host::Port),
            (&["VERCEL_DEV_PORT"], Host::Port),
            (&["VERCEL_DEV_PORT", "AWS_LAMBDA_RUNTIME_API"], Host::Port),
            (&["VERCEL_DEV_PORT", "VERCEL_IPC_PATH"], Host::Vercel),
            (&["AWS_LAMBDA_RUNTIME_API"], Host::Lambda),
            (&["AWS_LAMBDA_RUNTIME_API", "VERCEL_IPC_PATH"], Host::Vercel),
        ] {
            assert_eq!(Host::detect(|name| set.contains(&name)), host, "{set:?}");
        }
    }
}
