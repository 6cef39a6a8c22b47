"""Draws docs/scale.png: the duration of each job by the number of rows, with each fleet."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from bench.scale.outcome import Outcome

HOURS = {1 / 60: "1 min", 1: "1 hour", 24: "1 day", 24 * 30: "1 month", 24 * 365: "1 year"}


def digest(outcomes: Sequence[Outcome]) -> str:
    """Returns the digest of what the chart shows. It is in the file, so that a chart that is out of
    date is found without drawing it."""
    shown = "\n".join(
        f"{each.job} {each.fleet} {each.rows:.0f} {each.seconds:.3g}" for each in outcomes
    )
    return sha256(shown.encode()).hexdigest()


def is_current(path: Path, outcomes: Sequence[Outcome]) -> bool:
    """Whether the PNG file shows these outcomes."""
    return path.exists() and digest(outcomes).encode() in path.read_bytes()


def draw(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes the PNG file. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    jobs, fleets = (
        list(dict.fromkeys(getattr(each, name) for each in outcomes)) for name in ("job", "fleet")
    )
    figure, panels = plt.subplots(
        1, len(jobs), figsize=(12, 4.5), sharey=True, layout="constrained"
    )
    for panel, job in zip(panels, jobs, strict=True):
        for fleet in fleets:
            line = [each for each in outcomes if (each.job, each.fleet) == (job, fleet)]
            rows, hours = [each.rows for each in line], [each.seconds / 3600 for each in line]
            dashes = "--" if fleet.startswith("map") else "-"
            panel.plot(rows, hours, dashes, marker="o", markersize=3, label=fleet)
        panel.set(title=job, xscale="log", yscale="log", xlabel="rows")
        panel.grid(alpha=0.3)
    panels[0].set_yticks(list(HOURS), list(HOURS.values()))
    panels[0].minorticks_off()
    panels[-1].legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Description": digest(outcomes)})
