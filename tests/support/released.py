"""Prediction files in the layout of Google's release, with seed and example effects that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multibench.exchange.layout import INDEX, file_name, table_of
from multibench.tasks import find_task

RATES = ("2e-05", "3e-05", "4e-05", "5e-05")
# What each rate adds to a run's skill: the best is 3e-5 at 1M steps and 2e-5 at 2M steps, as published.
_RATE_EFFECTS = {
    "1M": {"2e-05": 0.03, "3e-05": 0.10, "4e-05": 0.05, "5e-05": 0.0},
    "2M": {"2e-05": 0.10, "3e-05": 0.06, "4e-05": 0.03, "5e-05": 0.0},
}


@dataclass(frozen=True, eq=False)
class Release:
    """What was written: ``labels`` ``(n,)`` as the release numbers them, ``scores`` ``(runs, n, classes)``.

    ``rows`` are those of the index, in the order of ``scores``.
    """

    folder: Path
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    rows: tuple[dict[str, str], ...]

    def where(self, **wanted: str) -> NDArray[np.int64]:
        """The runs whose rows have these cells."""
        found = [i for i, row in enumerate(self.rows) if all(row[k] == v for k, v in wanted.items())]
        return np.array(found, dtype=np.int64)

    def accuracies(self) -> NDArray[np.float64]:
        """Of each run."""
        return np.asarray((self.scores.argmax(axis=2) == self.labels).mean(axis=1))


def mnli_labels(rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels with the released counts: 0 contradiction, 1 entailment, 2 neutral."""
    counts = find_task("mnli").splits["dev_matched"].histogram
    assert counts is not None
    numbers = [counts[name] for name in ("contradiction", "entailment", "neutral")]
    return rng.permutation(np.repeat(np.arange(3), numbers))


def write_release(
    folder: Path,
    labels: NDArray[np.int64],
    seeds: dict[str, Sequence[int]],
    rates: Sequence[str] = RATES,
    finetuning_seeds: int = 5,
    task: str = "MNLI",
    seed: int = 0,
) -> Release:
    """``index.tsv``, ``TASK_dev_labels`` and a file a run: ``seeds`` of pretraining for each number of steps.

    The margin of the right class is the sum of an example's ease, what the pretraining seed finds easy beyond that,
    the skill of steps, rate and run, and noise; so runs of one seed agree more than others.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    rng = np.random.default_rng(seed)
    n, classes = len(labels), int(labels.max()) + 1
    ease = rng.normal(1.25, 1.0, n)
    # A pretraining seed's own skill, and which examples it finds easy.
    everyone = sorted({k for numbers in seeds.values() for k in numbers})
    pretraining = {k: (rng.normal(0, 0.05), rng.normal(0, 0.35, n)) for k in everyone}
    rows: list[dict[str, str]] = []
    scores: list[NDArray[np.float64]] = []
    (folder / task).mkdir(parents=True)
    for steps, numbers in seeds.items():
        for k in numbers:
            for rate in rates:
                for finetuning in range(finetuning_seeds):
                    skill, taste = pretraining[k]
                    skill += _RATE_EFFECTS[steps][rate] + rng.normal(0, 0.02) + 0.05 * (steps == "2M")
                    given = rng.normal(0, 0.5, (n, classes))
                    given[np.arange(n), labels] += ease + taste + skill
                    scores.append(np.round(given, 4))
                    row = {
                        "task": task,
                        "pretrain_id": str(k),
                        "n_steps": steps,
                        "lr": rate,
                        "ft_seed": str(finetuning),
                        "release": "multiberts",
                    }
                    rows.append({**row, "file": file_name(row, "tsv")})
                    table = pa.table(
                        [pa.array(column) for column in scores[-1].T.copy()], names=list("abc")[:classes]
                    )
                    options = pc.WriteOptions(include_header=False, delimiter="\t")
                    pc.write_csv(table, folder / rows[-1]["file"], options)
    # The released index is in no order, and so is this one.
    order = rng.permutation(len(rows)).tolist()
    (folder / "index.tsv").write_bytes(table_of(INDEX, [rows[i] for i in order]))
    (folder / f"{task}_dev_labels").write_text("".join(f"{label}\n" for label in labels.tolist()), "utf-8")
    return Release(folder, labels, np.array(scores), tuple(rows))
