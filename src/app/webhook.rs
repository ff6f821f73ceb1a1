//! The steps of a webhook: teardown verifies its signature, reads its event, and acts on the event (K).

use bytes::Bytes;
use http::HeaderMap;

use super::line::RequestLog;
use super::{App, Handled};
use crate::error::Error;
use crate::http::{Reply, read_body};
use crate::webhook::{Event, MAX_BODY, Signature, Webhook};

impl App {
    /// Receives a webhook from Vercel. teardown uses nothing in a webhook's body before it has verified the
    /// signature.
    pub(super) async fn receive<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        line: &mut RequestLog,
    ) -> Result<Handled, Error>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let signature = Signature::of(headers)?;
        let body = read_body(body, MAX_BODY, self.limits.body).await?;
        signature.verify(&body, self.client_secret.as_ref())?;
        let webhook = Webhook::parse(&body)?;
        line.webhook(webhook.kind());
        let event = webhook.event()?;
        line.installation(event.installation());
        let jobs = match event {
            Event::Transferred(transfer) => {
                self.store.transfer(&transfer).await?;
                None
            }
            Event::Removed(removal) => {
                let done = self.store.uninstall(&removal, self.clock.timestamp()).await?;
                self.jobs(removal.installation, done.due)
            }
            Event::Other => None,
        };
        Ok(Handled { reply: Reply::Received, jobs })
    }
}
