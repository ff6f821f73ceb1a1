"""Checks the functions under `cargo lambda watch`, with the DynamoDB and the issuer of `cargo dev`.

The check sends requests with the contract's paths, and the events of deploy/lambda/events. It checks the
answers and the deletions. For calls that pass through, it checks what reaches the backend and is recorded."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
START_SECONDS = 60
REQUEST_SECONDS = 120

# Variables of the functions and AWS that this machine's user may have set. They would change the results of
# the check, so the check does not pass them on.
SET_HERE = re.compile(
    r"(AWS_|OIDC_|VERCEL|PROVIDER_|CARGO_LAMBDA_)"
    r"|(INTEGRATION_ID|TABLE_NAME|BACKEND_URL|CRON_SECRET|CLIENT_SECRET|SUPPORT_URL|GRACE_PERIOD|PROVISIONING_LIMIT|UNINSTALL_WITH_OPEN_INVOICES|RECEIPT_RETENTION|FINALIZE_MARGIN|RUST_LOG)$"
)
ENVIRONMENT = {name: it for name, it in os.environ.items() if not SET_HERE.match(name)}
# Requests to this machine must not go through a proxy.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failure(Exception):
    """The reason why the check failed."""


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Service:
    """A command in a process group of its own, so that all processes of the group can be ended."""

    def __init__(self, *command):
        self.name = " ".join(command)
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
            stdout=self.said, stderr=subprocess.STDOUT, start_new_session=True,
        )

    def output(self):
        self.said.seek(0)
        return self.said.read().decode(errors="replace")

    def wait_for(self, words):
        for _ in range(START_SECONDS * 10):
            if words in self.output():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise Failure(f'{self.name} did not say "{words}"')

    def end(self):
        for name in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, name)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


class Backend(http.server.ThreadingHTTPServer):
    """A backend. It answers a POST with a new resource, and any other request with the bytes of its body."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            self.server.heard.append((self.command, self.path, self.headers, body))
            if self.command == "POST":
                body = b'{"id":"db_front","name":"\xc3\xa9","status":"ready","secrets":[]}'
            self.send_response(201 if self.command == "POST" else 200)
            for line in ["Content-Type: text/plain; charset=iso-8859-1", f"Content-Length: {len(body)}",
                         "X-Twice: a, b", "X-Twice: c", "Set-Cookie: a=1", "Set-Cookie: b=2"]:
                self.send_header(*line.split(": "))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PATCH = do_POST = do_PUT = answer

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.heard = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def heard_once(self, what, method, path, body):
        """Checks that the backend got this one call since the last check. Returns the call's headers."""
        (call,) = self.heard or [("nothing",)]
        self.heard.clear()
        same(f"{what}, as the backend has it", call[:2], (method, path))
        if call[3] != body:
            raise Failure(f"{what}: the backend got {call[3]}")
        return call[2]


class Dev:
    """Runs commands of `cargo dev`."""

    def __init__(self, port):
        self.port = port

    def __call__(self, *args, said=""):
        command = ["cargo", "dev", "--port", str(self.port), *args]
        done = subprocess.run(
            command, cwd=ROOT, env=ENVIRONMENT, input=said, stdout=subprocess.PIPE,
            timeout=REQUEST_SECONDS, check=True, text=True,
        )
        return done.stdout.strip()

    def token(self, installation):
        return self("token", "--installation", installation)

    def shows(self, installation, pattern):
        shown = self("show", installation)
        if not re.search(pattern, shown, re.MULTILINE):
            raise Failure(f"{pattern} is not in\n{shown}")


def ask(method, url, headers=None, body=None):
    request = urllib.request.Request(url, method=method, headers=headers or {}, data=body)
    try:
        with HTTP.open(request, timeout=REQUEST_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def same(what, actual, expected):
    print(f"{what}: {actual}", flush=True)
    if actual != expected:
        raise Failure(f"{what}: {actual}, and not {expected}")


def environment_file(port):
    """The `.env` of docs/deploy-vercel.md, changed for a `cargo dev` on another port."""
    page = (ROOT / "docs/deploy-vercel.md").read_text()
    found = re.search(r"^## vercel dev$.*?^```ini\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if not found:
        raise Failure("docs/deploy-vercel.md has no .env under `vercel dev`")
    return found[1].replace("127.0.0.1:3000", f"127.0.0.1:{port}")


def recorded(name):
    return json.loads((HERE / "events" / f"{name}.json").read_text())


def http_api(method, path, token, stage="$default"):
    event = recorded("http-api")
    event["rawPath"] = path if stage == "$default" else f"/{stage}{path}"
    event["requestContext"]["stage"] = stage
    event["requestContext"]["http"] |= {"method": method, "path": event["rawPath"]}
    event["headers"]["authorization"] = f"Bearer {token}"
    return event


def rest_api(method, path, token, base=""):
    """An event of a REST API with the stage `prod`. `base` is the base path of a custom domain."""
    event = recorded("rest-api")
    event |= {"httpMethod": method, "path": f"{base}{path}"}
    event["requestContext"] |= {"httpMethod": method, "path": f"{base or '/prod'}{path}"}
    event["pathParameters"]["proxy"] = path.removeprefix("/")
    event["headers"]["Authorization"] = f"Bearer {token}"
    event["multiValueHeaders"]["Authorization"] = [f"Bearer {token}"]
    return event


def load_balancer(method, path, token):
    event = recorded("load-balancer")
    event |= {"httpMethod": method, "path": path}
    event["headers"]["authorization"] = f"Bearer {token}"
    return event


def signed(secret, body):
    """The header with the signature of a webhook from Vercel."""
    return {"x-vercel-signature": hmac.new(secret.encode(), body.encode(), hashlib.sha1).hexdigest()}


def removed(installation):
    """The body of the webhook that says that an installation was removed at Vercel."""
    payload = {"team": {"id": "team_local"}, "configuration": {"id": installation}}
    return json.dumps({"type": "integration-configuration.removed", "createdAt": 1, "payload": payload})


def with_body(event, body):
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    return event | {"body": encoded, "isBase64Encoded": True}


def check_requests(dev, base, secret, client_secret):
    """Checks requests with the contract's paths. The router of Cargo.toml sends them to the functions."""
    def answers(method, path, token, expected):
        headers = {"Authorization": f"Bearer {token}"}
        same(f"{method} {path}", ask(method, base + path, headers), expected)

    settled, opened = dev.token("icfg_settled1"), dev.token("icfg_open1")
    resource = "/v1/installations/icfg_settled1/resources"
    dev.shows("icfg_settled1", r"^db_1 +ready")
    answers("DELETE", f"{resource}/db_1", settled, (204, ""))
    answers("DELETE", f"{resource}/a%3Ab", settled, (204, ""))
    dev.shows("icfg_settled1", r"^resource db_1 .*ADMIN")
    dev.shows("icfg_settled1", r"^resource a:b .*ADMIN")
    answers("DELETE", "/v1/installations/icfg_open1", opened, (200, '{"finalized":false}'))
    dev.shows("icfg_open1", r"^state +(deleting|purged)")
    installation = {"id": "icfg_routed1", "accountId": "acc_local", "accessToken": "a", "billing": "settled"}
    dev("import", "-", said=json.dumps({"installation": installation}))
    answers("DELETE", "/v1/integrations/configuration/icfg_routed1", dev.token("icfg_routed1"), (204, ""))
    dev.shows("icfg_routed1", r"^configuration deleted +2")
    status, body = ask("DELETE", f"{base}/v1/installations/icfg_open1")
    same("without a token", (status, json.loads(body)["error"]["code"]), (403, "invalid_token"))
    status, body = ask("GET", f"{base}/api/sweep", {"Authorization": f"Bearer {secret}"})
    same("GET /api/sweep", (status, sorted(json.loads(body))), (200, ["claimed", "done", "parked", "retried"]))
    status, _ = ask("GET", f"{base}/api/sweep", {"Authorization": "Bearer another"})
    same("GET /api/sweep, a stranger", status, 403)
    body = removed("icfg_webhook1")
    for key, expected in [("another", 403), (client_secret, 200)]:
        status, _ = ask("POST", f"{base}/api/webhook", signed(key, body), body.encode())
        same("POST /api/webhook", status, expected)
    dev.shows("icfg_webhook1", r"^state +(deleting|purged)")
    same("DELETE elsewhere", ask("DELETE", f"{base}/v1/installations")[0], 404)


# A body with every byte, which is not valid UTF-8.
ALL_BYTES = bytes(range(256))


def check_front(dev, base, backend):
    """Checks calls that pass through: requests with the contract's paths, and API Gateway's events."""
    token = dev.token("icfg_front1")

    def passes(method, path, body=b""):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(base + path, method=method, headers=headers, data=body or None)
        with HTTP.open(request, timeout=REQUEST_SECONDS) as answer:
            status, said = answer.status, answer.read()
        heard = backend.heard_once(f"{method} {path}", method, path, body)
        if heard.get_all("authorization") != [f"Bearer {token}"]:
            raise Failure(f"{method} {path}: the backend got another token")
        return status, said

    installation = "/v1/installations/icfg_front1"
    upsert = json.dumps({"scopes": [], "credentials": {"access_token": "t"}}).encode()
    same("an Upsert", passes("PUT", f"{installation}?a=%20b&a=c+d", upsert), (200, upsert))
    dev.shows("icfg_front1", r"^state +active")
    status, made = passes("POST", f"{installation}/resources", b'{"name":"x"}')
    same("a Provision", (status, json.loads(made)["id"]), (201, "db_front"))
    dev.shows("icfg_front1", r"^db_front +ready")
    for path in [installation, f"{installation}/resources/db_front"]:
        same("all bytes come back", passes("PATCH", path, ALL_BYTES) == (200, ALL_BYTES), True)
    same("nothing", passes("GET", f"{installation}/resources/db_front"), (200, b""))
    bearer = {"Authorization": f"Bearer {token}"}
    deleted = ask("DELETE", f"{base}{installation}/resources/db_front", bearer)
    same("DELETE of what was provisioned", deleted, (204, ""))
    dev.shows("icfg_front1", r"^resource db_front .*ADMIN")
    same("what the backend heard of it", backend.heard, [])

    bearer = f"Bearer {dev.token('icfg_1')}"
    cookies = ["a=1", "b=2"]
    for name, method, path, twice in [
        ("front-http-api", "POST", "/v1/installations/icfg_1/resources?a=%20b&a=c+d&x=%2F%3F", ["a, b,c"]),
        ("front-rest-api", "PATCH", "/v1/installations/icfg_1/resources/db_1?a=+b&a=c+d", ["a, b", "c"]),
    ]:
        event = recorded(name)
        event["headers"]["authorization"] = bearer
        if "multiValueHeaders" in event:
            event["multiValueHeaders"]["authorization"] = [bearer]
        url = f"{base}/2015-03-31/functions/front/invocations"
        answer = json.loads(ask("POST", url, body=json.dumps(event).encode())[1])
        heard = backend.heard_once(name, method, path, base64.b64decode(event["body"]))
        same(f"{name}: repeated headers", heard.get_all("x-twice"), twice)
        if method == "POST":
            same(name, (answer["statusCode"], answer["isBase64Encoded"], answer["cookies"]), (201, False, cookies))
            same(f"{name}: joined", answer["headers"]["x-twice"], "a, b, c")
            same(f"{name}: the id", json.loads(answer["body"])["id"], "db_front")
        else:
            same(name, (answer["statusCode"], answer["isBase64Encoded"], answer["body"]), (200, True, event["body"]))
            headers = answer["multiValueHeaders"]
            same(f"{name}: each line", (headers["x-twice"], headers["set-cookie"]), (["a, b", "c"], cookies))


def check_events(dev, base, secret, client_secret):
    """Checks the events of API Gateway, EventBridge, a table's stream and a load balancer."""
    def invoke(function, event):
        url = f"{base}/2015-03-31/functions/{function}/invocations"
        status, body = ask("POST", url, body=json.dumps(event).encode())
        return status, json.loads(body)

    def answers(what, function, event, status, body, headers="headers"):
        invoked, answer = invoke(function, event)
        same(what, (invoked, answer.get("statusCode")), (200, status))
        if answer["isBase64Encoded"] is not False or not isinstance(answer[headers], dict):
            raise Failure(f"{what}: not in the gateway's form: {answer}")
        said = answer["body"]
        if status >= 400:
            said = json.loads(said)["error"]["code"]
        if said != body:
            raise Failure(f"{what}: {answer}")

    settled, opened = dev.token("icfg_settled1"), dev.token("icfg_open1")
    path = "/v1/installations/icfg_settled1/resources"
    many = "multiValueHeaders"
    for name, event, headers in [
        ("http", http_api("DELETE", f"{path}/http", settled), "headers"),
        ("staged", http_api("DELETE", f"{path}/staged", settled, stage="prod"), "headers"),
        ("rest", rest_api("DELETE", f"{path}/rest", settled), many),
        ("based", rest_api("DELETE", f"{path}/based", settled, base="/base"), many),
    ]:
        answers(f"DELETE {event.get('rawPath') or event['path']}", "delete_resource", event, 204, "", headers)
        dev.shows("icfg_settled1", rf"^resource {name} .*ADMIN")

    installation = "/v1/installations/icfg_settled1"
    keep = {"cascadeResourceDeletion": False}
    for event, headers in [(http_api, "headers"), (rest_api, many)]:
        refused = with_body(event("DELETE", installation, settled), keep)
        answers("cascade: false, in base64", "delete_installation", refused, 409, "resources_remain", headers)
        stranger = event("DELETE", installation, opened)
        answers("another's token", "delete_installation", stranger, 403, "forbidden", headers)
        other = event("GET", installation, settled)
        answers("GET", "delete_installation", other, 405, "method_not_allowed", headers)
        sweep = event("GET", "/api/sweep", "another")
        sweep |= {"source": "aws.events", "body": json.dumps(recorded("schedule"))}
        answers("a stranger's sweep", "sweep", sweep, 403, "invalid_token", headers)
    twice = rest_api("DELETE", installation, settled)
    twice["multiValueHeaders"]["Authorization"] *= 2
    answers("two tokens", "delete_installation", twice, 403, "invalid_token", many)
    by_load_balancer = load_balancer("DELETE", installation, settled)
    answers("by a load balancer", "delete_installation", by_load_balancer, 400, "bad_request")
    dev.shows("icfg_settled1", r"^state +active")

    configuration = rest_api("DELETE", "/v1/integrations/configuration/icfg_settled1", settled)
    configuration["queryStringParameters"] = {"teamId": "team_other"}
    configuration["multiValueQueryStringParameters"] = {"teamId": ["team_other"]}
    answers("another's team", "delete_configuration", configuration, 403, "forbidden", many)
    configuration["queryStringParameters"] = {"teamId": "team_local"}
    configuration["multiValueQueryStringParameters"] = {"teamId": ["team_local"]}
    answers("DELETE a configuration", "delete_configuration", configuration, 204, "", many)
    dev.shows("icfg_settled1", r"^configuration deleted +2")

    body = removed("icfg_webhook2")
    webhook = http_api("POST", "/api/webhook", "nobody's") | {"body": body, "isBase64Encoded": False}
    answers("a forged webhook", "webhook", webhook, 403, "invalid_signature")
    webhook["headers"] |= signed(client_secret, body)
    answers("a webhook", "webhook", webhook, 200, "")
    dev.shows("icfg_webhook2", r"^state +(deleting|purged)")
    encoded = with_body(rest_api("POST", "/api/webhook", "nobody's"), {"type": "hello"})
    encoded["multiValueHeaders"] |= {
        name: [value] for name, value in signed(client_secret, json.dumps({"type": "hello"})).items()
    }
    answers("a webhook in base64", "webhook", encoded, 200, "", many)

    for source in ["aws.events", "aws.scheduler"]:
        status, report = invoke("sweep", recorded("schedule") | {"source": source})
        same(f"a schedule of {source}", (status, sorted(report)), (200, ["claimed", "done", "parked", "retried"]))
    status, error = invoke("sweep", recorded("schedule") | {"source": "mine"})
    same("a schedule of another source", (status, "errorMessage" in error), (500, True))
    dev("import", "-", said="\n".join(json.dumps(line) for line in [
        {"installation": {"id": "icfg_stream1", "accountId": "acc_local"}},
        {"resource": {"installationId": "icfg_stream1", "id": "db_1"}},
    ]))
    gone = http_api("DELETE", "/v1/installations/icfg_stream1", dev.token("icfg_stream1"))
    answers("an uninstall", "delete_installation", gone, 200, '{"finalized":false}')
    event = recorded("stream")
    event["Records"][0]["dynamodb"]["Keys"] = {"pk": {"S": "installation#icfg_stream1"}, "sk": {"S": "work#purge"}}
    same("a stream's event", invoke("sweep", event), (200, {"batchItemFailures": []}))
    dev.shows("icfg_stream1", r"^state +purged")
    event["Records"][0]["eventSource"] = "aws:sqs"
    status, error = invoke("sweep", event)
    same("a queue's event", (status, "errorMessage" in error), (500, True))
    swept = load_balancer("GET", "/api/sweep", secret) | {"source": "aws.events"}
    answers("a sweep by a load balancer", "sweep", swept, 400, "bad_request")


def check(services):
    local, port, backend = free_port(), free_port(), Backend()
    services.append(Service("cargo", "dev", "--port", str(local)))
    services[-1].wait_for("teardown is listening")
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write(f"{environment_file(local)}BACKEND_URL={backend.url}\n")
        file.flush()
        services.append(Service(
            "cargo", "lambda", "watch", "--ignore-changes", "--offline", "--env-file", file.name,
            "--invoke-address", "127.0.0.1", "--invoke-port", str(port),
        ))
        services[-1].wait_for("starting Runtime server")
        base = f"http://127.0.0.1:{port}"
        secrets = [
            re.search(f"^{name}=(.*)$", environment_file(local), re.MULTILINE)[1]
            for name in ("CRON_SECRET", "CLIENT_SECRET")
        ]
        check_requests(Dev(local), base, *secrets)
        check_front(Dev(local), base, backend)
        check_events(Dev(local), base, *secrets)


def main():
    # If a signal ends this process, the commands that it started are ended, too.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(1))
    services = []
    try:
        check(services)
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        for service in services:
            print(f"--- {service.name} said:\n{service.output()}", file=sys.stderr)
        sys.exit(str(failure))
    finally:
        for service in services:
            service.end()


main()
