"""Steps of training on an emulated card: how much each may launch, and a check that it does no more.

    MULTIBENCH_EMULATED_CARD=cards=3 python -m tests.support.card python -m tests.card.steps

prints what each case launches now, for ``LIMITS``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.record import TrainingRecord
from multibench.training.stack import Stack, words_in

VOCABULARY = 100
BATCH = 8
_SHORT, _LONG = 2, 7  # steps: what lies between the two is steps alone, without beginning and end


@dataclass(frozen=True)
class Case:
    """What is trained, with dropout."""

    architecture: str = "Bert"
    kind: str = "classification"
    precision: str = "bf16"
    layers: int = 2
    replicas: int = 1


# Launches of one step, of all replicas together: lower these when a step needs fewer.
LIMITS = {
    Case(): 390,
    Case(precision="fp32"): 375,
    Case(replicas=4): 462,
    Case(replicas=20): 645,
    Case(layers=12): 1480,
    Case(layers=12, replicas=20): 3359,
    Case(kind="span"): 373,
    Case("DistilBert", "span", replicas=4): 461,
    Case("MegatronBert", "regression", replicas=4): 460,
}


def model_of(case: Case) -> transformers.PreTrainedModel:
    """A narrow model, for its layers launch what those of a wide one do."""
    width = {"layers": case.layers, "hidden": 16, "heads": 2, "inner": 32}
    if case.architecture == "DistilBert":
        names = {"layers": "n_layers", "hidden": "dim", "heads": "n_heads", "inner": "hidden_dim"}
    else:
        names = {
            "layers": "num_hidden_layers",
            "hidden": "hidden_size",
            "heads": "num_attention_heads",
            "inner": "intermediate_size",
        }
    config = getattr(transformers, f"{case.architecture}Config")(
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        num_labels={"classification": 3, "regression": 1, "span": 2}[case.kind],
        **{names[part]: size for part, size in width.items()},
    )
    purpose = "QuestionAnswering" if case.kind == "span" else "SequenceClassification"
    torch.manual_seed(0)
    made: transformers.PreTrainedModel = getattr(transformers, f"{case.architecture}For{purpose}")(config)
    return made.eval()


def texts() -> Encoded:
    """Random words in sequences of many lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, 30, size=64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = rng.integers(5, VOCABULARY, size=starts[-1]).astype(np.int32)
    return Encoded(tokens, starts, (lengths // 2).astype(np.int32), pad_id=0)


def labels_of(case: Case, encoded: Encoded) -> np.ndarray[Any, Any]:
    """What is to be learnt; nobody will."""
    rng = np.random.default_rng(1)
    if case.kind == "span":
        return rng.integers(0, encoded.lengths[:, None], size=(len(encoded), 2))
    classes = rng.integers(0, 3, size=len(encoded))
    return classes if case.kind == "classification" else classes * 0.7


def train(case: Case, steps: int, device: str = "cuda") -> list[TrainingRecord]:
    """The first ``steps`` steps."""
    model, encoded = model_of(case).to(device), texts()
    settings = Hyperparameters(
        learning_rate=1e-4, batch_size=BATCH, epochs=10, weight_decay=0.01, precision=case.precision
    )
    stack = Stack(model, case.replicas, words_in(encoded.tokens), case.precision)
    each = [Replica(settings, derive_seeds(k)) for k in range(case.replicas)]
    return train_together(model, stack, encoded, labels_of(case, encoded), each, max_steps=steps)


def counts_of_a_step(case: Case) -> tuple[float, Counter[str]]:
    """Launches of a step, and all waits of the steps between a short and a long training; losses must be numbers."""
    from tests.support.card import emulation

    launches, waits = [], []
    for steps in (_SHORT, _LONG):
        emulation.reset()
        records = train(case, steps)
        launches.append(emulation.launches().total())
        waits.append(emulation.waits())
        for record in records:
            assert record.divergence is None, record.divergence.sentence()
    return (launches[1] - launches[0]) / (_LONG - _SHORT), waits[1] - waits[0]


def check(case: Case) -> None:
    """A step of ``case`` launches no more than its limit and waits for nothing."""
    launches, waits = counts_of_a_step(case)
    assert not waits, f"a step waits for the card: {dict(waits)}"
    assert launches <= LIMITS[case], f"a step launches {launches:g}, more than {LIMITS[case]}"


if __name__ == "__main__":
    for one in LIMITS:
        print(f"    {one}: {counts_of_a_step(one)[0]:g},")
