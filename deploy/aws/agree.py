"""Compares the templates with the code: what is in both must be the same in both."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROBLEMS = []


def must(condition, problem):
    if not condition:
        PROBLEMS.append(problem)


def equal(what, in_template, in_code):
    must(in_template == in_code, f"{what}: {in_template} in the template, {in_code} in the code")


def source(path):
    """The text of a source file, without its tests."""
    return (ROOT / path).read_text().split("#[cfg(test)]")[0]


def found(pattern, text, what):
    """Returns all matches. Fails if there is none, because a check that checks nothing must fail."""
    matches = re.findall(pattern, text, re.DOTALL)
    if not matches:
        sys.exit(f"deploy/aws/agree.py no longer understands {what}")
    return matches


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref Table` becomes `{"Ref": "Table"}`."""

    def compose_node(self, parent, index):
        # CloudFormation does not accept aliases.
        must(not self.check_event(yaml.AliasEvent), "a template has a YAML alias")
        return super().compose_node(parent, index)


def short_form(loader, tag, node):
    kinds = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}
    construct = kinds.get(node.id, loader.construct_mapping)
    value = construct(node) if node.id == "scalar" else construct(node, deep=True)
    return {tag: value}


Loader.add_multi_constructor("!", short_form)


def template(name):
    return yaml.load((ROOT / "deploy/aws" / name).read_text(), Loader)


def of_type(resources, kind):
    return {name: it for name, it in resources.items() if it["Type"] == kind}


# The facts about the code that tools/cli/examples/facts.rs prints.
FACTS = json.loads(subprocess.run(
    ["cargo", "run", "--quiet", "--package", "teardown-cli", "--example", "facts"],
    cwd=ROOT, check=True, stdout=subprocess.PIPE,
).stdout)
LAMBDA = template("template.yaml")
VERCEL = template("vercel.yaml")
RESOURCES = LAMBDA["Resources"]
FUNCTIONS = of_type(RESOURCES, "AWS::Serverless::Function")


def the_table():
    described, ttl = FACTS["table"]["table"], FACTS["table"]["ttl"]
    indexes = described["GlobalSecondaryIndexes"]
    made = {
        "BillingMode": described["BillingModeSummary"]["BillingMode"],
        "AttributeDefinitions": described["AttributeDefinitions"],
        "KeySchema": described["KeySchema"],
        "GlobalSecondaryIndexes": [
            {key: index[key] for key in ("IndexName", "KeySchema", "Projection")} for index in indexes
        ],
        "TimeToLiveSpecification": {
            "AttributeName": ttl["AttributeName"],
            "Enabled": ttl["TimeToLiveStatus"] == "ENABLED",
        },
        # `teardown table` does not set the next two properties.
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "DeletionProtectionEnabled": True,
        "TableName": {"Ref": "TableName"},
    }
    default = FACTS["variables"]["TABLE_NAME"]
    for name, of in (("template.yaml", LAMBDA), ("vercel.yaml", VERCEL)):
        tables = of_type(of["Resources"], "AWS::DynamoDB::Table")
        equal(f"{name}: tables", sorted(tables), ["Table"])
        # Only the Lambda template has a stream. No other host reads one, so `teardown table` makes none.
        stream = {"StreamSpecification": {"StreamViewType": "KEYS_ONLY"}} if of is LAMBDA else {}
        expected = made | stream
        for table in tables.values():
            properties = table["Properties"]
            for key in sorted(expected.keys() | properties.keys()):
                equal(f"{name}: the table's {key}", properties.get(key), expected.get(key))
            for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                must(table.get(policy) == "Retain", f"{name}: the table's {policy} is not Retain")
        equal(f"{name}: TABLE_NAME", of["Parameters"]["TableName"]["Default"], default)


def binary(name):
    """The function of an endpoint. `?` if no endpoint has this name."""
    return next((it["function"] for it in FACTS["endpoints"] if it["name"] == name), "?")


def the_routes():
    expected = {
        it["name"]: {(route["method"], route["path"]) for route in it["routes"]}
        for it in FACTS["endpoints"]
    }
    expected["Sweep"] = set()  # No route leads to the sweep.
    routes = {}
    for name, function in FUNCTIONS.items():
        events = function["Properties"]["Events"].values()
        routes[name] = set()
        for event in events:
            properties = event["Properties"]
            if event["Type"] == "HttpApi":
                routes[name].add((properties["Method"], properties["Path"]))
                equal(f"{name}: payload format", properties.get("PayloadFormatVersion"), "2.0")
                equal(f"{name}: API", properties.get("ApiId"), {"Ref": "Api"})
            else:
                must(name == "Sweep" and event["Type"] in ("Schedule", "DynamoDB"), f"{name}: a {event['Type']}")
                must("Input" not in properties, "Sweep: the schedule's own event is what it takes")
        if name == "Sweep":
            of_kind = {kind: [it["Properties"] for it in events if it["Type"] == kind] for kind in ("Schedule", "DynamoDB")}
            equal("Sweep: schedules", [it["Schedule"] for it in of_kind["Schedule"]], ["rate(5 minutes)"])
            equal("Sweep: streams", len(of_kind["DynamoDB"]), 1)
            for stream in of_kind["DynamoDB"]:
                the_stream(stream)
    equal("routes", routes, expected)
    others = [name for name in RESOURCES if RESOURCES[name]["Type"].startswith("AWS::ApiGateway")]
    equal("routes beside the functions' own", others, [])
    api = RESOURCES["Api"]["Properties"]
    equal("the stage", api["StageName"], "$default")
    # deploy/aws/transform.py checks the routes that SAM makes from this definition.
    equal("routes of the API's own", list(api["DefinitionBody"]["paths"]), ["/{proxy+}"])
    binaries = [it["function"] for it in FACTS["endpoints"]]
    built = [function["Properties"]["CodeUri"] for function in FUNCTIONS.values()]
    zips = [f"../../target/lambda/{name}/bootstrap.zip" for name in binaries]
    equal("CodeUri", sorted(built), sorted(zips))
    # cfn-lint does not check Globals.
    common = LAMBDA["Globals"]["Function"]
    equal("how all are run", [common.get(key) for key in ("Runtime", "Architectures", "Handler")],
          ["provided.al2023", ["arm64"], "bootstrap"])
    for name, function in FUNCTIONS.items():
        own = {"Runtime", "Architectures", "Handler"} & function["Properties"].keys()
        must(not own, f"{name}: {sorted(own)} of its own")
        must(f"/{binary(name)}/" in function["Properties"]["CodeUri"], f"{name}: another's CodeUri")


def the_stream(properties):
    """Checks that src/host/lambda/stream.rs accepts the stream's events, and that Lambda repeats none."""
    equal("the stream", properties["Stream"], {"GetAtt": "Table.StreamArn"})
    filters = [json.loads(it["Pattern"]) for it in properties["FilterCriteria"]["Filters"]]
    new = {"eventName": ["INSERT"], "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "work#"}]}}}}
    equal("the stream's filter", filters, [new])
    equal("the stream's repetitions", properties["MaximumRetryAttempts"], 0)
    equal("the stream's wait for a batch", properties["MaximumBatchingWindowInSeconds"], 0)
    equal("the stream's answers", properties["FunctionResponseTypes"], ["ReportBatchItemFailures"])


def the_variables():
    known, required = (set(FACTS["variables"][key]) for key in ("read", "required"))
    # The variables that only one function requires.
    of_one = {"BACKEND_URL": "Front", "CRON_SECRET": "Sweep", "CLIENT_SECRET": "Webhook"}
    must(of_one.keys() <= required, f"not required: {sorted(of_one.keys() - required)}")
    required -= of_one.keys()
    common = LAMBDA["Globals"]["Function"]["Environment"]["Variables"]
    for name, function in FUNCTIONS.items():
        own = function["Properties"].get("Environment", {}).get("Variables", {})
        given = set(common) | set(own)
        must(given <= known, f"{name}: no code reads {sorted(given - known)}")
        needed = required | {"TABLE_NAME"} | {it for it, only in of_one.items() if only == name}
        must(needed <= given, f"{name}: {sorted(needed - given)} is missing")
        spare = {it for it, only in of_one.items() if only != name} & given
        must(not spare, f"{name}: {sorted(spare)} is another function's")
    must({"PROVIDER_URL", "PROVIDER_SECRET"} <= set(common), "the provider is not told of by all")


def what_is_conditional():
    """Checks that Front, and everything that belongs to it, exists only with a backend."""
    conditional = {name: it["Condition"] for name, it in RESOURCES.items() if "Condition" in it}
    of_front = {name for name in RESOURCES if re.search(r"Front(?![a-z])", name)}
    must(of_front, "there is no Front")
    for name in of_front:
        equal(f"{name}: condition", conditional.get(name), "HasBackend")
    others = [name for name, it in conditional.items() if it == "HasBackend" and name not in of_front]
    equal("what depends on a backend beside Front", others, [])
    has = LAMBDA["Conditions"]["HasBackend"]
    equal("HasBackend", has, {"Not": [{"Equals": [{"Ref": "BackendUrl"}, ""]}]})


def the_watched_functions():
    """Checks that the alarms on AWS's own metrics include each function."""
    for name in ("FunctionErrors", "FunctionThrottles"):
        watched = set()
        for metric in RESOURCES[name]["Properties"]["Metrics"]:
            if "If" in metric:
                condition, metric, absent = metric["If"]
                equal(f"{name}: absent", absent, {"Ref": "AWS::NoValue"})
                equal(f"{name}: condition", condition, "HasBackend")
            if "MetricStat" in metric:
                [dimension] = metric["MetricStat"]["Metric"]["Dimensions"]
                watched.add(dimension["Value"]["Ref"])
        equal(f"{name}: functions", sorted(watched), sorted(FUNCTIONS))


def the_log_filters():
    """Checks the metric filters. tests/alarms.rs checks that each filter matches a line that the code logs."""
    codes = set(FACTS["codes"])
    filters = of_type(RESOURCES, "AWS::Logs::MetricFilter")
    must(filters, "there are no metric filters")
    groups = {}
    for name, it in filters.items():
        pattern = it["Properties"]["FilterPattern"]
        terms = dict(re.findall(r'\$\.(\w+) = "([^"]*)"', pattern))
        rebuilt = " && ".join(f'$.{field} = "{value}"' for field, value in terms.items())
        equal(f"{name}: all of its pattern", pattern.strip(), f"{{ {rebuilt} }}")
        must({"level", "message"} <= terms.keys(), f"{name}: no level, or no message")
        must(terms.get("outcome") in codes | {None}, f"{name}: no answer has this code")
        for metric in it["Properties"]["MetricTransformations"]:
            key = (str(metric["MetricNamespace"]), metric["MetricName"])
            groups.setdefault(key, set()).add(it["Properties"]["LogGroupName"]["Ref"])
    alarms = of_type(RESOURCES, "AWS::CloudWatch::Alarm").values()
    watched = {
        (str(alarm["Properties"]["Namespace"]), alarm["Properties"]["MetricName"])
        for alarm in alarms
        if "MetricName" in alarm["Properties"]
    }
    equal("metrics of filters, and of alarms", sorted(groups), sorted(watched))
    everywhere = {f"{name}Logs" for name in FUNCTIONS}
    for (_, metric), where in groups.items():
        expected = everywhere if metric == "InternalErrors" else {"SweepLogs"}
        equal(f"{metric}: log groups", sorted(where), sorted(expected))
    for name, function in FUNCTIONS.items():
        group = function["Properties"].get("LoggingConfig", {}).get("LogGroup")
        equal(f"{name}: log group", group, {"Ref": f"{name}Logs"})


# The IAM action that each call of the SDK needs. A transaction needs the actions of its items.
ACTIONS = {
    "get_item": "GetItem",
    "transact_get_items": "GetItem",
    "query": "Query",
    "update_item": "UpdateItem",
    "delete_item": "DeleteItem",
    "batch_write_item": "BatchWriteItem",
    "Put::builder": "PutItem",
    "Update::builder": "UpdateItem",
    "Delete::builder": "DeleteItem",
    "ConditionCheck::builder": "ConditionCheckItem",
    "transact_write_items": None,
}
# The actions with which Lambda itself reads the stream, in the sweep's role.
STREAM = {(action, "Table.StreamArn") for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")}
# The files whose code runs with the rights of operators or backends, not with a function's rights.
BY_HAND = {"admin.rs", "registry.rs"}


def allowed(policy, where):
    """The DynamoDB actions of a policy, each with its resource."""
    pairs = set()
    for statement in policy["Statement"]:
        must(statement["Effect"] == "Allow", f"{where}: {statement['Effect']}")
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            resource = statement["Resource"]
            (form, target), *rest = resource.items() if isinstance(resource, dict) else [("", resource)]
            must(not rest and form in ("Fn::GetAtt", "GetAtt", "Sub"), f"{where}: resource {resource}")
            must("*" not in action and "*" not in str(target), f"{where}: {action} on {target} has a wildcard")
            must(not action.endswith(":Scan"), f"{where}: Scan")
            if action.startswith("dynamodb:"):
                pairs.add((action.removeprefix("dynamodb:"), target))
            else:
                must(
                    action in ("logs:CreateLogStream", "logs:PutLogEvents"),
                    f"{where}: nothing needs {action}",
                )
                must(target == f"{where}Logs.Arn", f"{where}: {action} on {target}")
    return pairs


def the_policies():
    """Checks that the policies permit exactly the SDK's calls that are in src/store.rs and src/store."""
    store = ROOT / "src/store"
    # A file in a folder belongs to the file that has the folder's name.
    owner = lambda path: path.relative_to(store).parts[0].removesuffix(".rs") + ".rs"
    files = [path for path in store.rglob("*.rs") if owner(path) not in BY_HAND]
    files.append(ROOT / "src/store.rs")
    code = "".join(source(path) for path in files)
    calls = set(re.findall(r"client\s*\.(\w+)\(\)", code)) | {
        f"{kind}::builder"
        for kind in re.findall(r"\b(Put|Update|Delete|ConditionCheck)::builder", code)
    }
    unknown = calls - ACTIONS.keys()
    if unknown or not calls:
        sys.exit(f"deploy/aws/agree.py does not know what IAM asks for {sorted(unknown)}")
    used = {(ACTIONS[call], "Table.Arn") for call in calls if ACTIONS[call]}
    must("index_name(DUE_INDEX)" in code, "no code reads the index")
    used.add(("Query", "${Table.Arn}/index/due"))

    of_each = {}
    for name, function in FUNCTIONS.items():
        equal(f"{name}: role", function["Properties"].get("Role"), {"GetAtt": f"{name}Role.Arn"})
        must("Policies" not in function["Properties"], f"{name}: SAM's policies do not apply")
        role = RESOURCES[f"{name}Role"]["Properties"]
        must("ManagedPolicyArns" not in role, f"{name}: its role has managed policies")
        of_each[name] = set()
        for policy in role["Policies"]:
            of_each[name] |= allowed(policy["PolicyDocument"], name)
    equal("all that the functions may", sorted(set().union(*of_each.values())), sorted(used | STREAM))
    of_stream = [name for name, pairs in of_each.items() if pairs & STREAM]
    equal("who may read the stream", of_stream, ["Sweep"])
    of_index = [name for name, pairs in of_each.items() if any("index" in on for _, on in pairs)]
    equal("who may read the index", of_index, ["Sweep"])
    # An uninstall has conditions only on items that it writes, so Delete Installation and Webhook check none.
    # The sweep checks conditions when it resumes a configuration's deletion.
    checking = sorted(name for name, pairs in of_each.items() if ("ConditionCheckItem", "Table.Arn") in pairs)
    equal("who may check a condition", checking, ["DeleteConfiguration", "DeleteResource", "Front", "Sweep"])
    the_page_says(of_each)
    policy = VERCEL["Resources"]["Policy"]["Properties"]["PolicyDocument"]
    equal("all that Vercel's role may", sorted(allowed(policy, "vercel.yaml")), sorted(used))
    equal("who has Vercel's policy", VERCEL["Resources"]["Role"]["Properties"]["ManagedPolicyArns"], [{"Ref": "Policy"}])
    must("Policies" not in VERCEL["Resources"]["Role"]["Properties"], "Vercel's role has other policies")


def the_page_says(of_each):
    """Checks the table of actions in docs/deploy-lambda.md, function by function."""
    page = (ROOT / "docs/deploy-lambda.md").read_text()
    heads, rows = found(r"\n\| action of `dynamodb:` \| on \|(.*?)\n\|[-|]+\n(.*?)\n\n", page, "the page's actions")[0]
    functions = re.findall(r"`(\w+)`", heads)
    said = {name: set() for name in functions}
    for row in rows.splitlines():
        actions, on, *answers = [cell.strip() for cell in row.strip("| ").split("|")]
        target = "${Table.Arn}/index/due" if "index/due" in on else "Table.Arn"
        target = "Table.StreamArn" if "stream" in on else target
        for name, answer in zip(functions, answers, strict=True):
            must(answer in ("yes", "on Vercel", "–"), f"docs/deploy-lambda.md: {answer} is not an answer")
            if answer == "yes":
                said[name] |= {(action, target) for action in re.findall(r"`(\w+)`", actions)}
    equal("functions, as docs/deploy-lambda.md has them", sorted(map(binary, of_each)), sorted(said))
    for name, pairs in of_each.items():
        equal(f"{name}: what it may, as docs/deploy-lambda.md has it", sorted(pairs), sorted(said.get(binary(name), ())))


CHECKS = (
    the_table, the_routes, the_variables, what_is_conditional, the_watched_functions, the_log_filters, the_policies,
)
for check in CHECKS:
    check()
for problem in PROBLEMS:
    print(f"infra: {problem}", file=sys.stderr)
sys.exit(bool(PROBLEMS))
