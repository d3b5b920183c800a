"""Runs on data in which some rows have no label, and classes have several spellings."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command import multibench
from tests.support.tiny import DEV_ROWS, TRAIN_ROWS, make_bench


def test_runs_use_the_rest_and_say_so(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    facts = Path(bench.task("pairs"))
    text = facts.read_text().replace(
        'label_codes = ["no", "yes"]', 'label_codes = [["no", "nay"], "yes"]\nno_label = ["-"]'
    )
    lines = [line for line in text.splitlines() if not line.startswith("histogram")]
    facts.write_text(
        "\n".join(lines)
        .replace(f"rows = {TRAIN_ROWS}", f"rows = {TRAIN_ROWS - 4}")
        .replace(f"rows = {DEV_ROWS}", f"rows = {DEV_ROWS - 4}", 1)
    )
    for split in ("train", "dev"):
        path = bench.data / "pairs" / f"{split}.tsv"
        header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
        rows = [
            [*row[:-1], "-" if k < 4 else "nay" if k < 20 and row[-1] == "no" else row[-1]]
            for k, row in enumerate(rows)
        ]
        path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    bench.write(finetuning_seeds=[0])
    remarks = json.loads(multibench("plan", bench.suite, *bench.options, "--json").out)["remarks"]
    assert f"pairs.train: 4 rows without a label left out, {TRAIN_ROWS - 4} are used." in remarks
    assert f"pairs.dev: 4 rows without a label left out, {DEV_ROWS - 4} are used." in remarks
    assert sum(bench.run().made.values()) == 1
    (run,) = bench.opened().stored
    assert run.manifest["training_data"]["examples"] == TRAIN_ROWS - 4
    summary = run.manifest["evaluations"]["pairs.dev"]
    assert (summary["examples"], summary["left_out"]) == (DEV_ROWS - 4, 4)
    assert run.predictions("pairs.dev").ids[0] == "4"
