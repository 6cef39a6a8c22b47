"""A table that a restore creates, against what AWS documents and no emulator does: tags that are
seen seconds later, at most 50 of them, written five times a second; a point-in-time recovery that
cannot be changed for a while; answers that are lost."""

from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

import restore.target
import restore.usable
import stream_backup.aws.table
from restore.target import Target, prepare
from restore.usable import DONE, OURS
from stream_backup.aws.creation import MOST_TAGS
from stream_backup.aws.dynamodb import Answer
from stream_backup.aws.patience import PATIENCE, PatientAttempts
from stream_backup.aws.table import RESTORED, RESTORING, describe
from stream_backup.core.records import TableDescription
from stream_backup.core.slice import NameSlice, cut_names
from stream_backup.errors import UnavailableError, UsageError
from tests.process import Killed

START = 1_800_000_000
ARN = "arn:aws:dynamodb:us-east-1:111122223333:table/copy"
SCHEMA = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
}
INDEX = {
    "IndexName": "by-day",
    "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "ALL"},
}


def error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, operation)


@dataclass
class Nasty:
    """DynamoDB's table operations as documented. `unavailable` are the seconds for which continuous
    backups cannot be changed; `delay` those until tags are seen; operations in `loses` take effect,
    and then their answer is lost once."""

    now: float = START
    created: float | None = None
    unavailable: float = 0
    delay: float = 3
    loses: set[str] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    tagged: list[float] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    recovery: dict[str, Any] | None = None

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        self.calls.append((operation, request))
        self.now += 0.01
        data = getattr(self, operation)(**request)
        if operation in self.loses:
            self.loses.remove(operation)
            raise error("InternalServerError", operation)
        return Answer(data or {}, int(self.now))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        if self.created is None:
            raise error("ResourceNotFoundException", "DescribeTable")
        found = {"TableStatus": "ACTIVE", "TableArn": ARN, "CreationDateTime": self.created}
        return {"Table": SCHEMA | found}

    def list_tables(self, Limit: int) -> dict[str, Any]:  # noqa: N803
        return {}

    def create_table(self, Tags: list[dict[str, str]], **_: Any) -> None:  # noqa: N803
        if self.created is not None:
            raise error("ResourceInUseException", "CreateTable")
        assert len(Tags) <= MOST_TAGS
        self.created = self.now
        self.change({tag["Key"]: tag["Value"] for tag in Tags})

    def change(self, tags: dict[str, str]) -> None:
        self.tags = tags
        self.seen.append((self.now + self.delay, dict(tags)))

    def written(self, operation: str) -> None:
        self.tagged.append(self.now)
        if sum(each > self.now - 1 for each in self.tagged) > 5:
            raise error("ThrottlingException", operation)

    def tag_resource(self, ResourceArn: str, Tags: list[dict[str, str]]) -> None:  # noqa: N803
        self.written("TagResource")
        tags = self.tags | {tag["Key"]: tag["Value"] for tag in Tags}
        if len(tags) > MOST_TAGS:
            raise error("ValidationException", "TagResource")
        self.change(tags)

    def untag_resource(self, ResourceArn: str, TagKeys: list[str]) -> None:  # noqa: N803
        self.written("UntagResource")
        self.change({key: value for key, value in self.tags.items() if key not in TagKeys})

    def list_tags_of_resource(self, ResourceArn: str) -> dict[str, Any]:  # noqa: N803
        found = [tags for at, tags in self.seen if at <= self.now]
        tags = found[-1] if found else {}
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def describe_time_to_live(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}

    def describe_continuous_backups(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        on = {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7}
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": on}}

    def update_continuous_backups(
        self,
        TableName: str,  # noqa: N803
        PointInTimeRecoverySpecification: dict[str, Any],  # noqa: N803
    ) -> None:
        assert self.created is not None
        if self.now < self.created + self.unavailable:
            raise error("ContinuousBackupsUnavailableException", "UpdateContinuousBackups")
        self.recovery = PointInTimeRecoverySpecification

    def scan(self, **_: Any) -> dict[str, Any]:
        return {"Items": self.rows}


class Virtual(PatientAttempts):
    def _wait(self, seconds: float) -> None:
        fake.now += seconds


fake: Nasty


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Nasty:
    global fake
    fake = Nasty()
    clock = SimpleNamespace(sleep=fake.sleep, monotonic=lambda: fake.now)
    for module in (restore.target, restore.usable, stream_backup.aws.table):
        monkeypatch.setattr(module, "time", clock)
    return fake


def patient(said: list[str] | None = None) -> Any:
    patience = Virtual((said if said is not None else []).append, lambda: fake.now)
    call = lambda name, request: patience(f"DynamoDB {name}", lambda: fake.call(name, request))  # noqa: E731
    return SimpleNamespace(call=call)


def described(tags: int = 0, days: int | None = 7, **more: Any) -> TableDescription:
    every = tuple({"Key": f"tag-{number:02}", "Value": "v"} for number in range(tags))
    return TableDescription(
        SCHEMA | more, {}, every, point_in_time_recovery=True, recovery_days=days
    )


def ready(description: TableDescription, dynamodb: Any = None, **more: Any) -> Target:
    given: dict[str, Any] = {"overwrite": False, "stream": False} | more
    return prepare(dynamodb or patient(), "copy", description, "this restore", **given)


def test_recovery_that_is_unavailable_for_a_while(aws: Nasty) -> None:
    """AWS refuses point-in-time recovery for minutes after the table was created: the restore
    waits, and sets the same number of days."""
    aws.unavailable, said = 240.0, list[str]()
    ready(described(), patient(said)).finish()
    assert aws.recovery == {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": 7}
    assert aws.created is not None
    assert 240 <= aws.now - aws.created < 300
    assert len(said) == 1
    assert set(aws.tags) == {RESTORED}


def test_recovery_that_stays_unavailable(aws: Nasty) -> None:
    """The wait ends after a quarter of an hour, and the table keeps the tags with which the same
    command resumes."""
    aws.unavailable = 1e9
    with pytest.raises(UnavailableError, match="ContinuousBackupsUnavailable"):
        ready(described()).finish()
    assert PATIENCE < aws.now - START < PATIENCE + 60
    assert set(aws.tags) == set(OURS)
    assert ready(described()).resumed


def test_the_days_of_recovery_are_kept(aws: Nasty) -> None:
    """A description has the days for which point-in-time recovery reaches back. One of an earlier
    release has none, and AWS's default is used."""
    aws.created = aws.now
    found = describe(patient(), {"TableName": "copy", "TableArn": ARN})
    assert found.recovery_days == 7
    assert TableDescription.of(found.record()) == found
    old = TableDescription.of({"Table": {}, "PointInTimeRecovery": True})
    assert old.recovery_days is None
    assert old.record()["PointInTimeRecovery"] is True
    assert "RecoveryPeriodInDays" not in old.record()


@pytest.mark.parametrize("tags", [0, 47, 48, 49, 50])
def test_as_many_tags_as_a_table_may_have(aws: Nasty, tags: int) -> None:
    """While a table is being filled it has two tags of the restore; its last tags come back when
    they are gone."""
    target = ready(described(tags=tags))
    assert set(OURS) <= set(aws.tags)
    assert len(aws.tags) == min(tags + 2, MOST_TAGS)
    target.record(cut_names(16)[:1])
    target.finish()
    kept = [RESTORED] if tags < MOST_TAGS else []
    assert sorted(aws.tags) == sorted([*kept, *(f"tag-{number:02}" for number in range(tags))])


@pytest.mark.parametrize("tags", [0, 47, 48])
@pytest.mark.parametrize("before", [False, True])
def test_a_restore_that_is_killed_while_it_finishes(aws: Nasty, tags: int, *, before: bool) -> None:
    """Killed at any write of a tag, the same restore resumes, and the table ends with all tags:
    a table without the tag that a restore made it would be enabled with the others of a pattern."""
    wanted = {RESTORED, *(f"tag-{number:02}" for number in range(tags))}

    def killed_at(position: int) -> None:
        numbers = count(1)

        def call(name: str, request: dict[str, Any]) -> Answer:
            dies = name in ("tag_resource", "untag_resource") and next(numbers) == position
            if dies and before:
                raise Killed
            answer = aws.call(name, request)
            if dies:
                raise Killed
            return answer

        with pytest.raises(Killed):
            ready(described(tags=tags), SimpleNamespace(call=call)).finish()

    ready(described(tags=tags)).finish()
    writes = sum(name in ("tag_resource", "untag_resource") for name, _ in aws.calls)
    assert writes >= 3
    for position in range(1, writes + 1):
        aws.created, aws.tags, aws.seen, aws.rows = None, {}, [], []
        killed_at(position)
        aws.rows = [{"id": {"S": "written"}}]
        aws.now += 60
        if RESTORING in aws.tags:
            ready(described(tags=tags)).finish()
        assert {*aws.tags} == wanted, position
        aws.now += 60


def test_an_existing_table_with_too_many_tags(aws: Nasty) -> None:
    """A table with no room for the tags of a restore is refused before anything is written."""
    aws.created = aws.now - 3600
    aws.change({f"tag-{number}": "v" for number in range(49)})
    aws.now += 60
    with pytest.raises(UsageError, match="49 tags"):
        ready(described())
    assert len(aws.tags) == 49


def test_tags_are_written_less_than_five_times_a_second(aws: Nasty) -> None:
    """Sixteen slices that end one after another do not exceed what AWS allows, with others writing
    tags too."""
    plain: Any = SimpleNamespace(call=aws.call)
    target = ready(described(), plain)
    before = aws.now
    for part in cut_names(16):
        target.record([part.finished()])
        aws.now += 0.05
    assert aws.now - before < 1  # nothing waited
    aws.now += 0.25
    target.record([part.finished()])
    aws.now += 0.25
    target.finish()
    assert max(sum(at <= each < at + 1 for each in aws.tagged) for at in aws.tagged) <= 5
    writes = [each["Tags"][0] for name, each in aws.calls if name == "tag_resource"]
    assert [tag["Value"] for tag in writes if tag["Key"] == DONE][-1] == "f" * 256


def test_slices_that_end_together_are_recorded_together(aws: Nasty) -> None:
    target = ready(described())
    for _ in range(3):
        target.record([each.finished() for each in cut_names(16)])
    assert len([name for name, _ in aws.calls if name == "tag_resource"]) == 1
    assert aws.tags[DONE] == "f" * 256


def test_slices_are_recorded_as_far_as_they_are_done(aws: Nasty) -> None:
    """A slice is recorded while it is being done, seldom, so that a resumed restore repeats little
    of a large table; what was recorded stays."""
    target = ready(described())
    first, second, *_ = cut_names(16)
    target.record([first.finished()])
    aws.now += 1
    target.record([second.reached("17ff" + "f" * 28)])
    assert aws.tags[DONE] == "0" * 240 + "f" * 16
    aws.now += 5
    target.record([second.reached("17ff" + "f" * 28)])
    aws.now += 5
    again = ready(described())
    assert again.resumed
    assert len(again.done) == 64 + 32
    assert again.done.left(16)[0] == NameSlice("18", "2")
    again.record([NameSlice("18", "2").finished()])
    aws.now += 5
    assert len(ready(described()).done) == 128


def test_a_restore_that_is_resumed_at_once(aws: Nasty) -> None:
    """A table that was created a moment ago does not show its tags yet: the same restore resumes
    it, and another one is refused."""
    ready(described())
    aws.rows = [{"id": {"S": "written"}}]
    assert ready(described()).resumed
    with pytest.raises(UsageError, match="another restore"):
        prepare(patient(), "copy", described(), "other", overwrite=False, stream=False)


def test_an_old_table_is_not_waited_for(aws: Nasty) -> None:
    aws.created = aws.now - 3600
    before = aws.now
    assert not ready(described()).resumed
    assert aws.now - before < 1


def test_a_lost_answer_to_create_table(aws: Nasty) -> None:
    """The table was created although the answer was lost: its tags say that it is this
    restore's."""
    aws.loses = {"create_table"}
    target = ready(described())
    assert target.resumed
    assert not target.had_rows


# Warm throughput


def creation(aws: Nasty) -> dict[str, Any]:
    return next(request for name, request in aws.calls if name == "create_table")


def test_warm_throughput(aws: Nasty) -> None:
    """A new on-demand table and each of its indexes take so many writes at once. Reads stay as they
    are for free."""
    ready(described(GlobalSecondaryIndexes=[INDEX]), warm_throughput=20_000)
    warm = {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 20_000}
    assert creation(aws)["WarmThroughput"] == warm
    assert [each["WarmThroughput"] for each in creation(aws)["GlobalSecondaryIndexes"]] == [warm]


def test_no_warm_throughput_unless_asked_for(aws: Nasty) -> None:
    """It costs money."""
    ready(described(GlobalSecondaryIndexes=[INDEX]))
    assert "WarmThroughput" not in creation(aws)
    assert "WarmThroughput" not in creation(aws)["GlobalSecondaryIndexes"][0]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"BillingModeSummary": {"BillingMode": "PROVISIONED"}}, "provisioned"),
        ({"OnDemandThroughput": {"MaxWriteRequestUnits": 10_000}}, "10,000"),
    ],
)
def test_a_table_that_cannot_be_warm(aws: Nasty, more: dict[str, Any], sentence: str) -> None:
    """A provisioned table, or one with a lower limit, is refused before it is created."""
    throughput = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    with pytest.raises(UsageError, match=sentence):
        ready(described(ProvisionedThroughput=throughput, **more), warm_throughput=20_000)
    assert aws.created is None


def test_warm_throughput_of_an_existing_table(aws: Nasty) -> None:
    """It is a setting of a new table: an existing one is refused, with the command that sets it. A
    restore that created its table is resumed."""
    ready(described(), warm_throughput=20_000)
    assert ready(described(), warm_throughput=20_000).resumed
    aws.tags, aws.seen, aws.created = {}, [], aws.now - 3600
    with pytest.raises(UsageError, match="copy exists") as found:
        ready(described(), warm_throughput=20_000)
    assert "--warm-throughput WriteUnitsPerSecond=20000" in found.value.hint
    assert RESTORING not in aws.tags


def test_reports_that_overtake_each_other(aws: Nasty) -> None:
    """Threads report how far a slice is in any order: an older report takes nothing back."""
    target = ready(described())
    first, second, third, *_ = cut_names(16)
    target.record([first.finished()])
    target.record([second.finished()])  # too early for another tag
    target.record([second.reached("10" + "f" * 30), second])
    aws.now += 1
    target.record([third.finished()])
    assert aws.tags[DONE] == "0" * (256 - 48) + "f" * 48
