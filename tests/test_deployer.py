"""The deployer's rights, documented as a policy: they suffice for every resource of the template,
and for no resource of another stack.

ministack's CloudFormation needs only permissions for itself (test_permissions.py deploys with this
policy), so this module lists what CloudFormation calls in the deployer's name for each type of
resource (AWS CloudFormation Template Reference, and the handlers of each type in the CloudFormation
registry).
"""

import json
import re
from typing import Any

import pytest

from tests import sam
from tests.policies import ACCOUNT, PLACE, allows

FILE = sam.ROOT / "docs/deployer-policy.json"
RESOURCES = sam.template()["Resources"]

S3 = "CreateBucket PutBucketVersioning PutBucketOwnershipControls PutBucketPublicAccessBlock"
S3 += " PutEncryptionConfiguration PutLifecycleConfiguration PutBucketObjectLockConfiguration"
S3 += " PutBucketNotification"
LAMBDA = "CreateFunction UpdateFunctionCode UpdateFunctionConfiguration GetFunction DeleteFunction"
LAMBDA += " PutFunctionConcurrency DeleteFunctionConcurrency AddPermission RemovePermission"
LAMBDA += " TagResource PutFunctionEventInvokeConfig GetFunctionEventInvokeConfig"
LAMBDA += " UpdateFunctionEventInvokeConfig DeleteFunctionEventInvokeConfig"
MAPPING = "CreateEventSourceMapping GetEventSourceMapping UpdateEventSourceMapping"
MAPPING += " DeleteEventSourceMapping"
ROLE = "CreateRole GetRole DeleteRole AttachRolePolicy DetachRolePolicy PassRole"
POLICY = "CreatePolicy GetPolicy CreatePolicyVersion DeletePolicyVersion ListPolicyVersions"
POLICY += " DeletePolicy"
RULE = "PutRule DescribeRule DeleteRule PutTargets RemoveTargets"
LOG = "CreateLogGroup PutRetentionPolicy DeleteLogGroup"
MACHINE = "CreateStateMachine DescribeStateMachine UpdateStateMachine DeleteStateMachine"
MACHINE += " TagResource UntagResource ListTagsForResource"
TOPIC = "CreateTopic GetTopicAttributes SetTopicAttributes DeleteTopic"

NEEDED: dict[str, list[tuple[str, str, str]]] = {
    "AWS::S3::Bucket": [("s3", S3, "arn:aws:s3:::{}-archivebucket-a1b2c3")],
    "AWS::S3::BucketPolicy": [
        ("s3", "PutBucketPolicy GetBucketPolicy", "arn:aws:s3:::{}-archivebucket-a1b2c3")
    ],
    # Each function has a name; the schedule of the watcher is a rule that may invoke it.
    "AWS::Serverless::Function": [
        ("lambda", LAMBDA, "arn:aws:lambda:@:function:{}-watcher"),
        ("lambda", LAMBDA, "arn:aws:lambda:@:function:{}"),
        ("events", RULE, "arn:aws:events:@:rule/{}-WatcherEveryFewMinutes-A1B2C3"),
        ("iam", "PassRole", "arn:aws:iam::#:role/{}-WriterRole-A1B2C3"),
    ],
    "AWS::Lambda::EventSourceMapping": [
        ("lambda", MAPPING, "arn:aws:lambda:@:event-source-mapping:1")
    ],
    "AWS::Logs::LogGroup": [("logs", LOG, "arn:aws:logs:@:log-group:/aws/lambda/{}-watcher")],
    "AWS::Logs::MetricFilter": [
        ("logs", "PutMetricFilter DeleteMetricFilter", "arn:aws:logs:@:log-group:/aws/lambda/{}")
    ],
    "AWS::IAM::Role": [("iam", ROLE, "arn:aws:iam::#:role/{}-WriterRole-A1B2C3")],
    "AWS::IAM::ManagedPolicy": [("iam", POLICY, "arn:aws:iam::#:policy/{}-WriterPolicy-A1B2C3")],
    "AWS::SNS::Topic": [("sns", TOPIC, "arn:aws:sns:@:{}-Topic-A1B2C3")],
    "AWS::SNS::TopicPolicy": [("sns", "SetTopicAttributes", "arn:aws:sns:@:{}-Topic-A1B2C3")],
    "AWS::SNS::Subscription": [("sns", "Subscribe Unsubscribe", "arn:aws:sns:@:{}-Topic-A1B2C3")],
    "AWS::Events::Rule": [("events", RULE, "arn:aws:events:@:rule/{}-FailuresRule-A1B2C3")],
    "AWS::CloudWatch::Alarm": [
        ("cloudwatch", "PutMetricAlarm DeleteAlarms", "arn:aws:cloudwatch:@:alarm:{}-LagAlarm-A1")
    ],
    "AWS::StepFunctions::StateMachine": [
        ("states", MACHINE, "arn:aws:states:@:stateMachine:{}-backfill")
    ],
    "AWS::CloudWatch::Dashboard": [
        ("cloudwatch", "PutDashboard DeleteDashboards", "arn:aws:cloudwatch::#:dashboard/{}-here")
    ],
}
"""Type of a resource → service, actions, and the resource as CloudFormation names it: `@` is the
Region and account, `#` the account, and `{}` the name of the stack."""

CONTEXT = {
    "iam_PassedToService": "lambda.amazonaws.com",
    "iam_PolicyARN": f"arn:aws:iam::{ACCOUNT}:policy/{{}}-WriterPolicy-A1B2C3",
    "lambda_FunctionArn": f"arn:aws:lambda:{PLACE}:{ACCOUNT}:function:{{}}",
}


def statements(account: str = ACCOUNT, region: str = PLACE) -> list[dict[str, Any]]:
    """Returns the documented policy for this account and Region."""
    text = FILE.read_text().replace("ACCOUNT", account).replace("REGION", region)
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


def types() -> set[str]:
    loops = [body for name, each in RESOURCES.items() if "ForEach" in name for body in each[2:]]
    every = [*(each for each in RESOURCES.values() if isinstance(each, dict))]
    every += [fragment for loop in loops for fragment in loop.values()]
    return {each["Type"] for each in every}


def may(action: str, resource: str, stack: str) -> bool:
    where = resource.replace("@", f"{PLACE}:{ACCOUNT}").replace("#", ACCOUNT).format(stack)
    context = {name: value.format(stack) for name, value in CONTEXT.items()}
    return allows(statements(), action, where, **context)


def test_every_type_of_the_template_is_listed() -> None:
    """A resource of a new type cannot be added to the template without its rights."""
    assert types() == set(NEEDED)


@pytest.mark.parametrize("kind", NEEDED)
def test_the_deployer_may_create_every_resource(kind: str) -> None:
    """The documented policy allows what CloudFormation does in the deployer's name, for resources
    of this stack, and of no other stack."""
    for service, actions, resource in NEEDED[kind]:
        for action in actions.split():
            assert may(f"{service}:{action}", resource, "stream-backup"), action
            assert not may(f"{service}:{action}", resource, "payments"), action


def test_the_deployer_passes_a_role_to_a_state_machine() -> None:
    """A state machine is given its role by whoever deploys it."""
    where = f"arn:aws:iam::{ACCOUNT}:role/stream-backup-BackfillMachineRole-A1B2C3"
    for service, passed in (("states", True), ("lambda", True), ("ec2", False)):
        given = {"iam_PassedToService": f"{service}.amazonaws.com"}
        assert allows(statements(), "iam:PassRole", where, **given) is passed


def test_the_deployer_deletes_no_archive() -> None:
    """The policy allows neither the deletion of versions nor that of a bucket."""
    actions = {
        action
        for each in statements()
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    assert not {"s3:DeleteObjectVersion", "s3:DeleteBucket", "s3:BypassGovernanceRetention"} & {
        *actions
    }
    assert not [action for action in actions if "*" in action]
    deletes = [each for each in statements() if "s3:DeleteObject" in each["Action"]]
    assert [each["Resource"] for each in deletes] == ["arn:aws:s3:::aws-sam-cli-managed-default-*"]


def test_the_policy_of_the_deployer_fits_into_its_quota() -> None:
    """It can be created as one managed policy, which has at most 6,144 characters."""
    text = json.dumps({"Version": "2012-10-17", "Statement": statements(region="us-gov-west-1")})
    assert len(re.sub(r"\s", "", text)) <= 6144
