"""Distil a one-layer DistilBERT from a member: ``python -m multibench.pocket.distil --teacher DIR --out DIR``.

The student starts from its teacher's embeddings and every other layer, as DistilBERT did (Sanh et al.
2019), and learns masked language modelling and the direction of its teacher's final states. It has no
token types and no pooler.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multibench.pocket.batches import IGNORED, batches, encoded_corpus
from multibench.pocket.pretrain import BATCH_SIZE, WARM_UP, WEIGHT_DECAY, schedule
from multibench.pocket.weights import WEIGHTS, save_member

__all__ = ["distil", "main", "new_student"]

STEPS, PEAK_RATE = 4000, 2e-3
BLOCK_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def new_student(teacher: Any) -> Any:
    """A ``DistilBertForMaskedLM`` of half the layers, initialised from a ``BertModel``."""
    import torch
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    config = teacher.config
    layers = config.num_hidden_layers // 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = DistilBertForMaskedLM(
            DistilBertConfig(
                vocab_size=config.vocab_size,
                max_position_embeddings=config.max_position_embeddings,
                dim=config.hidden_size,
                hidden_dim=config.intermediate_size,
                n_layers=layers,
                n_heads=config.num_attention_heads,
                dropout=0.0,
                attention_dropout=0.0,
                initializer_range=config.initializer_range,
            )
        )
    given, taken = teacher.state_dict(), {}
    for name in ("word_embeddings", "position_embeddings"):
        taken[f"embeddings.{name}.weight"] = given[f"embeddings.{name}.weight"].clone()
    # Without token types, their mean effect moves into the positions.
    taken["embeddings.position_embeddings.weight"] += given["embeddings.token_type_embeddings.weight"].mean(0)
    for part in ("weight", "bias"):
        taken[f"embeddings.LayerNorm.{part}"] = given[f"embeddings.LayerNorm.{part}"]
        for layer in range(layers):
            for theirs, ours in BLOCK_NAMES.items():
                source = f"encoder.layer.{2 * layer}.{theirs}.{part}"
                taken[f"transformer.layer.{layer}.{ours}.{part}"] = given[source]
    student.distilbert.load_state_dict(taken)
    return student


def distil(teacher_folder: Path, out: Path, steps: int = STEPS) -> float:
    """Train a student of the member in ``teacher_folder`` and store it in ``out``.

    Returns the mean MLM loss of the last hundred steps.
    """
    import torch
    from torch.nn.functional import cosine_embedding_loss, cross_entropy
    from transformers import BertModel

    teacher = BertModel.from_pretrained(teacher_folder).eval()
    student = new_student(teacher).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY, fused=True)
    rng = np.random.default_rng(np.random.SeedSequence([0, 2]))
    losses = []
    for step, batch in enumerate(batches(encoded_corpus(), rng, BATCH_SIZE, steps)):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step, steps, PEAK_RATE, min(WARM_UP, steps // 4))
        ids, attended = torch.from_numpy(batch.ids), torch.from_numpy(batch.attended)
        labels = torch.from_numpy(batch.labels).flatten()
        places = (labels != IGNORED).nonzero()[:, 0]
        states = student.distilbert(input_ids=ids, attention_mask=attended).last_hidden_state.flatten(0, 1)
        with torch.no_grad():
            types = torch.from_numpy(batch.types)
            wanted = teacher(ids, attention_mask=attended, token_type_ids=types).last_hidden_state.flatten(
                0, 1
            )
        hidden = student.activation(student.vocab_transform(states[places]))
        masked = cross_entropy(student.vocab_projector(student.vocab_layer_norm(hidden)), labels[places])
        real = attended.flatten() == 1
        same = cosine_embedding_loss(states[real], wanted[real], torch.ones(1))
        optimizer.zero_grad()
        (masked + same).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0, foreach=True)
        optimizer.step()
        losses.append(masked.item())
        if (step + 1) % 500 == 0:
            sys.stderr.write(f"step {step + 1} mlm {np.mean(losses[-500:]):.3f} cosine {same.item():.3f}\n")
    save_member(student.distilbert, out)
    return float(np.mean(losses[-100:]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    import torch

    from multibench.pocket.pretrain import STEPS as TEACHER_STEPS

    last = WEIGHTS / "seed_0" / f"step_{TEACHER_STEPS[-1]}"
    parser = argparse.ArgumentParser(prog="python -m multibench.pocket.distil", description=__doc__)
    parser.add_argument("--teacher", type=Path, default=last, help="folder of the member to learn from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the student")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    distil(options.teacher, options.out, options.steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
