"""What `enable` makes of an event source mapping that exists: every setting is the stack's, nothing
is skipped, and no place where failed batches are kept is forgotten."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.stack import Stack
from stream_backup.capture.enabler import Enabler
from stream_backup.capture.failures import places
from stream_backup.capture.mapping import RECORD_AGE, remove
from stream_backup.capture.stream import switch_on
from stream_backup.errors import UsageError
from tests.fake_dynamodb import refusal
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Rendered, Statement, allows, without
from tests.process import Killed
from tests.world import PlainBucket, World, patched

STACK = Stack.of(
    "s",
    {
        "ArchiveUrl": "s3://backups",
        "FunctionName": "stream-backup",
        "FunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:stream-backup",
        "FailuresBucket": "failures",
        "BatchSize": "500",
        "BatchingWindow": "2",
        "ParallelizationFactor": "4",
        "MaximumRecordAge": "21600",
        "MaximumRetryAttempts": "-1",
    },
)


class Lambda:
    """Mappings as Lambda keeps them; `updates` are the settings of each update."""

    def __init__(self) -> None:
        self.mappings = list[dict[str, Any]]()
        self.updates = list[dict[str, Any]]()

    def invoke(self, **_: Any) -> Any:
        return {"Payload": BytesIO(b'{"announces": true}')}

    def list_event_source_mappings(self, **_: Any) -> Any:
        return {"EventSourceMappings": self.mappings}

    def create_event_source_mapping(self, **settings: Any) -> Any:
        self.mappings.append({"UUID": "u", "State": "Enabled"} | settings)
        return self.mappings[-1]

    def get_event_source_mapping(self, **_: Any) -> Any:
        return self.mappings[-1]

    def update_event_source_mapping(self, **settings: Any) -> Any:
        self.updates.append(settings)
        self.mappings[-1] |= settings | {"State": "Enabled"}
        return self.mappings[-1]


class Case:
    def __init__(self, stack: Stack | None = STACK) -> None:
        self.world, self.lambdas = World(1), Lambda()
        self.stack = stack

    @property
    def only(self) -> dict[str, Any]:
        (mapping,) = self.lambdas.mappings
        return mapping

    def enable(self) -> Any:
        """Enables the table by the stack, or by the name of the function."""
        world = self.world

        class Here(PlainBucket):
            dynamodb = world.dynamodb
            stack = self.stack
            stack_name = "s"

            def archive(self, _: str) -> Any:
                return world.archive

        here: Any = Here()
        enabler = Enabler(here, None if self.stack else "mine", stream_only=False)
        enabler.__dict__["client"] = self.lambdas
        return enabler.enable(NAME)


@pytest.fixture
def case() -> Iterator[Case]:
    found = Case()
    with patched(lambda: found.world):
        yield found


def test_nothing_to_change(case: Case) -> None:
    """A mapping with the stack's settings is left alone."""
    case.enable()
    case.enable()
    assert case.lambdas.updates == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BatchSize", 100),
        ("MaximumBatchingWindowInSeconds", 1),
        ("ParallelizationFactor", 1),
        ("MaximumRecordAgeInSeconds", -1),
        ("MaximumRetryAttempts", 3),
        ("BisectBatchOnFunctionError", False),
        ("FunctionResponseTypes", []),
        ("State", "Disabled"),
        ("DestinationConfig", {"OnFailure": {"Destination": "arn:aws:s3:::another"}}),
        ("DestinationConfig", {"OnFailure": {"Destination": "arn:aws:sqs:eu-central-1:1:q"}}),
        ("DestinationConfig", None),
    ],
)
def test_every_setting_is_the_stacks(case: Case, name: str, value: Any) -> None:
    """After the stack was deployed with other parameters, or somebody changed a mapping, enabling
    the table again gives the mapping the stack's settings."""
    case.enable()
    wanted = dict(case.only)
    case.only[name] = value
    case.enable()
    (update,) = case.lambdas.updates
    assert update["Enabled"] is True
    assert case.only | {"FunctionName": ""} == wanted | {
        "FunctionName": "",
        "UUID": "u",
        "Enabled": True,
    }


def test_the_record_age_decides_by_default(case: Case) -> None:
    """By default nothing limits the number of retries: fifty can be used up within minutes, while
    the failures bucket is meant for what fails for hours. A stack that sets a number gives it to
    each mapping, and a mapping that an older stack gave one loses it."""
    case.enable()
    assert case.only["MaximumRetryAttempts"] == -1
    assert case.only["MaximumRecordAgeInSeconds"] == STACK.settings["MaximumRecordAgeInSeconds"]
    case.stack = replace(STACK, settings={**STACK.settings, "MaximumRetryAttempts": 50})
    case.enable()
    assert case.only["MaximumRetryAttempts"] == 50
    settings = {k: v for k, v in STACK.settings.items() if k != "MaximumRetryAttempts"}
    case.stack = replace(STACK, settings=settings)
    case.enable()
    assert case.only["MaximumRetryAttempts"] == -1


def test_a_failures_bucket_that_was_replaced_is_still_looked_into(case: Case) -> None:
    """Batches that failed before the stack got another bucket wait in the old one: both are on
    record."""
    case.enable()
    case.stack = replace(STACK, failures="newer")
    case.enable()
    found = case.world.meta.mappings()
    assert {place.bucket for place in places(NAME, found)} == {"failures", "newer"}
    assert {each.uuid for each in found} == {"u"}
    case.enable()
    assert len(case.world.meta.mappings()) == 2


def test_a_filter_is_removed_and_is_an_outage(case: Case) -> None:
    """A filter skips records, and nobody knows since when: it is removed, and what it may have
    skipped is an outage since the mapping was recorded without one."""
    case.enable()
    recorded = case.world.meta.mappings()[0].recorded
    case.only["FilterCriteria"] = {"Filters": [{"Pattern": "{}"}]}
    case.world.model.tick(500)
    found = case.enable()
    assert found.filtered
    assert case.only["FilterCriteria"] == {}
    (outage,) = case.world.meta.outages()
    assert outage.since == recorded
    assert outage.until >= int(case.world.model.now) - 1
    case.only["FilterCriteria"] = {"Filters": []}
    assert not case.enable().filtered
    assert len(case.world.meta.outages()) == 1


class Guarded(Lambda):
    """Lambda that asks IAM, as AWS documents (AWS Lambda Developer Guide, "Resources and conditions
    for Lambda actions"). ministack changes and deletes mappings without asking."""

    def __init__(self, statements: list[Statement]) -> None:
        super().__init__()
        self.statements = statements

    def _require(self, operation: str, resource: str = "*") -> None:
        function = f"arn:aws:lambda:{PLACE}:{ACCOUNT}:function:stream-backup"
        action = f"lambda:{operation}EventSourceMapping"
        if not allows(self.statements, action, resource, lambda_FunctionArn=function):
            error = {"Code": "AccessDeniedException", "Message": action}
            raise ClientError({"Error": error}, f"{operation}EventSourceMapping")

    def create_event_source_mapping(self, **settings: Any) -> Any:
        self._require("Create")
        return super().create_event_source_mapping(**settings)

    def update_event_source_mapping(self, **settings: Any) -> Any:
        self._require("Update", MAPPING_ARN)
        return super().update_event_source_mapping(**settings)

    def get_event_source_mapping(self, **settings: Any) -> Any:
        self._require("Get", MAPPING_ARN)
        return super().get_event_source_mapping(**settings)

    def delete_event_source_mapping(self, **settings: Any) -> Any:
        self._require("Delete", MAPPING_ARN)
        return self.mappings.pop()


MAPPING_ARN = f"arn:aws:lambda:{PLACE}:{ACCOUNT}:event-source-mapping:u"


def test_whoever_enables_may_change_the_mapping(case: Case) -> None:
    """With the policy of the stack, a mapping can be created, changed, looked at and deleted. Each
    is refused without the statement that allows it."""
    statements = Rendered().policy("EnablerPolicy")
    case.lambdas = guarded = Guarded(statements)
    for sid, operation in (
        ("CreateMappings", "CreateEventSourceMapping"),
        ("SeeMappings", "GetEventSourceMapping"),
        ("ChangeMappings", "UpdateEventSourceMapping"),
    ):
        guarded.statements = without(statements, sid)
        with pytest.raises(ClientError, match=operation):
            case.enable()
        guarded.statements = statements
        case.enable()
        case.only["BatchSize"] = 7  # somebody changed it
    guarded.statements = without(statements, "ChangeMappings")
    with pytest.raises(ClientError, match="DeleteEventSourceMapping"):
        remove(guarded, "u")
    guarded.statements = statements
    assert remove(guarded, "u")


@pytest.mark.parametrize("age", [None, -1, 86400])
def test_the_record_age_has_a_cap(case: Case, age: int | None) -> None:
    """A batch must reach its destination while the stream still has its records."""
    settings = {
        name: value
        for name, value in {**STACK.settings, "MaximumRecordAgeInSeconds": age}.items()
        if value is not None
    }
    case.stack = replace(STACK, settings=settings)
    case.enable()
    assert 0 < case.only["MaximumRecordAgeInSeconds"] < 86400 - 3600


@pytest.mark.parametrize(
    ("found", "age", "attempts"),
    [
        ({"MaximumRecordAgeInSeconds": 60, "MaximumRetryAttempts": 3}, -1, -1),
        (
            {
                "MaximumRecordAgeInSeconds": -1,
                "MaximumRetryAttempts": 3,
                "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::mine"}},
            },
            RECORD_AGE,
            3,
        ),
    ],
)
def test_a_function_of_ones_own(case: Case, found: dict[str, Any], age: int, attempts: int) -> None:
    """A named function keeps its own settings, but no record is dropped: without a bucket for
    failed batches they are retried for as long as the stream keeps them; with one, not so long."""
    case.stack = None
    fixed = {"BatchSize": 7, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    case.lambdas.mappings = [{"UUID": "u", "State": "Enabled"} | fixed | found]
    case.enable()
    assert case.only["BatchSize"] == 7
    assert case.only["MaximumRecordAgeInSeconds"] == age
    assert case.only["MaximumRetryAttempts"] == attempts


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("eu-central-1", "us-east-1", "Region us-east-1"),
        ("123456789012", "210987654321", "account 210987654321"),
    ],
)
def test_one_prefix_for_two_places(case: Case, old: str, new: str, word: str) -> None:
    """A table of the same name in another Region or account needs an archive of its own: before its
    stream is switched on the command refuses, and names both places."""
    case.enable()
    (stream,) = case.world.known()
    other = replace(stream, arn=stream.arn.replace(old, new))
    case.world.meta.write_stream(other)
    case.world.model.switch_off()
    with pytest.raises(UsageError, match=word) as raised:
        switch_on(case.world.dynamodb, case.world.archive, "function")
    assert raised.value.exit_code == 2
    assert "--archive" in raised.value.hint
    assert case.world.model.stream is None


def test_a_mapping_whose_creation_was_not_answered(case: Case) -> None:
    """The answer to the creation of a mapping is lost, and Lambda refuses the same request when it
    is sent again, because the mapping exists: it is taken and recorded."""
    create = case.lambdas.create_event_source_mapping

    def again(**settings: Any) -> Any:
        create(**settings)
        raise refusal("ResourceConflictException")

    case.lambdas.create_event_source_mapping = again  # type: ignore[method-assign]
    found = case.enable()
    assert found.mapping.uuid == case.only["UUID"]
    assert [each.uuid for each in Catalog(case.world.archive).mappings()] == ["u"]


def test_a_mapping_that_cannot_be_created(case: Case) -> None:
    """A conflict with something else than an existing mapping is reported."""

    def refused(**_: Any) -> Any:
        raise refusal("ResourceConflictException")

    case.lambdas.create_event_source_mapping = refused  # type: ignore[method-assign]
    with pytest.raises(ClientError, match="ResourceConflictException"):
        case.enable()


def test_a_run_that_is_killed_while_it_removes_a_filter(case: Case) -> None:
    """The filter is gone, and nobody recorded when: what it skipped until Lambda applied the change
    is an outage all the same, because the next run finds no filter."""
    case.enable()
    case.only["FilterCriteria"] = {"Filters": [{"Pattern": "{}"}]}
    case.world.model.tick(500)
    update = case.lambdas.update_event_source_mapping

    def killed(**settings: Any) -> Any:
        update(**settings)
        case.world.model.tick(60)  # it takes effect
        raise Killed

    case.lambdas.update_event_source_mapping = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        case.enable()
    effective = case.world.model.now
    assert not case.enable().filtered
    (outage,) = case.world.meta.outages()
    assert outage.until >= effective


@pytest.mark.parametrize(("attempts", "fails"), [(1, False), (0, True)])
def test_a_change_of_a_mapping_that_is_under_way(case: Case, attempts: int, *, fails: bool) -> None:
    """Lambda refuses an update or a deletion of which the first answer was lost, because it is
    under way: nothing failed. Where nothing was sent before, somebody else changes the mapping, and
    the refusal is reported."""
    case.enable()
    case.only["FilterCriteria"] = {"Filters": [{"Pattern": "{}"}]}

    def refused(**_: Any) -> Any:
        error = refusal("ResourceInUseException")
        error.response["ResponseMetadata"] = {"RetryAttempts": attempts}
        raise error

    case.lambdas.update_event_source_mapping = refused  # type: ignore[method-assign]
    case.lambdas.delete_event_source_mapping = refused  # type: ignore[attr-defined]
    expected = pytest.raises(ClientError, match="ResourceInUse") if fails else nullcontext()
    with expected:
        assert case.enable().mapping.uuid == "u"
    with expected:
        assert remove(case.lambdas, "u")
