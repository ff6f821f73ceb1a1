"""Checks the API's routes that SAM makes from the template, with a backend and without a backend."""

import json
import sys
from pathlib import Path

from boto3.session import Session
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

TEMPLATE = yaml_parse((Path(__file__).parent / "template.yaml").read_text())
BACKEND = {
    "type": "http_proxy",
    "httpMethod": "ANY",
    "uri": {"Fn::Sub": "${BackendUrl}/{proxy}"},
    "payloadFormatVersion": "1.0",
}


def chosen(node, has_backend):
    """The template, or a part of it, with each choice that depends on `HasBackend` made."""
    if isinstance(node, list):
        items = [chosen(it, has_backend) for it in node]
        return [it for it in items if it is not None]
    if not isinstance(node, dict):
        return node
    if node == {"Ref": "AWS::NoValue"}:
        return None
    if node.keys() == {"Fn::If"} and node["Fn::If"][0] == "HasBackend":
        return chosen(node["Fn::If"][1 if has_backend else 2], has_backend)
    items = {key: chosen(it, has_backend) for key, it in node.items()}
    return {key: it for key, it in items.items() if it is not None}


def routes(api, has_backend):
    """Each route, with the function that it leads to. A route to no function has its integration instead."""
    found = {}
    for path, methods in chosen(api["Properties"]["Body"]["paths"], has_backend).items():
        for method, it in methods.items():
            integration = it["x-amazon-apigateway-integration"]
            uri = integration["uri"].get("Fn::Sub", "")
            _, _, function = uri.partition("/functions/${")
            found[method.upper(), path] = function.partition(".")[0] or integration
    return found


def expected(has_backend):
    """The routes of the functions' own events. If there is a backend, all other routes lead to the backend."""
    found = {}
    for name, it in TEMPLATE["Resources"].items():
        if it.get("Condition") == "HasBackend" and not has_backend:
            continue
        for event in it["Properties"].get("Events", {}).values():
            if event["Type"] == "HttpApi":
                found[event["Properties"]["Method"], event["Properties"]["Path"]] = name
    if has_backend:
        found["X-AMAZON-APIGATEWAY-ANY-METHOD", "/{proxy+}"] = BACKEND
    return found


def main():
    template = json.loads(json.dumps(TEMPLATE))
    for it in template["Resources"].values():
        if it["Type"] == "AWS::Serverless::Function":
            it["Properties"]["CodeUri"] = "s3://bucket/key"  # `sam deploy` uploads the code before this step.
    values = {name: it.get("Default", "oac_1") for name, it in TEMPLATE["Parameters"].items()}
    session = Session(region_name="eu-central-1")
    made = Translator({}, Parser(), boto_session=session).translate(template, values)["Resources"]
    wrong = False
    for has_backend in (True, False):
        seen, wanted = routes(made["Api"], has_backend), expected(has_backend)
        for route in sorted(seen.keys() | wanted.keys()):
            if seen.get(route) != wanted.get(route):
                wrong = True
                print(f"{route}, backend {has_backend}: {seen.get(route)}, not {wanted.get(route)}", file=sys.stderr)
    return wrong


sys.exit(main())
