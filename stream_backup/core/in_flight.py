"""How many requests a process has under way at once: as many as make it faster, and fewer when a
service is busy.

S3 answers a request after 10 to 30 ms, so that many requests must be under way to keep a process
busy. More than it can keep up with only cost: their threads compete for the interpreter
(`docs/performance.md`, "Requests in flight"). Which number is right depends on the distance to the
service, on the machine, and on what else both have to do, so it is measured all the time.

The rule has two parts. The number is doubled while that makes the process faster, and from time to
time a number twice or half as large is tried. When a service refuses a request because it is busy,
the number is halved, as AWS asks for (Amazon S3 User Guide, "Best practices design patterns:
optimizing Amazon S3 performance", "503 Slow Down").
"""

from dataclasses import dataclass, field

FEWEST, FIRST, MOST = 16, 64, 512
"""Requests in flight at least, at first, and at most."""

GAIN, LOSS = 1.15, 1.05
"""A number that is twice the present one is better if it is GAIN times as fast, and half of it is
if the present one is at most LOSS times as fast. In between, the number stays: several small losses
in a row would be a large one."""

PERIOD = 0.25
"""Seconds for which a number is measured at least."""

FIRST_REST, REST = 1.0, 10.0
"""Seconds for which a number stays once another one has turned out to be worse: few at first, in
case that was due to something else on the machine, and twice as many each time."""


@dataclass(slots=True)
class InFlight:
    """`number` pieces of work are to be under way at once, each of which makes one request after
    another. It is at most `most`. Times are in seconds of any clock that goes on."""

    most: int = MOST
    number: int = field(init=False)
    _other: tuple[int, float] | None = field(default=None, init=False)
    _grows: bool = field(default=True, init=False)
    _pause: float = field(default=FIRST_REST, init=False)
    _quiet_until: float = field(default=float("-inf"), init=False)
    _since: float = field(default=0.0, init=False)
    _pieces: int = field(default=0, init=False)
    _seconds: float = field(default=0.0, init=False)
    _refused: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.most = max(1, min(self.most, MOST))
        self.number = min(FIRST, self.most)

    def finished(self, began: float, ended: float) -> None:
        """Notes a piece of work that began, with `number` of them under way, since `number` was
        last changed. Work that began when fewer were under way says nothing about this number."""
        self._pieces += 1
        pieces = self._pieces - self.number
        if pieces <= 0:  # as many more as there are new threads, which open their connections first
            self._since = ended
            return
        self._seconds += ended - began
        if pieces >= self.number and ended - self._since >= PERIOD:
            # Each of `number` threads does one piece in the mean duration of a piece.
            self._measured(self.number * pieces / max(self._seconds, 1e-9), ended)

    def refused(self, now: float) -> None:
        """Halves the number, because a service has refused a request as it was busy. What else it
        refuses until the new number has been measured is due to the old one."""
        if not self._refused:
            self._rest(self.number // 2, now, grows=True)
            self._refused = True

    def bound(self, most: int) -> None:
        """Lowers the limit, because this machine allows no more."""
        self.most = most
        self._change(self.number)

    def _measured(self, rate: float, now: float) -> None:
        """Decides what follows, from the rate at the present number: pieces a second."""
        self._refused = False
        if now < self._quiet_until:
            self._change(self.number)
        elif self._other is None or self._is_better(rate, *self._other):
            self._go_on(rate, now)
        else:
            self._rest(self._other[0], now, grows=not self._grows)

    def _is_better(self, rate: float, number: int, other: float) -> bool:
        """Whether the present number is better than another one with another rate."""
        return rate >= GAIN * other if self.number > number else LOSS * rate >= other

    def _go_on(self, rate: float, now: float) -> None:
        """Tries the next number in the same direction, or in the other one at the end."""
        at_end = self.number == (self.most if self._grows else self._fewest)
        if at_end and self._other:
            self._rest(self.number, now, grows=not self._grows)
            return
        self._grows ^= at_end
        self._other = self.number, rate
        self._change(2 * self.number if self._grows else self.number // 2)

    def _rest(self, number: int, now: float, *, grows: bool) -> None:
        """Keeps a number for a while, and then tries a larger or a smaller one."""
        self._change(number)
        self._other, self._grows, self._quiet_until = None, grows, now + self._pause
        self._pause = min(2 * self._pause, REST)

    @property
    def _fewest(self) -> int:
        return min(FEWEST, self.most)

    def _change(self, number: int) -> None:
        self.number = max(self._fewest, min(self.most, number))
        self._pieces, self._seconds = 0, 0.0
