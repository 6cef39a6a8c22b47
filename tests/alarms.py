"""CloudWatch's part of an alarm, as far as the simple alarms of the template need it: datapoints of
a metric, and the state of an alarm as the template defines it.

When datapoints are missing, CloudWatch looks further back than the evaluation periods (Amazon
CloudWatch User Guide, "Configuring how CloudWatch alarms treat missing data"). It does not document
how far, so `look_back` is a parameter: the number of additional periods.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from tests import sam

STATISTICS: dict[str, Callable[[list[float]], float]] = {"Maximum": max, "Sum": sum}


class Datapoint(NamedTuple):
    at: int
    namespace: str
    metric: str
    dimensions: frozenset[tuple[str, str]]
    value: float


def embedded(text: str, at: int) -> Iterator[Datapoint]:
    """Yields the datapoints that CloudWatch reads from a log with embedded metrics."""
    for line in text.splitlines():
        if not line.startswith('{"_aws"'):
            continue
        found = json.loads(line)
        for group in found["_aws"]["CloudWatchMetrics"]:
            for names in group["Dimensions"]:
                dimensions = frozenset((name, found[name]) for name in names)
                for metric in group["Metrics"]:
                    name = metric["Name"]
                    yield from (
                        Datapoint(at, group["Namespace"], name, dimensions, value)
                        for value in found[name]
                    )


_template = cache(sam.template)


@dataclass(frozen=True)
class Alarm:
    """An alarm of the template, deployed with these parameters as the stack of this name."""

    name: str
    stack: str = "stream-backup"
    parameters: dict[str, Any] = field(default_factory=dict)

    def is_raised(self, points: list[Datapoint], now: int, look_back: int) -> bool:
        """Returns whether the alarm is in the state ALARM at `now`. One that ignores missing data
        has the state that the last datapoints gave it, whenever that was."""
        template = _template()
        properties = template["Resources"][self.name]["Properties"]
        wanted = frozenset(
            (each["Name"], self._resolved(template, each["Value"]))
            for each in properties["Dimensions"]
        )
        mine = [
            point
            for point in points
            if (point.namespace, point.metric, point.dimensions)
            == (properties["Namespace"], properties["MetricName"], wanted)
        ]
        assert properties["ComparisonOperator"] == "GreaterThanThreshold"
        threshold = float(self._resolved(template, properties["Threshold"]))
        period, number = properties["Period"], properties["EvaluationPeriods"]
        if properties["TreatMissingData"] == "ignore" and mine:
            now = max(point.at for point in mine)
        breaching = []
        for index in range(number + look_back):
            until = now - index * period
            values = [point.value for point in mine if until - period < point.at <= until]
            if values:
                breaching.append(STATISTICS[properties["Statistic"]](values) > threshold)
        missing = [properties["TreatMissingData"] == "breaching"] * max(0, number - len(breaching))
        judged = breaching[:number] + missing
        needed: int = properties.get("DatapointsToAlarm", number)
        return sum(judged) >= needed

    def _resolved(self, template: dict[str, Any], value: Any) -> Any:
        match value:
            case {"Ref": "AWS::StackName"}:
                return self.stack
            case {"Ref": name}:
                return self.parameters.get(name, template["Parameters"][name]["Default"])
        return value
