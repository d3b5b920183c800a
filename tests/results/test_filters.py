"""``key=value`` filters over the fields of runs."""

from __future__ import annotations

import pytest

from multibench.errors import SuiteError
from multibench.results.filters import parse_filter

FIELDS = ["checkpoint", "family", "learning_rate", "pretraining_seed", "step", "drop_last"]
RUN = {
    "checkpoint": "google/multiberts-seed_3",
    "family": "multiberts",
    "learning_rate": 2e-5,
    "pretraining_seed": None,
    "step": 2_000_000,
    "drop_last": False,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "family=multiberts",
        " family = multiberts , step = 2000000 ",
        "step=2e6",
        "learning_rate=0.00002",
        "learning_rate=3e-5|2e-5",
        "pretraining_seed=none",
        "pretraining_seed=unknown",
        "drop_last=false",
        "checkpoint=google/multiberts-seed_3",
    ],
)
def test_accepted(text: str) -> None:
    assert parse_filter(text, FIELDS).accepts(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "family=multibert",
        "family=Multiberts",
        "family=multiberts,step=20000",
        "step=many",
        "pretraining_seed=0",
        "drop_last=true",
        "drop_last=0",
    ],
)
def test_not_accepted(text: str) -> None:
    assert not parse_filter(text, FIELDS).accepts(RUN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("family", "key=value"),
        ("family=", "key=value"),
        ("familly=x", "did you mean 'family'"),
        ("colour=red", "known: checkpoint, family"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    with pytest.raises(SuiteError, match=expected):
        parse_filter(text, FIELDS)
