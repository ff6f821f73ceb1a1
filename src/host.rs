//! The hosts: Vercel, AWS Lambda, or a plain port. Nothing else knows their runtimes.

mod lambda;

use std::process::ExitCode;
use std::sync::Arc;

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::Endpoint;
use crate::telemetry;

/// What can end a function.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// Vercel, `vercel dev`, or nowhere: Vercel's runtime is a plain HTTP server on
    /// `127.0.0.1:$VERCEL_DEV_PORT` (3000).
    Vercel,
    /// AWS Lambda, or what emulates it.
    Lambda,
}

impl Host {
    fn detect(is_set: impl Fn(&str) -> bool) -> Self {
        let vercel = is_set("VERCEL_IPC_PATH") || is_set("VERCEL_DEV_PORT");
        if !vercel && is_set("AWS_LAMBDA_RUNTIME_API") { Self::Lambda } else { Self::Vercel }
    }
}

/// Serves an endpoint on the host that this process runs on, until the host ends it. A start that
/// fails says why in one line on standard error.
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
    telemetry::init_json()?;
    let config = Config::from_env()?;
    if endpoint == Endpoint::Sweep {
        config.require_cron_secret()?;
    }
    // One thread: a function has one core or a share of one, and a request computes for 0.1 ms.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The hosts' runtimes clone it more than once per request.
        let app = Arc::new(App::new(&config, Clock::system()).await?);
        match Host::detect(|name| std::env::var_os(name).is_some()) {
            Host::Vercel => vercel(app, endpoint).await,
            Host::Lambda => lambda::serve(app, endpoint).await,
        }
    })
}

async fn vercel(app: Arc<App>, endpoint: Endpoint) -> Result<(), Failure> {
    let handler = move |request: vercel_runtime::Request, state: vercel_runtime::AppState| {
        let app = app.clone();
        async move {
            let (response, follow_up) = app.handle_and_follow_up(endpoint, request).await;
            if let Some(follow_up) = follow_up {
                state.wait_until(follow_up.run());
            }
            Ok::<_, vercel_runtime::Error>(response.map(vercel_runtime::ResponseBody::from))
        }
    };
    vercel_runtime::run(vercel_runtime::service_fn(handler)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vercel_is_asked_first() {
        for (set, host) in [
            (&[][..], Host::Vercel),
            (&["VERCEL_DEV_PORT"], Host::Vercel),
            (&["AWS_LAMBDA_RUNTIME_API"], Host::Lambda),
            (&["AWS_LAMBDA_RUNTIME_API", "VERCEL_IPC_PATH"], Host::Vercel),
        ] {
            assert_eq!(Host::detect(|name| set.contains(&name)), host, "{set:?}");
        }
    }
}
