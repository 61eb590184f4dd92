"""ETTh1: hours of a transformer, standardised by the first 8,640, which are the training data."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from commands import DATA

HOURS = DATA / "forecasting" / "etth1" / "ETTh1.csv.gz"
TRAIN, VALID, TEST = 8640, 11520, 14400  # where the parts end


class Hours(NamedTuple):
    """names: of the C variables. times: (14400,). values: (14400, C) standardised by the training data."""

    names: list[str]
    times: list[str]
    values: np.ndarray

    def write(self, path: Path, present: np.ndarray | None = None) -> Path:
        """As CSV, the rows that are present."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["date", *self.names])
            for index, (moment, row) in enumerate(zip(self.times, self.values, strict=True)):
                if present is None or present[index]:
                    writer.writerow([moment, *(f"{value:.9g}" for value in row)])
        return path


def hours() -> Hours:
    with gzip.open(HOURS, "rt") as file:
        rows = list(csv.reader(file))
    values = np.array([row[1:] for row in rows[1 : TEST + 1]], np.float64)
    scaled = (values - values[:TRAIN].mean(0)) / values[:TRAIN].std(0)
    return Hours(rows[0][1:], [row[0] for row in rows[1 : TEST + 1]], scaled)
