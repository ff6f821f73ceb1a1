//! Fuzzes Vercel's answer to a configuration's deletion. An input has the status in its first line, then
//! headers up to an empty line, then the body (E2, E3). After a line `GET`, an input may have a second answer
//! in this form, which Vercel gives to the lookup of the configuration. Without a second answer, the lookup
//! gets a 404 (E7).
//!
//! The result depends only on the status of Vercel's answer. teardown passes on the text of Vercel's answer
//! as one short line, or not at all.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::ids::AttachmentId;
use tracing_subscriber::fmt::MakeWriter;

use super::answer::Answer;
use super::cost::{self, ANSWER};
use super::cut;
use super::fixture::{Fixture, claims, sign};

/// The installation's access token.
const SECRET: &str = "S3CRET-of-icfg_1";

/// The longest `lastError` that an item stores, in characters. The message of an answer has the same limit.
const MAX_REASON: usize = 700;

/// Vercel's answer to each `DELETE` after the first. The long `Retry-After` of this answer prevents a third
/// `DELETE`.
const LATER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 86400\r\n\r\n";

/// Checks the rules for one input.
pub fn target(input: &[u8]) {
    answered(input);
}

/// The status of teardown's answer to the caller.
pub fn answered(input: &[u8]) -> u16 {
    TARGET.with(|target| {
        let (delete, lookup) = cut(input, b"\nGET\n");
        let lookup = if lookup.is_empty() { b"404 Not Found" } else { lookup };
        *target.answers.lock().unwrap() = Answers { delete: raw(delete), lookup: raw(lookup) };
        let (status, _) = cut(delete, b"\n");
        let status =
            std::str::from_utf8(status).ok().and_then(|status| status.get(..3)?.parse().ok());
        target.case(input, status)
    })
}

/// Vercel's answer, byte for byte as the stand-in sends it.
fn raw(answer: &[u8]) -> Vec<u8> {
    let (head, body) = cut(answer, b"\n\n");
    let (status, headers) = cut(head, b"\n");
    // The stand-in closes each connection, because a reused connection could break between two requests.
    let status_line = [b"HTTP/1.1 ", status].concat();
    let lines = [&status_line[..]]
        .into_iter()
        .chain(headers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()))
        .chain([&b"connection: close"[..], b"", body]);
    lines.collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// The answers that the stand-in for Vercel gives next.
struct Answers {
    /// The answer to a `DELETE`.
    delete: Vec<u8>,
    /// The answer to a `GET`.
    lookup: Vec<u8>,
}

thread_local! {
    static TARGET: &'static Vercel = Box::leak(Box::new(Vercel::new()));
}

struct Vercel {
    fixture: &'static Fixture,
    answers: Arc<Mutex<Answers>>,
    authorization: String,
}

impl Vercel {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Answers { delete: LATER.to_vec(), lookup: LATER.to_vec() };
        let answers = Arc::new(Mutex::new(answers));
        let next = Arc::clone(&answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // An error here means that the client did not read the answer to its end.
                let _ = serve(stream.unwrap(), &next);
            }
        });
        let lines = [
            json!({ "installation": {
                "id": "icfg_1", "accountId": "acc_1", "accessToken": SECRET, "billing": "settled",
            } }),
            json!({ "resource": { "installationId": "icfg_1", "id": "db_1" } }),
        ];
        let fixture = Fixture::new(&url, &lines);
        let authorization = format!("Bearer {}", sign(&claims(Some("icfg_1"), Some("ADMIN"))));
        let target = Self { fixture, answers, authorization };
        // The endpoints make their clients at the first use. This request makes the clients, so that no
        // measured case includes this cost.
        target.fixture.runtime.block_on(async {
            drop(target.fixture.app.handle(Endpoint::DeleteConfiguration, target.request()).await);
            target.fixture.reset(&target.fixture.items().await).await;
        });
        target
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let request = Request::delete("/v1/integrations/configuration/icfg_1");
        let request = request.header("authorization", &self.authorization);
        request.body(Full::default()).unwrap()
    }

    fn case(&self, input: &[u8], status: Option<u16>) -> u16 {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
        let handle = self.fixture.app.handle(Endpoint::DeleteConfiguration, self.request());
        let response = tracing::subscriber::with_default(subscriber, || {
            cost::bounded(input, &ANSWER, || self.fixture.runtime.block_on(handle))
        });
        let answer = self.fixture.runtime.block_on(Answer::check(response));
        let means: &[u16] = match (answer.status, answer.code.as_str()) {
            (204, "") => &[200, 204, 404, 410],
            (409, "upstream_refused") => &[400, 401, 403, 409],
            (503, "upstream_unavailable") => &[],
            other => panic!("{other:?}"),
        };
        // An answer with a status 1xx is followed by another answer, so it decides nothing.
        let says = status.filter(|status| *status >= 200);
        assert!(
            means.is_empty() || says.is_none_or(|status| means.contains(&status)),
            "{answer:?}"
        );
        log.check();
        self.fixture.runtime.block_on(self.check_items(answer.status));
        answer.status
    }

    /// Checks that the table agrees with the endpoint's answer (B6, E3), and restores the table.
    async fn check_items(&self, status: u16) {
        let mut items = self.fixture.items().await;
        self.fixture.reset(&items).await;
        let key = |sk: &str| ("installation#icfg_1".to_owned(), sk.to_owned());
        let intent = items.remove(&key("work#configuration"));
        assert_eq!(intent.is_some(), status == 503);
        if let Some(intent) = intent {
            let reason = intent["lastError"].as_s().unwrap();
            assert!(reason.chars().count() <= MAX_REASON, "{reason}");
            assert!(!reason.contains(char::is_control) && !reason.contains(SECRET), "{reason:?}");
        }
        if status == 204 {
            assert!(!items.contains_key(&key("#token")));
        } else {
            // If Vercel's answer named another team, the table has stored that team.
            let installation = items.get_mut(&key("#installation")).unwrap();
            if let Some(team) = installation.remove("teamId") {
                assert_eq!(status, 503);
                assert!(AttachmentId::parse(team.as_s().unwrap()).is_ok(), "{team:?}");
            }
            assert_eq!(items, *self.fixture.first());
        }
    }
}

/// Reads a request and answers it as Vercel. A `GET` gets the answer to the lookup. The first `DELETE` gets
/// the input's answer, and each further `DELETE` gets [`LATER`].
fn serve(mut stream: TcpStream, answers: &Mutex<Answers>) -> io::Result<()> {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let answer = {
        let mut answers = answers.lock().unwrap();
        if head.starts_with(b"GET ") {
            answers.lookup.clone()
        } else {
            std::mem::replace(&mut answers.delete, LATER.to_vec())
        }
    };
    stream.write_all(&answer)
}

/// The lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Checks that each line is a JSON object without a control character, and that no line has a secret.
    fn check(&self) {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("answered") && !log.contains(SECRET), "{log}");
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            assert!(is_plain(&line), "{line}");
        }
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains(char::is_control),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(fields) => fields.values().all(is_plain),
        _ => true,
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
