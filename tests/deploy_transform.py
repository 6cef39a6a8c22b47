"""Prints the template as CloudFormation would deploy it for one stream, with loops expanded and
SAM's resources transformed. Linters find few errors inside loops and SAM resources without this.
Run it with the Python of `.venv-sam`:

    .venv-sam/bin/python tests/deploy_transform.py template.yaml > transformed.json
"""

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from boto3 import Session
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

LOOP = "Fn::ForEach::"
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-11-21T04:02:01.000"


def expanded(resources: dict[str, Any]) -> dict[str, Any]:
    """Returns the resources with each loop expanded once, for STREAM. SAM CLI's own expansion also
    inserts the defaults of parameters, which hides the template's conditions from a linter."""
    found: dict[str, Any] = {}
    for name, resource in resources.items():
        if name.startswith(LOOP):
            variable, _, body = resource
            for key, fragment in body.items():
                found[key.replace(f"&{{{variable}}}", re.sub("[^A-Za-z0-9]", "", STREAM))] = (
                    _put_in(fragment, variable)
                )
        else:
            found[name] = resource
    return found


def _put_in(node: Any, variable: str) -> Any:
    if node == {"Ref": variable}:
        return STREAM
    if isinstance(node, dict):
        return {key: _put_in(value, variable) for key, value in node.items()}
    return [_put_in(value, variable) for value in node] if isinstance(node, list) else node


def transformed(path: Path) -> Any:
    template = yaml_parse(path.read_text())
    template["Transform"] = "AWS::Serverless-2016-10-31"
    template["Resources"] = expanded(template["Resources"])
    for function in (
        "Function",
        "Watcher",
        "Driller",
        "BackfillWorker",
        "RestoreWorker",
        "VerifyWorker",
        "DrillWorker",
        "Enroller",
    ):
        # As `sam package` would write it.
        template["Resources"][function]["Properties"]["CodeUri"] = "s3://code/function.zip"
    session = Session(region_name="us-east-1")
    return Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session).translate(
        template, parameter_values={}
    )


if __name__ == "__main__":
    logging.disable()
    json.dump(transformed(Path(sys.argv[1])), sys.stdout, indent=2)
