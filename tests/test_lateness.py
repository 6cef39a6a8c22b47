"""Announced lateness: what readers pass over because of it is never what they look for."""

from hypothesis import event, given
from hypothesis import strategies as st

from tests.late import HOUR, NOON, Late
from tests.profiles import histories

SECONDS = [0.0, 0.3, 1.0, 4.0, 6.0, 60.0, 115.0, 121.0, 170.0, 181.0, 295.0, 306.0, 600.0, 1800.0]
gaps = st.sampled_from([*SECONDS, HOUR - 1.0, HOUR + 1.0, 2.5 * HOUR])
within = st.sampled_from([60.0, 100.0, 110.0, 115.0, 119.0])
"""Seconds that a put may take without further notice."""

skews = st.sampled_from([(0.0, 0.0), (0.0, 0.0), (2.5, 2.5), (-2.5, -2.5), (2.5, -2.5), (2.5, 0.0)])
few = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 99])
which = st.integers(0, 99)
acts = st.one_of(
    st.tuples(st.just("change"), st.integers(0, 1), st.integers(-2, 3), gaps),
    st.tuples(st.just("write"), st.integers(0, 1), few, gaps),
    st.tuples(st.just("write"), st.integers(0, 1), st.just(99), gaps),
    st.tuples(st.just("step"), which, few, gaps),
    st.tuples(st.just("step"), which, few, gaps),
    st.tuples(st.just("kill"), which, few, gaps),
    st.tuples(st.just("slow"), st.integers(0, 1), few, st.one_of(gaps, within)),
    st.tuples(st.just("slow"), st.integers(0, 1), st.integers(1, 4), within),
    st.tuples(st.just("slow and killed"), st.integers(0, 1), few, gaps),
    st.tuples(st.just("edge"), which, few, st.sampled_from([119.0, 110.0, 60.0, 6.0, 4.0, 1.0])),
    st.tuples(st.just("edge"), which, few, st.sampled_from([119.0, 110.0, 60.0, 6.0, 4.0, 1.0])),
    st.tuples(st.just("fail"), st.integers(0, 3), few, gaps),
    st.tuples(st.just("rewrite"), which, st.integers(0, 1), gaps),
    st.tuples(st.just("read"), which, few, gaps),
    st.tuples(st.just("finish"), which, few, gaps),
)


def run(late: Late, drawn: list[tuple[str, int, int, float]], *, kills: bool) -> None:
    for act, one, two, gap in drawn:
        processes = late.processes
        if act.startswith("slow") and len(processes) < 4:
            process = late.write(one, 3)
            late.step(process, two)
            late.now += gap
            late.step(process, 1)
            if act == "slow and killed" and kills:
                late.kill(process)
            continue
        if act == "edge":
            late.now += -late.now % HOUR - gap if -late.now % HOUR > gap else 0.0
            continue
        late.now += gap
        if act == "change":
            late.change(one, None if two < 0 else str(two))
        elif act == "write" and len(processes) < 4:
            late.step(late.write(one, 3), two)
        elif act == "rewrite" and one < len(late.made[: late.delivered]):
            late.step(late.rewrite(one, two), 2)
        elif act == "read":
            late.step(late.read(), two)
        elif act == "fail":
            late.failing = 0.3 if kills and one < 2 else 0.0
        elif act == "finish":
            late.finish()
        elif processes and act == "step":
            late.step(processes[one % len(processes)], two)
        elif processes and act == "kill" and kills:
            late.kill(processes[one % len(processes)])
    late.failing = 0.0
    late.finish()
    while late.delivered < len(late.made):
        late.step(late.write(0, 99), 10_000)
        late.now += 7.0
    late.look()


@histories(1500)
@given(
    seed=which,
    before=st.sampled_from([0, 1, 4, 6, 100, 121, 300, 1000]),
    skew=skews,
    drawn=st.lists(acts, min_size=6, max_size=40),
)
def test_no_covered_moment_is_wrong(
    seed: int, before: int, skew: tuple[float, float], drawn: list[tuple[str, int, int, float]]
) -> None:
    """Laws 5 and 7: whoever writes late, stands still between any two requests, or is killed, a
    reader that relies on what was announced gives every covered second as it was."""
    late = Late(seed, NOON - before, *skew)
    try:
        run(late, drawn, kills=True)
    finally:
        for process in late.processes:
            process.kill()
    event(f"answers {min(late.answers, 50) // 10 * 10}, doubted {bool(late.doubted)}")


@histories(400)
@given(
    seed=which,
    before=st.sampled_from([0, 1, 4, 6, 100, 121, 300, 1000]),
    skew=skews,
    drawn=st.lists(acts, min_size=6, max_size=40),
)
def test_writers_that_live_contradict_nothing(
    seed: int, before: int, skew: tuple[float, float], drawn: list[tuple[str, int, int, float]]
) -> None:
    """Once every writer came to its end and none was killed, no version contradicts what was
    announced."""
    late = Late(seed, NOON - before, *skew)
    try:
        run(late, drawn, kills=False)
        late.doubted = 0
        late.look()
        assert not late.doubted
    finally:
        for process in late.processes:
            process.kill()
