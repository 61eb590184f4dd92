"""Frequencies told from times, counted in and continued; the calendar's features."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from gatework.data import Frequency, calendar_cycles, calendar_features, next_times, season_length
from gatework.data.frequency import infer_frequency, typical_frequency
from gatework.errors import InputError

FIRST = np.array([0])
NAMES = (
    "250ms",
    "s",
    "10s",
    "min",
    "15min",
    "h",
    "6h",
    "D",
    "B",
    "W",
    "2W",
    "MS",
    "ME",
    "3MS",
    "3ME",
    "YS",
    "YE",
)


def times(alias: str, count: int = 40) -> np.ndarray:
    return (
        pandas.date_range("2023-01-31 00:00", periods=count, freq=alias).to_numpy().astype("datetime64[us]")
    )


@pytest.mark.parametrize("alias", NAMES)
def test_a_frequency_is_found_with_gaps_and_continued_as_pandas_does(alias: str) -> None:
    every = times(alias)
    kept = np.delete(every, [3, 4, 10, 20, 21, 22, 37])
    found = infer_frequency(kept, FIRST)
    assert found is not None
    assert str(found) == alias
    assert Frequency.parse(str(found)) == found
    assert Frequency.parse(alias) == found
    steps, off = found.steps(every, every[0])
    assert steps.tolist() == list(range(40))
    assert not off.any()
    np.testing.assert_array_equal(found.at(every[0], steps), every)
    np.testing.assert_array_equal(next_times(every[20], 19, found), every[21:])
    shifted = every + np.timedelta64(1, "us")
    assert found.steps(shifted, every[0])[1].all()


def test_series_share_a_frequency_and_not_its_phase() -> None:
    one, other = times("h"), times("h") + np.timedelta64(20, "m")
    both = np.concatenate([one, other[:7]])
    assert str(infer_frequency(both, np.array([0, 40]))) == "h"
    assert infer_frequency(np.concatenate([times("D"), times("h")]), np.array([0, 40])) is None
    assert infer_frequency(one[:1], FIRST) is None


def test_irregular_times_have_no_frequency_but_a_usual_distance() -> None:
    every = times("h", 200)
    jitter = every + np.random.default_rng(0).integers(0, 1000, 200).astype("timedelta64[s]")
    assert infer_frequency(jitter, FIRST) is None
    office = np.concatenate([day + np.arange(9, 13) * np.timedelta64(1, "h") for day in times("B", 30)])
    assert infer_frequency(office, FIRST) is None
    found = typical_frequency(office, FIRST, "observed")
    assert (str(found), found.words) == ("observed:h", "hour")
    assert Frequency.parse(str(found)) == found
    assert str(typical_frequency(np.delete(times("B"), [5, 9]), FIRST, "observed")) == "observed:B"


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("H", "h"),
        ("5T", "5min"),
        ("half_hourly", "30min"),
        ("4_seconds", "4s"),
        ("W-MON", "W"),
        ("QS-OCT", "3MS"),
        ("Daily", "D"),
        ("2A", "2Y"),
    ],
)
def test_other_names(name: str, same: str) -> None:
    assert str(Frequency.parse(name)) == same
    assert Frequency.parse(same) == Frequency.parse(name)


def test_unknown_names() -> None:
    for name in ("hr", "0D", "", "fortnight", "-1h", "1.5h"):
        with pytest.raises(InputError, match="is no frequency"):
            Frequency.parse(name)


def test_days_of_months_that_others_do_not_have() -> None:
    month = Frequency.parse("monthly")
    begin = np.datetime64("2024-01-30", "us")
    following = month.at(begin, np.arange(4))
    assert np.datetime_as_string(following, "D").tolist() == [
        "2024-01-30",
        "2024-02-29",
        "2024-03-30",
        "2024-04-30",
    ]
    assert month.steps(following, begin)[0].tolist() == [0, 1, 2, 3]
    assert not month.steps(following, begin)[1].any()
    assert str(month.settled(times("ME"))) == "ME"
    assert str(month.settled(times("MS"))) == "MS"


def test_calendar() -> None:
    hours = np.array(["2024-01-01T00", "2024-01-01T06", "2024-01-07T18", "2024-07-01T12"], "datetime64[us]")
    cycles = calendar_cycles(Frequency("h"))
    assert cycles == ("day", "week", "month", "year")
    assert calendar_cycles(Frequency("h"), np.timedelta64(365 * 24 + 1, "h")) == ("day", "week", "month")
    assert calendar_cycles(Frequency("h"), np.timedelta64(47, "h")) == ()
    names = [f"{cycle}_{wave}" for cycle in cycles for wave in ("sin", "cos")]
    table = dict(zip(names, calendar_features(hours, cycles).T, strict=True))
    np.testing.assert_array_equal(table["day_sin"].round(6), [0, 1, -1, 0])
    np.testing.assert_array_equal(table["day_cos"].round(6), [1, 0, 0, -1])
    week = 2 * np.pi * np.array([0, 6, 6 * 24 + 18, 12]) / (7 * 24)  # from Monday
    np.testing.assert_array_equal(table["week_sin"].round(6), np.sin(week).astype(np.float32).round(6))
    year = 2 * np.pi * np.array([0, 6, 6 * 24 + 18, 182 * 24 + 12]) / (366 * 24)
    np.testing.assert_array_equal(table["year_cos"].round(6), np.cos(year).astype(np.float32).round(6))
    shapes = {"s": 4, "15min": 4, "h": 4, "D": 3, "B": 3, "W": 1, "MS": 1, "QS": 1, "YS": 0}
    for name, count in shapes.items():
        found = calendar_cycles(Frequency.parse(name))
        assert len(found) == count, name
        assert calendar_features(times("D"), found).shape == (40, 2 * count), name
    seasons = {
        "s": 3600,
        "15min": 96,
        "h": 24,
        "6h": 4,
        "5h": 1,
        "D": 7,
        "B": 5,
        "W": 52,
        "MS": 12,
        "QS": 4,
        "YS": 1,
    }
    assert {name: season_length(Frequency.parse(name)) for name in seasons} == seasons
