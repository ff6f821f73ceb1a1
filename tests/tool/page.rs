//! The page of `cargo dev`, and the console: what they show, what their buttons do, and which requests they
//! refuse. `tools/cli/browser/check` checks more of the page and the console in a browser.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_SECURITY_POLICY, HOST, ORIGIN};

use super::{Tool, dev, text};
use crate::support::waiting::within;
use crate::support::world::http_client;

impl Tool {
    /// Fetches a part of the page, as a browser does.
    async fn shown(&self, path: &str) -> String {
        let answer = http_client().get(format!("{}{path}", self.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    /// Presses a button of the page, and returns the page's message.
    pub(super) async fn press(&self, path: &str, form: &str) -> String {
        press(&format!("{}{path}", self.url), &self.url, form).await
    }

    /// Waits until a part of the page contains all these texts, and returns that part.
    async fn shows_on_page(&self, path: &str, parts: &[&str]) -> String {
        within(async {
            loop {
                let shown = self.shown(path).await;
                if parts.iter().all(|part| shown.contains(part)) {
                    return shown;
                }
            }
        })
        .await
    }
}

async fn press(url: &str, origin: &str, form: &str) -> String {
    let request = http_client().post(url).header(ORIGIN, origin);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer.text().await.unwrap()
}

/// M1: a button of the page sends a request as Vercel would send it. The page shows the request, its answer,
/// and the changed items before and after the request, but no access token.
#[tokio::test]
async fn a_button_of_the_page_deletes_as_vercel_would() {
    let tool = Tool::start(&[]);
    let page = tool.shown("/?installation=icfg_settled1").await;
    for part in ["icfg_settled1", "icfg_open1", "sample db_1", "<b>parked</b>", "Exactly once"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let path = "/page/act?what=resource&installation=icfg_settled1&resource=db_1";
    for (form, expected) in [
        ("caller=user&key=new&times=1", "403 Forbidden"),
        ("caller=other&key=new&times=1", "403 Forbidden"),
        ("caller=expired&key=new&times=1", "403 Forbidden"),
        ("caller=admin&key=new&times=64", "64 × 204 No Content"),
        ("caller=system&key=none&times=1", "204 No Content"),
    ] {
        let answer = tool.press(path, form).await;
        assert!(answer.ends_with(&format!("{expected}</p>")), "{form}: {answer}");
    }
    // The page shows 64 requests as one entry.
    let news = "/page/news?installation=icfg_settled1";
    tool.shows_on_page(news, &["64 × 204 No Content"]).await;
    let uninstall = "/page/act?what=installation&installation=icfg_settled1";
    let answer = tool.press(uninstall, "caller=admin&key=new&times=1&cascade=no&reason=").await;
    assert!(answer.contains("409 Conflict"), "{answer}");
    let answer =
        tool.press(uninstall, "caller=admin&key=new&times=1&cascade=yes&reason=unused").await;
    assert!(answer.contains("200 OK"), "{answer}");
    let last = tool.shown("/page/last?installation=icfg_settled1").await;
    for part in [
        "DELETE /v1/installations/icfg_settled1 HTTP/1.1\n",
        "\nauthorization: Bearer eyJ",
        "a user with the role ADMIN, for the installation icfg_settled1",
        "{&#34;finalized&#34;:true}",
        "<td>state</td><td><bdi>active</bdi></td><td><bdi>deleting</bdi></td><td><b>changed</b>",
        "receipt#installation",
    ] {
        assert!(last.contains(part), "{part} in {last}");
    }
    tool.shows_on_page(news, &["installation.deleted"]).await;
    for path in ["/page/facts", "/page/last", "/page/news", "/page/entry"] {
        let shown = tool.shown(&format!("{path}?installation=icfg_settled1&number=1")).await;
        assert!(!shown.contains("sample-settled1"), "an access token in {path}");
    }
}

/// J1, M1: the page's buttons install and provision as Vercel does. The buttons' calls pass through to the
/// backend, and are recorded.
#[tokio::test]
async fn buttons_install_and_provision_by_the_backend() {
    let tool = Tool::start(&[]);
    let url = format!("{}/page/act?what=install", tool.url);
    let install = http_client().post(&url).header(ORIGIN, &tool.url);
    let install = install.header("content-type", "application/x-www-form-urlencoded");
    let answer = install.body("caller=admin&key=none&times=1").send().await.unwrap();
    assert_eq!(answer.headers()["hx-redirect"], "/?installation=icfg_new1");
    let path = "/page/act?what=provision&installation=icfg_new1";
    let form = "caller=admin&key=new&times=64&product=p&name=my-database";
    let answer = tool.press(path, form).await;
    assert!(answer.contains("/v1/installations/icfg_new1/resources: 64 × 200 OK"), "{answer}");
    let resources = "/page/resources?installation=icfg_new1";
    tool.shows_on_page(resources, &["1 live", "db_made", "my-database"]).await;
    let answer = tool.press(path, "caller=user&key=new&times=1&product=p&name=x").await;
    assert!(answer.contains("403 Forbidden"), "{answer}");
    tool.shows_on_page(resources, &["1 live"]).await;
}

/// M1: the stand-ins give the answers that are set on the page, and the page moves the clock to the next due
/// job. A token that is printed after the clock was moved is valid by that clock.
#[tokio::test]
async fn answers_are_set_and_the_clock_is_moved_on() {
    let tool = Tool::start_with(&[], &[("GRACE_PERIOD", "7d")]);
    tool.press("/page/answers", "vercel=documented&provider=failing").await;
    let delete = "/page/act?what=resource&installation=icfg_settled1&resource=db_1";
    tool.press(delete, "caller=admin&key=new&times=1").await;
    let jobs = "/page/jobs?installation=icfg_settled1";
    tool.shows_on_page(jobs, &["Last error", "answered 500", "scheduled"]).await;
    tool.press("/page/answers", "vercel=documented&provider=documented").await;
    let answer = tool.press("/page/clock/next", "").await;
    assert!(answer.contains("The clock was moved on by"), "{answer}");
    tool.shows_on_page(jobs, &["tells the provider to tear it down"]).await;
    for _ in 0..7 {
        tool.press("/page/clock/day", "").await;
    }
    tool.prints("provider  resource.deleted  icfg_settled1  db_1");
    tool.shows_on_page(jobs, &["None is left"]).await;
    assert!(tool.shown("/page/clock").await.contains("moved on by 7 d"));
    let path = "/v1/installations/icfg_settled1/resources/db_2";
    let token = tool.run(&["token", "--installation", "icfg_settled1"]);
    assert_eq!(tool.delete(path, text(&token.stdout).trim_end()).await, 204);
}

/// M1: an open page receives an event for each part of the page that changes, even if another program wrote
/// the table.
#[tokio::test]
async fn an_open_page_receives_changes() {
    let tool = Tool::start(&[]);
    let page = tool.shown("/?installation=icfg_open1").await;
    let (_, rest) = page.split_once("hx-sse:connect=\"").unwrap();
    let stream = rest.split('"').next().unwrap().replace("&amp;", "&");
    let mut events = http_client().get(format!("{}{stream}", tool.url)).send().await.unwrap();
    let hold = ["hold", "icfg_open1", "--reason", "ticket 42"];
    assert!(tool.run(&hold).status.success());
    let received = within(async {
        let mut received = String::new();
        while !(received.contains("event: holds\n") && received.contains("event: news\n")) {
            received += text(&events.chunk().await.unwrap().unwrap());
        }
        received
    });
    assert!(!received.await.contains("event: resources\n"), "no resource has changed");
    let holds = tool.shown("/page/holds?installation=icfg_open1").await;
    assert!(holds.contains("ticket 42"), "{holds}");
    let news = tool.shown("/page/news?installation=icfg_open1").await;
    assert!(news.contains("by another program: hold new"), "{news}");
}

/// M3: the page loads nothing from another site, and its content security policy forbids that. Another site
/// cannot read the page, cannot press its buttons, and cannot write the table through the browser.
#[tokio::test]
async fn the_page_is_closed_to_other_sites() {
    let tool = Tool::start(&[]);
    let answer = http_client().get(&tool.url).send().await.unwrap();
    let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    let page = answer.text().await.unwrap();
    for attribute in ["src=\"", "href=\"", "hx-get=\"", "hx-post=\""] {
        for target in page.split(attribute).skip(1) {
            assert!(target.starts_with('/') || target.starts_with('#'), "{attribute}{target:.40}");
        }
    }
    assert!(!page.contains("style=\"") && !page.contains("<style") && !page.contains("onclick"));
    let evil = "https://evil.example";
    for (path, method, header, value) in [
        ("/", "GET", HOST, "evil.example"),
        ("/page/facts?installation=icfg_open1", "GET", ORIGIN, evil),
        ("/page/operate", "POST", ORIGIN, evil),
        ("/page/clock/day", "POST", ORIGIN, "null"),
        ("/page/clock/day", "POST", HOST, tool.url.trim_start_matches("http://")),
        ("/", "POST", ORIGIN, evil),
    ] {
        let request = http_client().request(method.parse().unwrap(), format!("{}{path}", tool.url));
        let answer = request.header(&header, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path} {header}: {value}");
    }
}

/// A `teardown console` that runs until the test ends.
struct Console {
    child: Child,
    url: String,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Console {
    fn start(tool: &Tool) -> Self {
        let mut command = dev(&["--port", tool.port(), "console"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, url) = line.trim().rsplit_once(' ').unwrap();
        Self { child, url: url.to_owned() }
    }
}

/// M2: the console shows an installation, and runs commands in the operator's name, each with a reason. If
/// the address lacks the console's secret, the answer is 404. The console has no button that sends a request
/// as Vercel.
#[tokio::test]
async fn the_console_shows_the_table_and_acts_with_a_reason() {
    let tool = Tool::start_with(&[], &[("GRACE_PERIOD", "7d")]);
    let console = Console::start(&tool);
    let (origin, _) = console.url.split_at(console.url[8..].find('/').unwrap() + 8);
    let get = |path: String| async move {
        let answer = http_client().get(path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, home) = get(console.url.clone()).await;
    assert!(status == 200 && home.contains("Nothing needs you"), "{home}");
    for path in ["/", "/installation?installation=icfg_open1", "/page.css", "/0123/"] {
        assert_eq!(get(format!("{origin}{path}")).await.0, 404, "{path}");
    }
    assert_eq!(tool.delete_as_admin("/v1/installations/icfg_open1", "icfg_open1").await, 200);
    tool.shows("icfg_open1", &["state           purged", "as deleted"]);

    let act = |form: &'static str| press_at(format!("{}operate", console.url), origin, form);
    let answer = act("act=hold&installation=icfg_open1&reason=+").await;
    assert!(answer.contains("Say why"), "{answer}");
    let answer = act("act=hold&installation=icfg_open1&reason=ticket+42").await;
    assert!(answer.contains("icfg_open1 is held, in time"), "{answer}");
    let answer = act("act=keep&installation=icfg_open1&resource=db_1&reason=they+came+back").await;
    assert!(answer.contains("db_1 of icfg_open1 is kept"), "{answer}");
    let (_, home) = get(console.url.clone()).await;
    assert!(home.contains("by <bdi>olga</bdi>: <bdi>ticket 42</bdi>"), "{home}");
    let installation = format!("{}installation?installation=icfg_open1", console.url);
    let (_, page) = get(installation).await;
    for part in ["resource db_1 was kept", "a hold was placed on installation", "To come"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let calls = ["Uninstall", "Delete</button>", "/act?"];
    assert!(calls.into_iter().all(|call| !page.contains(call)), "{page}");
    let answer = act("act=release&installation=icfg_open1&reason=the+rest+may+go").await;
    assert!(answer.contains("icfg_open1 is released"), "{answer}");
    let answer = act("act=settle&installation=icfg_open1&reason=paid").await;
    assert!(answer.contains("its finalization is due now"), "{answer}");
    tool.shows("icfg_open1", &["kept by olga: they came back", "state           finalized"]);
    let forged = http_client().post(format!("{}operate", console.url)).header(ORIGIN, &tool.url);
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

async fn press_at(url: String, origin: &str, form: &str) -> String {
    press(&url, origin, form).await
}
