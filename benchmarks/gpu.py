"""Fine-tuning speed of one device, by model size and by how many replicas are trained together.

    python benchmarks/gpu.py [--sizes base tiny ...] [--replicas 1 2 4 8 20] [--precision bf16 fp32]
    python benchmarks/gpu.py --device cpu --sizes tiny --replicas 1 2 --steps 3      small, anywhere

Weights and words are random, which is as good for time; lengths spread around the mean lengths of MRPC, RTE and
MNLI. For each it prints examples a second, the share of the device's measured matrix-multiplication rate that useful
operations (of real tokens, six a weight) make up, the largest memory used, and how much more the replicas do together
than one alone. First come the device's matrix-multiplication rate in bfloat16 and float32, and its memory bandwidth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from multibench.recipes import Hyperparameters
from multibench.seeds import derive_seeds
from multibench.tasks import find_task
from multibench.tasks.encode import Encoded
from multibench.training.loop import Replica, train_together
from multibench.training.stack import Stack, words_in

# Layers, hidden size, heads, intermediate size.
SIZES = {
    "base": (12, 768, 12, 3072),
    "medium": (8, 512, 8, 2048),
    "minilm": (6, 384, 12, 1536),
    "mini": (4, 256, 4, 1024),
    "tiny": (2, 128, 2, 512),
}
VOCABULARY = 30522
EXAMPLES = 2048


@dataclass(frozen=True)
class Speed:
    """What one measurement found."""

    examples: float
    tokens: float
    memory: float


def waited(device: torch.device) -> float:
    """The time once the device has done all it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def best_seconds(work: Callable[[], Any], device: torch.device, times: int = 5) -> float:
    work()
    best = float("inf")
    for _ in range(times):
        clock = waited(device)
        work()
        best = min(best, waited(device) - clock)
    return best


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large product."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / best_seconds(lambda: a @ b, device)


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy."""
    numbers = 2**28 if device.type == "cuda" else 2**24
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    return 8 * numbers / best_seconds(lambda: target.copy_(source), device)


def sequences(mean: float, longest: int = 128) -> Encoded:
    """Random words in sequences whose lengths spread around ``mean`` as those of sentence pairs do."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(4.0, mean / 4.0, EXAMPLES), 6, longest).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    # Words of texts are few and frequent; a uniform draw would meet the whole vocabulary.
    tokens = np.minimum(rng.zipf(1.3, starts[-1]), VOCABULARY - 1).astype(np.int32)
    return Encoded(tokens, starts, (lengths // 2).astype(np.int32), pad_id=0)


def speed(
    size: str, encoded: Encoded, replicas: int, precision: str, device: torch.device, batch: int, steps: int
) -> Speed:
    """Examples and tokens a second of ``steps`` steps, all replicas together, after as many to warm up."""
    layers, hidden, heads, inner = SIZES[size]
    config = BertConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=inner,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).to(device)
    settings = Hyperparameters.model_validate(
        {"learning_rate": 2e-5, "batch_size": batch, "epochs": 3, "warmup": 0.1, "precision": precision}
    )
    each = [Replica(settings, derive_seeds(k)) for k in range(replicas)]
    labels = np.random.default_rng(1).integers(0, 2, len(encoded))
    stack = Stack(model, replicas, words_in(encoded.tokens), half=precision == "bf16")
    train_together(model, stack, encoded, labels, each, max_steps=steps)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clock = waited(device)
    records = train_together(model, stack, encoded, labels, each, max_steps=steps)
    seconds = waited(device) - clock
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else float("nan")
    return Speed(
        examples=sum(record.examples for record in records) / seconds,
        tokens=sum(record.tokens for record in records) / seconds,
        memory=memory,
    )


def operations_per_token(size: str) -> float:
    """Forward and backward pass: six for each weight of the layers."""
    layers, hidden, _, inner = SIZES[size]
    return 6.0 * layers * (4 * hidden**2 + 2 * hidden * inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--tasks", nargs="+", default=["mrpc", "rte", "mnli"])
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2, 4, 8, 20])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["bf16", "fp32"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peaks = {
        "fp32": matmul_rate(device, torch.float32),
        "bf16": matmul_rate(device, torch.bfloat16),
    }
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print(f"matrix products: bf16 {peaks['bf16'] / 1e12:.1f}, fp32 {peaks['fp32'] / 1e12:.1f} TFLOP/s")
    print(f"copy: {bandwidth(device) / 1e9:.0f} GB/s\n")
    print(
        f"{'size':8}{'task':6}{'precision':10}{'R':>3}{'examples/s':>12}{'share':>8}{'memory':>10}{'gain':>7}"
    )
    for size in given.sizes:
        for task in given.tasks:
            encoded = sequences(find_task(task).mean_tokens)
            for precision in given.precision:
                alone = None
                for replicas in given.replicas:
                    try:
                        found = speed(
                            size, encoded, replicas, precision, device, given.batch_size, given.steps
                        )
                    except torch.OutOfMemoryError:
                        print(f"{size:8}{task:6}{precision:10}{replicas:3}  out of memory")
                        break
                    alone = alone or found.examples
                    share = found.tokens * operations_per_token(size) / peaks[precision]
                    print(
                        f"{size:8}{task:6}{precision:10}{replicas:3}{found.examples:12.0f}{share:8.1%}"
                        f"{found.memory / 1e9:8.1f}GB{found.examples / alone:7.2f}",
                    )
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
