"""The part of an incident that finds out what happened: it asks until the seconds and the items of
the damage are known, and writes nothing."""

import json
import re
from collections.abc import Sequence

from stream_backup.cli.console import say
from stream_backup.cli.diff import diff
from stream_backup.cli.diff_report import DiffReport, key_text
from stream_backup.cli.incident_report import IncidentReport
from stream_backup.cli.incident_ways import IncidentDamage
from stream_backup.cli.input import parse_when
from stream_backup.cli.questions import ask, yes_or_no
from stream_backup.cli.steps import Steps
from stream_backup.cli.timeline import timeline
from stream_backup.cli.timeline_report import TimelineReport
from stream_backup.core.moment import iso
from stream_backup.errors import UsageError
from stream_backup.inspect.shapes import Shape
from stream_backup.inspect.where import Where

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SIMPLE = re.compile(r"[A-Za-z0-9_ .-]*")


def find_damage(steps: Steps, report: IncidentReport, earliest: int) -> IncidentDamage:
    """Shows the last day, and asks for the seconds and the items of the damage. `earliest` is the
    first exact second. Raises what `ask` and the commands raise."""
    shown: TimelineReport = steps.run(timeline).report
    while True:
        shown = _window(steps, shown, earliest, shown.found.until)
        total = shown.found.total
        first, last = shown.found.since, shown.found.until
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in total._asdict().items())
        report.window = f"{total.total:,} changes from {iso(first)} to {iso(last)}: {kinds}."
        damage = _items(steps, report, IncidentDamage(first - 1, last))
        if damage:
            plan = steps.text("undo", *damage.window, *damage.items, "--plan")
            report.resume = f"To go on from here: {plan}"
            return damage
        say("Nothing differs between these two moments. Choose other seconds.")


def _window(steps: Steps, shown: TimelineReport, earliest: int, latest: int) -> TimelineReport:
    """Asks for the first and the last second of the damage, and returns their timeline."""
    now = int(steps.clock())
    while True:
        first, last = shown.found.busiest() or (None, None)
        say("", "Which seconds hold the damage? Enter takes those of the most changes.")
        since = ask(
            "First second of the damage",
            lambda typed: _moment(typed, now, earliest + 1, latest),
            "" if first is None else iso(max(first, earliest + 1)),
        )
        until = ask(
            "Last second of the damage",
            lambda typed, since=since: _moment(typed, now, since, latest),  # type: ignore[misc]
            "" if last is None else iso(min(max(last, since), latest)),
        )
        closer: TimelineReport = steps.run(
            timeline, "--since", iso(since), "--until", iso(until)
        ).report
        if not closer.found.total.total:
            say("Nothing changed in these seconds. Choose others.")
            continue
        if ask("Are these the seconds of the damage? n chooses again. [y/n]", yes_or_no):
            return closer
        shown = closer


def _items(steps: Steps, report: IncidentReport, damage: IncidentDamage) -> IncidentDamage | None:
    """Shows what differs, and asks which of it is the damage. Returns None where nothing differs.

    An expression is asked for again until it matches something.
    """
    every: DiffReport = steps.run(diff, *damage.window).report
    if not every.shapes:
        return None
    report.resume = f"To go on from here: {steps.text('undo', *damage.window, '--plan')}"
    example = example_of(every.shapes)
    question = "Enter for all items, or an expression for --where"
    question += f", such as {example}" if example else ""
    while True:
        say("", "An undo takes back all of this, good changes too, unless you choose items.")
        where, found = ask(question, _expression), every
        if where:
            found = steps.run(diff, *damage.window, "--where", where).report
            if not found.shapes:
                say("No item matches this expression.")
                continue
            if not ask("Are these the damaged items? n chooses again. [y/n]", yes_or_no):
                continue
        report.shapes, report.where = found.lines, where
        keys = [key_text(shape.key) for shape in found.shapes]
        return IncidentDamage(damage.before, damage.until, where or None, keys)


def _moment(typed: str, now: int, first: int, last: int) -> int:
    """Returns the moment that was typed, from `first` to `last`. Raises UsageError."""
    moment, note = parse_when(typed, now)
    if note:
        say(note)
    if not first <= moment <= last:
        raise UsageError(
            f"{iso(moment)} cannot be chosen.", f"Choose a second from {iso(first)} to {iso(last)}."
        )
    return moment


def _expression(typed: str) -> str:
    if typed:
        Where(typed)
    return typed


def example_of(shapes: Sequence[Shape]) -> str:
    """Returns an expression that chooses the items of the first shape, "" where that is not simple
    to say."""
    for path, _, new in shapes[0].changes:
        try:
            value = json.loads(new)
        except ValueError:
            continue
        if _NAME.fullmatch(path) and isinstance(value, str) and _SIMPLE.fullmatch(value):
            return f"after.{path} == '{value}'"
    return ""
