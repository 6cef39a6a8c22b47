"""Writes docs/parameters.md from template.yaml: parameters, outputs, permissions. `--check` only says whether it would change."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TARGET = Path(__file__).with_name("parameters.md")

sys.path.insert(0, str(ROOT))

from tests.sam import template  # noqa: E402 - the one reader of the template's YAML

POLICIES = {
    "WriterPolicy": "The function's role (output `WriterPolicyArn`)",
    "BackfillPolicy": "A backfill operator (output `BackfillPolicyArn`)",
    "RestorerPolicy": "A restorer (output `RestorerPolicyArn`)",
}


def reference() -> str:
    found = template()
    parts = [
        "# The stack's parameters, outputs and permissions",
        "",
        "Written by `make docs` from `template.yaml`. Do not edit.",
    ]
    parts += ["", "Set parameters with `sam deploy --parameter-overrides Name=value …`."]
    for group in found["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        parts += ["", f"## {group['Label']['default']}", "", "| parameter | default | takes | |", "|---|---|---|---|"]
        for name in group["Parameters"]:
            parameter = found["Parameters"][name]
            default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "none"
            parts.append(f"| `{name}` | {default} | {_bounds(parameter)} | {parameter['Description'].strip()} |")
    parts += ["", "## Outputs", "", "| output | |", "|---|---|"]
    parts += [f"| `{name}` | {output['Description']} |" for name, output in found["Outputs"].items()]
    parts += ["", "## Who may do what", "", "Every action that each policy allows, and on what."]
    for name, title in POLICIES.items():
        parts += ["", f"### {title}", "", "| statement | actions | on |", "|---|---|---|"]
        for statement in found["Resources"][name]["Properties"]["PolicyDocument"]["Statement"]:
            parts.append(_statement(statement))
    return "\n".join(parts) + "\n"


def _bounds(parameter: dict[str, Any]) -> str:
    if "AllowedValues" in parameter:
        return ", ".join(map(str, parameter["AllowedValues"]))
    if parameter["Type"] == "Number":
        return f"{parameter['MinValue']} – {parameter['MaxValue']}"
    listed = "any number of " if parameter["Type"] == "CommaDelimitedList" else ""
    return f"{listed}`{parameter['AllowedPattern'].replace('|', chr(92) + '|')}`"


def _statement(statement: dict[str, Any]) -> str:
    only = ""
    if "Fn::If" in statement:
        _, statement, _ = statement["Fn::If"]
        only = " (with `KmsKeyArn`)"
    actions, resources = (
        [found] if not isinstance(found, list) else found for found in (statement["Action"], statement["Resource"])
    )
    listed, places = ", ".join(f"`{action}`" for action in actions), ", ".join(map(_place, resources))
    return f"| {statement['Sid']}{only} | {listed} | {places} |"


def _place(resource: Any) -> str:
    match resource:
        case {"Fn::Sub": [str(text), _]} | {"Fn::Sub": str(text)}:
            short = text.replace("arn:${AWS::Partition}:", "").replace("${AWS::Region}:${AWS::AccountId}:", "")
            return f"`{short.replace('::', '')}`"
        case {"Ref": name}:
            return f"`{name}`"
        case {"Fn::GetAtt": [name, _]}:
            return f"`{name}`"
        case _:
            return f"`{resource}`"


if __name__ == "__main__":
    text = reference()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.exists() and TARGET.read_text() == text else "docs/parameters.md is stale: run make docs")
    TARGET.write_text(text)
