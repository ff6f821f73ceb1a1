//! A stand-in for AWS STS.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};

use crate::support::wire::listen;

/// How the stand-in for STS answers.
#[derive(Clone, Copy)]
pub enum Answer {
    /// STS gives a session that lasts this long.
    Session(Duration),
    /// STS refuses the token.
    Refused,
    /// STS refuses the token, with a message that repeats the token.
    Echo,
    /// STS answers that it cannot fetch Vercel's keys now.
    IssuerOutOfReach,
    /// STS gives a session whose end time is malformed.
    Malformed,
    /// STS answers 503, as in an outage of its own.
    Broken,
    /// The connection breaks without an answer.
    Reset,
    /// STS never answers the request.
    Silence,
}

pub const HOUR: Answer = Answer::Session(Duration::from_hours(1));

/// The fields of a form that a client sent.
pub type Form = Vec<(String, String)>;

/// A stand-in for STS. The credentials of each session contain the number of the request for the session.
#[derive(Clone)]
pub struct Sts {
    answer: Arc<Mutex<Answer>>,
    /// The forms of all requests, each with its fields sorted by name.
    pub received: Arc<Mutex<Vec<Form>>>,
}

impl Sts {
    pub async fn start(answer: Answer) -> (Self, String) {
        let sts = Self { answer: Arc::new(Mutex::new(answer)), received: Arc::default() };
        let handler = sts.clone();
        let (url, _) = listen(move |request| handler.clone().answer(request)).await;
        (sts, url)
    }

    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        assert!(!request.headers().contains_key("authorization"), "it is not signed");
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let mut form: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
        form.sort();
        let token = token(&form).to_owned();
        let number = {
            let mut received = self.received.lock().unwrap();
            received.push(form);
            received.len()
        };
        let answer = *self.answer.lock().unwrap();
        let (status, text) = match answer {
            Answer::Session(length) => (200, session(number, length)),
            Answer::Refused => {
                (400, error("InvalidIdentityToken", "not authorized: Vercel's words"))
            }
            Answer::Echo => (400, error("InvalidIdentityToken", &token)),
            Answer::IssuerOutOfReach => (400, error("IDPCommunicationError", "no keys")),
            Answer::Malformed => {
                let text = session(number, Duration::ZERO);
                (200, text.replace("<Expiration>", "<Expiration>in a while: "))
            }
            Answer::Broken => (503, error("ServiceUnavailable", "in a moment")),
            Answer::Silence => std::future::pending().await,
            Answer::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let response = Response::builder().status(status).header("content-type", "text/xml");
        Ok(response.body(Full::from(text)).unwrap())
    }

    pub fn now(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The tokens that STS has received.
    pub fn tokens(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received.iter().map(|form| token(form).to_owned()).collect()
    }
}

fn token(form: &Form) -> &str {
    &form.iter().find(|(name, _)| name == "WebIdentityToken").unwrap().1
}

fn session(number: usize, length: Duration) -> String {
    let end = humantime::format_rfc3339_seconds(SystemTime::now() + length);
    format!(
        r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <AssumeRoleWithWebIdentityResult><Credentials>
        <AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>s3cret-{number}</SecretAccessKey>
        <SessionToken>sess1on-{number}</SessionToken><Expiration>{end}</Expiration>
        </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"#
    )
}

fn error(code: &str, message: &str) -> String {
    format!(
        r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
        <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>
        </Error><RequestId>1</RequestId></ErrorResponse>"#
    )
}
