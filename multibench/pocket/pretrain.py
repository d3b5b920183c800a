"""Pretrain one member of the built-in family: ``python -m multibench.pocket.pretrain --seed 0 --out DIR``.

BERT's objectives (masked language modelling and next-sentence prediction) in a plain loop on the CPU.
The pretraining seed alone decides the initial weights and the order of the data; the corpus is the
same for all seeds. Weights are stored at the steps of `STEPS`, in half precision.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multibench.pocket import vocabulary
from multibench.pocket.batches import IGNORED, batches, encoded_corpus
from multibench.pocket.weights import save_member

if TYPE_CHECKING:
    import torch

__all__ = ["ARCHITECTURE", "STEPS", "main", "new_model", "objective", "pretrain", "schedule"]

STEPS = (0, 500, 1500, 4000, 12000)
BATCH_SIZE = 64
PEAK_RATE, WARM_UP, WEIGHT_DECAY, BETAS = 3e-3, 300, 0.01, (0.9, 0.98)
ARCHITECTURE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 128,
    "initializer_range": 0.07,  # BERT's 0.02 is for wider layers; here it delays all learning
}


def new_model(seed: int) -> Any:
    """A freshly initialised ``BertForPreTraining``; ``seed`` alone decides its weights."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    # So small a model underfits: no dropout here. The stored configuration has the usual 0.1.
    config = BertConfig(
        vocab_size=len(vocabulary.load()),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **ARCHITECTURE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, 0]).generate_state(1)[0]))
        return BertForPreTraining(config)


def schedule(step: int, steps: int, peak: float = PEAK_RATE, warm_up: int = WARM_UP) -> float:
    """The learning rate of the update that makes step ``step`` + 1: linear up, then linear down to 0."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (steps - step) / (steps - warm_up)


def objective(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The two losses, MLM and NSP, of a `Batch`; the vocabulary is only scored where it is predicted."""
    import torch
    from torch.nn.functional import cross_entropy

    labels = torch.from_numpy(batch.labels).flatten()
    places = (labels != IGNORED).nonzero()[:, 0]
    output = model.bert(
        input_ids=torch.from_numpy(batch.ids),
        token_type_ids=torch.from_numpy(batch.types),
        attention_mask=torch.from_numpy(batch.attended),
    )
    states = output.last_hidden_state.flatten(0, 1)[places]
    masked = cross_entropy(model.cls.predictions(states), labels[places])
    next_sentence = cross_entropy(
        model.cls.seq_relationship(output.pooler_output), torch.from_numpy(batch.is_random)
    )
    return masked, next_sentence


def pretrain(seed: int, out: Path, steps: Sequence[int] = STEPS) -> list[dict[str, float]]:
    """Train one seed and store ``out/seed_{seed}/step_{t}`` for each of ``steps``.

    Returns the log: step, mean MLM and NSP loss since the last entry, seconds since the start.
    """
    import torch

    started = time.perf_counter()
    corpus = encoded_corpus()
    model = new_model(seed).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    last, log, recent = max(steps), [], []
    if 0 in steps:
        save_member(model.bert, out / f"seed_{seed}" / "step_0")
    for step, batch in enumerate(batches(corpus, rng, BATCH_SIZE, last)):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step, last)
        masked, next_sentence = objective(model, batch)
        optimizer.zero_grad()
        (masked + next_sentence).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        recent.append((masked.item(), next_sentence.item()))
        done = step + 1
        if done in steps:
            save_member(model.bert, out / f"seed_{seed}" / f"step_{done}")
        if done % 250 == 0:
            mlm, nsp = np.mean(recent, axis=0)
            log.append({"step": done, "mlm": mlm, "nsp": nsp, "seconds": time.perf_counter() - started})
            sys.stderr.write(
                "seed {} step {step} mlm {mlm:.3f} nsp {nsp:.3f} {seconds:.0f} s\n".format(seed, **log[-1])
            )
            recent = []
    return log


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m multibench.pocket.pretrain", description=__doc__)
    parser.add_argument(
        "--seed", type=int, required=True, help="pretraining seed: initial weights and data order"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder that gets seed_S/step_T folders")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=list(STEPS), help="steps to store; the largest ends it"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # so small a model gains nothing from more, and sums in one order
    log = pretrain(options.seed, options.out, options.steps)
    (options.out / f"seed_{options.seed}" / "log.json").write_text(json.dumps(log, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
