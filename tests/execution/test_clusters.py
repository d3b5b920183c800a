"""What examples share reaches the stored predictions of runs that are made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from multibench.results import Results
from tests.support.tiny import make_bench


@pytest.mark.parametrize("fact", ["cluster", "strata"])
def test_a_run_stores_what_its_examples_share(tmp_path: Path, fact: str) -> None:
    bench = make_bench(tmp_path)
    path = tmp_path / "pairs.toml"
    facts = {
        "cluster": 'metadata = ["shop"]\ncluster = "shop"\ncluster_unit = "shops"\n',
        "strata": 'metadata = ["shop"]\nstrata = "shop"\nstratum_unit = "shops"\nstrata_reason = "ours"\n',
    }
    path.write_text(path.read_text().replace("version = 1\n", f"version = 1\n{facts[fact]}", 1))
    dev = bench.data / "pairs/dev.tsv"
    header, *lines = dev.read_text().splitlines()
    shops = [f"shop {i // 5}" for i in range(len(lines))]
    dev.write_text(
        "".join(f"{row}\t{end}\n" for row, end in zip([header, *lines], ["shop", *shops], strict=True))
    )
    bench.write(finetuning_seeds=[0])
    bench.run()
    tensor = Results.open(bench.results).predictions("pairs.dev")
    found, none = (tensor.clusters, tensor.strata) if fact == "cluster" else (tensor.strata, tensor.clusters)
    assert none is None
    assert found is not None
    assert found.tolist() == [i // 5 for i in range(len(lines))]
    assert (tensor.cluster_unit, tensor.stratum_unit) == (
        ("shops", "") if fact == "cluster" else ("examples", "shops")
    )
