"""The state machines of the template, executed in this process by the rules of AWS that the
emulator does not have: how much a state may return, how many children run at once, which share of
them may fail, and in which order a retrier is chosen (Amazon States Language; AWS Step Functions
Developer Guide, "Quotas" and "Using Map state in Distributed mode").

Whatever a definition uses that is not known here is an error, not ignored.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PAYLOAD = 256 * 1024
"""Bytes that a state may take and return at most."""

HISTORY = 25_000
"""Events of an execution at most."""

Function = Callable[[dict[str, Any]], Any]


class StatesError(Exception):
    """The error that ended a state: its name and its cause."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name, self.cause = name, cause


class AbortedError(Exception):
    """StopExecution was called."""


KNOWN = {
    "Map": {
        *("ItemReader", "ItemSelector", "MaxConcurrencyPath", "ToleratedFailurePercentage"),
        *("ItemProcessor", "ResultSelector", "ResultPath", "Catch", "Next", "Type"),
    },
    "Task": {
        *("Resource", "Parameters", "ResultSelector", "ResultPath", "OutputPath", "Retry", "Next"),
        *("End", "TimeoutSeconds", "Type"),
    },
    "Choice": {"Choices", "Default", "Type"},
    "Succeed": {"Type"},
    "Fail": {"Error", "Cause", "Type"},
}


@dataclass
class Run:
    """One execution. `functions` are called by ARN; `read` returns an object of the work bucket.
    `rounds` has the items of each map run, `at_once` the greatest number of children at once that
    it allowed, and `waits` the seconds of each retry before jitter."""

    definition: Mapping[str, Any]
    functions: Mapping[str, Function]
    read: Callable[[str, str], Any]
    rounds: list[list[Any]] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    events: int = 0

    def execute(self, given: Any) -> str:
        """Returns the status with which the execution ends."""
        name = self.definition["StartAt"]
        while True:
            state = self.definition["States"][name]
            kind = state["Type"]
            assert set(state) <= KNOWN[kind], set(state) - KNOWN[kind]
            self.events += 20
            assert self.events < HISTORY
            _check(given)
            match kind:
                case "Succeed":
                    return "SUCCEEDED"
                case "Fail":
                    return "FAILED"
                case "Choice":
                    name = _choose(state, given)
                    continue
            work = self._map if kind == "Map" else self._task
            try:
                given = work(state, given)
                name = state["Next"]
            except StatesError as error:
                catcher = next(iter(state.get("Catch", [])), None)
                if catcher is None:
                    return "FAILED"
                assert catcher["ErrorEquals"] == ["States.ALL"]
                caught = {"Error": error.name, "Cause": error.cause}
                given, name = _put(given, catcher["ResultPath"], caught), catcher["Next"]
            _check(given)

    def _task(self, state: Mapping[str, Any], given: Any, context: Any = None) -> Any:
        assert state["Resource"].endswith(":states:::lambda:invoke")
        parameters = _fill(state["Parameters"], given, context)
        _check(parameters["Payload"])
        answer = {"Payload": self._invoke(state, parameters), "StatusCode": 200}
        _check(answer)
        result = _fill(state["ResultSelector"], answer) if "ResultSelector" in state else answer
        whole = _put(given, state["ResultPath"], result) if "ResultPath" in state else result
        return _get(whole, state.get("OutputPath", "$"))

    def _invoke(self, state: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
        """Calls the function until it answers, as often as the first retrier allows that has the
        name of its error. Each retrier counts for itself."""
        counts: dict[int, int] = {}
        while True:
            try:
                function = self.functions[parameters["FunctionName"]]
                return json.loads(
                    json.dumps(function(json.loads(json.dumps(parameters["Payload"]))))
                )
            except AbortedError:
                raise
            except Exception as error:
                name = type(error).__name__
                found = next(
                    (
                        (number, each)
                        for number, each in enumerate(state.get("Retry", []))
                        if {name, "States.ALL"} & {*each["ErrorEquals"]}
                    ),
                    None,
                )
                if found is None or counts.get(found[0], 0) >= found[1].get("MaxAttempts", 3):
                    raise StatesError(name, str(error)) from error
                number, retrier = found
                tried = counts.get(number, 0)
                wait = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** tried
                assert retrier["JitterStrategy"] == "FULL"
                self.waits.append(min(wait, retrier["MaxDelaySeconds"]))
                counts[number] = tried + 1

    def _map(self, state: Mapping[str, Any], given: Any) -> Any:
        processor = state["ItemProcessor"]
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        reader = state["ItemReader"]
        assert reader["Resource"].endswith(":states:::s3:getObject")
        assert reader["ReaderConfig"] == {"InputType": "JSON"}
        where = _fill(reader["Parameters"], given)
        items = self.read(where["Bucket"], where["Key"])
        assert isinstance(items, list)
        self.rounds.append(items)
        at_once = _get(given, state["MaxConcurrencyPath"])
        assert isinstance(at_once, int)
        assert at_once >= 1, "0 is no limit"
        self.at_once.append(at_once)
        results, failed = [], 0
        for index, item in enumerate(items):
            context = {"Map": {"Item": {"Index": index, "Value": item}}}
            child = _fill(state["ItemSelector"], given, context)
            (step,) = processor["States"].values()
            assert step["End"] is True
            try:
                results.append(self._task(step, child))
            except StatesError:
                failed += 1
                if failed * 100 > state["ToleratedFailurePercentage"] * len(items):
                    raise StatesError(
                        "States.ExceedToleratedFailureThreshold",
                        "The specified tolerated failure threshold was exceeded",
                    ) from None
        _check(results)
        return _put(given, state["ResultPath"], _fill(state["ResultSelector"], results))


def _check(value: Any) -> None:
    size = len(json.dumps(value).encode())
    if size > PAYLOAD:
        raise AssertionError(f"States.DataLimitExceeded: {size} bytes")


def _choose(state: Mapping[str, Any], given: Any) -> str:
    for choice in state["Choices"]:
        if _get(given, choice["Variable"]) == choice["StringEquals"]:
            return str(choice["Next"])
    return str(state["Default"])


def _get(value: Any, path: str, context: Any = None) -> Any:
    if path.startswith("$$."):
        return _get(context, path[1:])
    if path == "$":
        return value
    found = re.fullmatch(r"\$((?:\.\w+)+)", path)
    assert found, path
    for name in found[1][1:].split("."):
        assert name in value, f"States.ParameterPathFailure: {path} in {value}"
        value = value[name]
    return value


def _put(value: Any, path: str, result: Any) -> Any:
    found = re.fullmatch(r"\$\.(\w+)", path)
    assert found, path
    return {**value, found[1]: result}


def _fill(template: Any, given: Any, context: Any = None) -> Any:
    if not isinstance(template, dict):
        return template
    filled = {}
    for name, value in template.items():
        if not name.endswith(".$"):
            filled[name] = _fill(value, given, context)
        elif value == "States.ArrayLength($)":
            filled[name[:-2]] = len(given)
        else:
            filled[name[:-2]] = _get(given, value, context)
    return filled
