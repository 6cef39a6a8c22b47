"""Draws the growth chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt


def draw(path: Path, counts: Sequence[int], rates: Mapping[str, Sequence[float]]) -> None:
    """Writes a PNG file with the rates in items per second, by name, at each of `counts` items."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, each in rates.items():
        axes.plot(counts, each, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xticks(list(counts), [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("items")
    axes.set_ylabel("items a second")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
