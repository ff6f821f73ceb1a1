"""Checks the commands on the pages with the tools that they call, and compares the pages with the templates.

The pinned tools have to accept each command line of `vercel`, `sam`, `aws`, `cargo lambda`, `cargo dev` and
`npm` in README.md and docs/: its subcommands, its options and, if the tool checks them without an account,
its arguments. `aws` and `sam` run without credentials and without a server to reach. They parse the whole
command line first, and then have to fail because they find no credentials. The tools of `cargo` parse a
command line if `--help` is appended. `vercel` parses nothing before it knows the account, so its command
lines are compared with the text of its `--help`. A command in `backquotes` may leave out its arguments.

The check does not know what a value means: the name of a variable, an expression for a log, or the menu of a
dashboard.
"""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = {"deploy-vercel.md": "vercel.yaml", "deploy-lambda.md": "template.yaml"}
TOOLS = r"(?:vercel|sam|aws|cargo lambda|cargo dev|npm|pip)"
HOME = tempfile.TemporaryDirectory()
NO_CREDENTIALS = re.compile(r"Unable to (locate|retrieve) credentials")
PROBLEMS, SEEN = [], {}


def must(condition, problem):
    if not condition:
        PROBLEMS.append(problem)


def run(arguments, variables):
    """Runs a tool without an account, with only `variables` set. Returns its status and its output."""
    own = {"CARGO_HOME": f"{Path.home()}/.cargo", "RUSTUP_HOME": f"{Path.home()}/.rustup", "PATH": ""}
    env = {name: os.environ.get(name, default) for name, default in own.items()} | {
        "HOME": HOME.name, "COLUMNS": "200", "NO_COLOR": "1",
        "VERCEL_TELEMETRY_DISABLED": "1", "SAM_CLI_TELEMETRY": "0",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    done = subprocess.run(arguments, cwd=ROOT, env=env | variables, stdin=subprocess.DEVNULL, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def code(page):
    """The lines of a page's code, indented or fenced. A final backslash joins a line with the next line."""
    fenced, lines = False, []
    for line in page.replace("\\\n", " ").splitlines():
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        if not fence and (fenced or line.startswith("    ")):
            lines.append(line.strip())
    return lines


def commands(line):
    """Finds the commands of the tools in a line of shell. Yields each command as a list of words."""
    line, inner = re.sub(r"\$\(([^()]*)\)", "x", line), re.findall(r"\$\(([^()]*)\)", line)
    for text in [line, *inner]:
        for start in re.finditer(rf"(?:^|[|;&] *)(?:\S*/)?(?={TOOLS}(?: |$))", text):
            words = shlex.shlex(text[start.end():], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            found = []
            for word in words:
                if set(word) <= set("|;&<>()"):
                    break
                found.append(word)
            yield found


def filled(words, variables):
    value = lambda name: variables.get(name[1], "x")
    return [re.sub(r"\$(\w+)", value, word) for word in words]


@functools.cache
def help_of_vercel(*path):
    """The usage of a command of `vercel`, the text of its help, and the names of its subcommands."""
    text = run(["vercel", *path, "--help", "--global-config", HOME.name], {})[1]
    usage = re.search(r"^ +\S+ vercel (.*)$", text, re.MULTILINE)[1]
    listed = re.search(r"^  Commands:$(.*?)(?=^  (?:Global )?Options:$|\Z)", text, re.MULTILINE | re.DOTALL)
    return usage, text, re.findall(r"^ +(?:\w+ \| )?([\w-]+) ", listed[1], re.MULTILINE) if listed else []


def of_vercel(words, whole):
    """Follows the subcommands of `vercel`, and compares the other words with the last one's help."""
    path, rest = [], list(words)
    usage, text, names = help_of_vercel()
    while rest and rest[0] in names:
        path.append(rest.pop(0))
        usage, text, names = help_of_vercel(*path)
    takes = re.sub(r"\[options\]|\[?\bcommand\b\]?", "", " ".join(usage.split()[len(path):]))
    # `vercel` without a subcommand accepts a path, but no page means a path.
    if rest and not rest[0].startswith("-") and (not path or names and not takes.strip()):
        return f"no command {rest[0]}"
    options = {}
    for short, name, value in re.findall(r"^ +(?:-(\w), +)?--([\w-]+)( <[^>]+>)?", text, re.MULTILINE):
        options |= {f"--{name}": bool(value), f"-{short}": bool(value)}
    given = 0
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            given += 1
        elif word not in options:
            return f"no option {word}"
        elif options[word] and (not rest or rest.pop(0).startswith("-")):
            return f"no value for {word}"
    required = len(re.sub(r"\[[^]]*\]", "", takes).split())
    if whole and path and "..." not in takes and not required <= given <= required + takes.count("["):
        return f"{given} arguments for {usage}"


def of_aws(words, variables, whole):
    status, said = run(words, variables)
    lacks_only_arguments = not whole and "arguments are required" in said
    if status and not NO_CREDENTIALS.search(said) and not lacks_only_arguments:
        return next((line for line in said.splitlines() if "[ERROR]" in line), said)


def of_sam(words, variables, whole):
    status, said = run(words if whole else [*words, "--help"], variables)
    # `sam delete` asks for confirmation before it looks for credentials.
    if status and not NO_CREDENTIALS.search(said) and "Are you sure you want to delete" not in said:
        return said.strip().splitlines()[-1]


def of_cargo(words, _variables, _whole):
    status, said = run([*words, "--help"], {})
    return said.split("\n\n")[0] if status else None


def of_npm(words, _variables, _whole):
    folder = words[words.index("--prefix") + 1] if "--prefix" in words else "."
    if words[1] not in ("ci", "install") or not (ROOT / folder / "package-lock.json").exists():
        return f"no {words[1]} in {folder}"


def judge(words, variables, whole):
    tool = words[0]
    if tool == "pip":  # `the_versions` compares the versions.
        return None
    if tool == "vercel":
        return of_vercel(words[1:], whole) if len(words) > 1 else None
    return {"aws": of_aws, "sam": of_sam, "cargo": of_cargo, "npm": of_npm}[tool](words, variables, whole)


def hold(page, words, variables, whole):
    key = (tuple(words), tuple(sorted(variables.items())), whole)
    if key not in SEEN:
        SEEN[key] = judge(words, variables, whole)
    must(not SEEN[key], f"{page}: `{' '.join(words)}`: {SEEN[key]}")


def the_commands():
    counted = {}
    for path in PAGES:
        text, variables, known = path.read_text(), {}, {"PATH", "PWD"}
        for line in code(text):
            if path.name in GUIDES:
                for name in re.findall(r"\$(\w+)", line):
                    must(name in known, f"{path.name}: nothing before `{line}` sets {name}")
            for words in commands(line):
                hold(path.name, filled(words, variables), variables, True)
                tool = " ".join(words[:2]) if words[0] == "cargo" else words[0]
                counted[tool] = counted.get(tool, 0) + 1
            if asked := re.match(r"read -rs (\w+)$", line):
                known.add(asked[1])
            if assigned := re.match(r"(export )?(\w+)=(\S*)$", re.sub(r"\$\([^()]*\)", "x", line)):
                known.add(assigned[2])
                if assigned[1] and assigned[2].startswith("AWS_"):
                    variables = variables | {assigned[2]: assigned[3]}
        prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
        prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
        for span in re.findall(rf"(?<!`)`({TOOLS} [a-z][^`]*)`(?!`)", prose):
            for words in commands(span):
                hold(path.name, filled(words, {}), {"AWS_REGION": "eu-central-1"}, False)
    for tool in ("vercel", "sam", "aws", "cargo lambda", "cargo dev", "npm"):
        must(counted.get(tool), f"no page has a command of {tool}: this check no longer understands the pages")


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's YAML, but ignores values that have a tag such as `!Ref`."""


Loader.add_multi_constructor("!", lambda loader, tag, node: None)


def cells(page, head):
    """The rows of the table on a page whose first line begins with `| head |`."""
    found = re.search(rf"^ *\| {head} \|.*\n *\|[-|]+\n((?: *\|.*\n)+)", page, re.MULTILINE)
    rows = found[1].splitlines() if found else []
    return [[cell.strip(" `") for cell in row.strip("| ").split(" | ")] for row in rows]


def the_templates():
    for name, file in GUIDES.items():
        page, text = (ROOT / "docs" / name).read_text(), (ROOT / "deploy/aws" / file).read_text()
        template = yaml.load(text, Loader)
        parameters = {(key, str(it.get("Default", "–")) or "empty") for key, it in template["Parameters"].items()}
        told = {tuple(row[:2]) for row in cells(page, "parameter")}
        must(told == parameters, f"{name} and {file}: parameters {told ^ parameters}")
        outputs = {row[0] for row in cells(page, "output")} ^ set(template["Outputs"])
        must(not outputs, f"{name} and {file}: outputs {outputs}")
        # IAM's actions look like parameters. The templates contain IAM's actions, too.
        for word in re.findall(r"[`' ]([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:=[^`]*)?`", page):
            must(re.search(rf"\b{word}\b", text), f"{name}: {word} is not in {file}")
    for path in PAGES:
        for words in (words for line in code(path.read_text()) for words in commands(line)):
            if "--parameter-overrides" in words:
                file = next(Path(word) for word in words if word.endswith(".yaml"))
                parameters = yaml.load((ROOT / file).read_text(), Loader)["Parameters"]
                given = {word.split("=")[0] for word in words[words.index("--parameter-overrides") + 1:]}
                needed = {key for key, it in parameters.items() if "Default" not in it}
                must(needed <= given <= set(parameters), f"{path.name}: parameters {given} for {file}")


def the_versions():
    """Checks that both guides name the tool versions that this check runs, and install no other versions."""
    aws = run(["aws", "--version"], {})[1]
    required = "".join((ROOT / f"deploy/{it}/requirements.txt").read_text() for it in ("commands", "lambda"))
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", required, re.MULTILINE))
    vercel = json.loads((ROOT / "deploy/vercel/package.json").read_text())["dependencies"]["vercel"]
    versions = {"AWS CLI": aws.split()[0].split("/")[1], "vercel": vercel,
                "SAM CLI": pinned["aws-sam-cli"], "cargo-lambda": pinned["cargo-lambda"]}
    for name in GUIDES:
        page = (ROOT / "docs" / name).read_text()
        for tool in ["AWS CLI", "vercel"] if name == "deploy-vercel.md" else ["AWS CLI", "SAM CLI", "cargo-lambda"]:
            must(f"{tool} {versions[tool]}" in page, f"{name}: not checked with {tool} {versions[tool]}")
        for package, version in re.findall(r"([\w-]+)==([\d.]+\d)", page):
            must(pinned.get(package) == version, f"{name}: {package} {version}, and {pinned.get(package)} here")


def the_regions():
    """Checks that Vercel's functions run near the region where docs/deploy-vercel.md makes the table."""
    page = (ROOT / "docs/deploy-vercel.md").read_text()
    region = re.search(r"export AWS_REGION=(\S+)", page)[1]
    near = dict(row[:2] for row in cells(page, "`AWS_REGION`"))
    for file in ("vercel.json", "deploy/vercel/in-front/vercel.json"):
        regions = json.loads((ROOT / file).read_text()).get("regions")
        must(regions == [near.get(region)], f"{file}: regions {regions}, and the table in {region}")


for check in (the_commands, the_templates, the_versions, the_regions):
    check()
for problem in PROBLEMS:
    print(f"deploy/commands: {problem}", file=sys.stderr)
print(f"{len(SEEN)} commands", flush=True)
sys.exit(bool(PROBLEMS))
