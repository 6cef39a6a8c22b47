"""The policies of template.yaml as a deployment with these parameters makes them, without a
deployment, and what IAM answers by them."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from tests import sam

ACCOUNT, PLACE = "123456789012", "eu-central-1"
POLICIES = (
    "WriterPolicy",
    "WatcherPolicy",
    "BackfillPolicy",
    "RestorerPolicy",
    "EnablerPolicy",
    "RedriverPolicy",
    "DrillerPolicy",
    "EnrollerPolicy",
)

DISTRIBUTED = (
    *("BackfillWorkerPolicy", "BackfillMachinePolicy"),
    *("RestoreWorkerPolicy", "RestoreMachinePolicy", "DistributorPolicy"),
    *("VerifyWorkerPolicy", "VerifyMachinePolicy"),
    *("DrillWorkerPolicy", "DrillMachinePolicy"),
)
"""The policies of distributed runs."""

Statement = dict[str, Any]


@cache
def _template() -> dict[str, Any]:
    return sam.template()


class Rendered:
    """The template with these parameters. Resources have names as CloudFormation makes them, which
    are as long as S3 and Lambda allow."""

    def __init__(self, **parameters: str) -> None:
        found = _template()
        default = {name: each["Default"] for name, each in found["Parameters"].items()}
        listed = {
            name
            for name, each in found["Parameters"].items()
            if each["Type"] == "CommaDelimitedList"
        }
        stack = parameters.pop("StackName", "stream-backup")
        given = {**default, **parameters}
        self.values: dict[str, Any] = {
            name: str(value).split(",") if name in listed else str(value)
            for name, value in given.items()
        } | {
            "AWS::Partition": "aws",
            "AWS::Region": PLACE,
            "AWS::AccountId": ACCOUNT,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack,
            "Function": stack,
            "BackfillWorker": f"{stack}-backfill",
            "RestoreWorker": f"{stack}-restore",
            "VerifyWorker": f"{stack}-verify",
            "DrillWorker": f"{stack}-drill",
        }
        for bucket in ("ArchiveBucket", "FailuresBucket", "WorkBucket"):
            self.values[bucket] = f"{stack[:33].lower()}-{bucket.lower()}-a1b2c3d4e5f6"[:63]
        self.resources, self.conditions = found["Resources"], found["Conditions"]

    def policy(self, name: str) -> list[Statement]:
        """Returns the statements of a policy, with every function of CloudFormation resolved."""
        document = self.resources[name]["Properties"]["PolicyDocument"]
        found: list[Statement] = self.resolve(document)["Statement"]
        return found

    def size(self, name: str) -> int:
        """The characters that count towards the quota of a managed policy: all but white space."""
        document = {"Version": "2012-10-17", "Statement": self.policy(name)}
        return len(re.sub(r"\s", "", json.dumps(document)))

    def resolve(self, node: Any) -> Any:
        match node:
            case {"Ref": "AWS::NoValue"}:
                return None
            case {"Ref": name}:
                return self.values[name]
            case {"Fn::Sub": [text, own]}:
                return self._fill(text, self.values | self.resolve(own))
            case {"Fn::Sub": text}:
                return self._fill(text, self.values)
            case {"Fn::Join": [between, parts]}:
                return str(between).join(map(str, self.resolve(parts)))
            case {"Fn::GetAtt": [name, "Arn"]}:
                return self._arn(name)
            case {"Fn::If": [name, yes, no]}:
                return self.resolve(yes if self.holds({"Condition": name}) else no)
            case dict():
                found = {key: self.resolve(value) for key, value in node.items()}
                return {key: value for key, value in found.items() if value is not None}
            case list():
                return [each for each in map(self.resolve, node) if each is not None]
        return node

    def holds(self, node: Any) -> bool:
        match node:
            case {"Condition": name}:
                return self.holds(self.conditions[name])
            case {"Fn::Not": [inner]}:
                return not self.holds(inner)
            case {"Fn::And": inner}:
                return all(map(self.holds, inner))
            case {"Fn::Equals": [{"Fn::Select": [0, {"Ref": name}]}, other]}:
                return bool(self.values[name][0] == str(other))
            case {"Fn::Equals": [one, other]}:
                return bool(self.resolve(one) == str(other))
        raise ValueError(node)

    def _fill(self, text: str, values: Mapping[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            name, _, attribute = found[1].partition(".")
            return self._arn(name) if attribute == "Arn" else str(values[name])

        return re.sub(r"\$\{([\w:.]+)\}", value, text)

    def _arn(self, name: str) -> str:
        place = f"{PLACE}:{ACCOUNT}"
        match self.resources[name]["Type"]:
            case "AWS::S3::Bucket":
                return f"arn:aws:s3:::{self.values[name]}"
            case "AWS::Serverless::Function":
                return f"arn:aws:lambda:{place}:function:{self.values[name]}"
            case "AWS::Logs::LogGroup":
                group = self.resolve(self.resources[name]["Properties"]["LogGroupName"])
                return f"arn:aws:logs:{place}:log-group:{group}:*"
        raise ValueError(name)


def without(statements: Iterable[Statement], sid: str) -> list[Statement]:
    """Returns all statements but one, which must exist."""
    every = list(statements)
    kept = [each for each in every if each["Sid"] != sid]
    assert len(kept) == len(every) - 1, sid
    return kept


def allows(
    statements: Iterable[Statement],
    action: str,
    resource: str,
    *,
    owner: str = ACCOUNT,
    principal: str = f"arn:aws:iam::{ACCOUNT}:role/somebody",
    **context: str,
) -> bool:
    """Whether IAM allows whoever has only these statements the action on the resource. `owner` is
    the account that owns the resource; `context` are further condition keys, with `_` for `:`."""
    asked = EvalContext(
        principal_arn=principal,
        principal_type="User",
        principal_account=owner,  # with which ministack's evaluator fills s3:ResourceAccount
        action=action,
        resource_arn=resource,
        region=PLACE,
        secure_transport=True,
        service_context={key.replace("_", ":").lower(): value for key, value in context.items()},
    )
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return bool(evaluate(asked, [parse_policy_document(document)]).decision == "Allow")
