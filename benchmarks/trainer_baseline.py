"""What a user would run instead: transformers' Trainer on one task, one run, one process.

    python benchmarks/trainer_baseline.py --task rte --data FILES --model FOLDER [--seed 0] [--learning-rate 5e-5]
        [--epochs 3] [--batch-size 32] [--max-length 128] [--padding longest|max] [--precision fp32|bf16] [--born T]

AdamW with warm-up 0.1, weight decay 0.01 and clipping at 1.0, as in suites/minilm_glue.yaml. Prints one line of
JSON: scores on dev, and the seconds of training, of evaluation, and of all since ``--born`` (a time of the clock of
the epoch, at which the caller started this process). Shares no code with multibench but the reader of official
files and the metrics.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from multibench.metrics import METRICS
from multibench.tasks import DataSources, find_task, load_split


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--accept-different-data", action="store_true")
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--padding", choices=["longest", "max"], default="longest")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--born", type=float, default=time.time())
    return parser.parse_args()


def main() -> None:
    given = options()
    if given.threads:
        torch.set_num_threads(given.threads)
    task = find_task(given.task)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=task.outputs)
    accepted = frozenset([task.name]) if given.accept_different_data else frozenset[str]()
    columns: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "dev" if "dev" in task.splits else task.evaluations[0]):
        examples = load_split(task, split, DataSources(given.data, accepted))
        encoded = tokenizer(
            *[list(t) for t in examples.texts], truncation=True, max_length=given.max_length, padding=False
        )
        assert examples.labels is not None
        columns[split] = [
            {**{name: encoded[name][i] for name in encoded}, "labels": examples.labels[i].item()}
            for i in range(len(examples))
        ]
    train, dev = columns.values()
    padding: dict[str, Any] = (
        {"padding": "max_length", "max_length": given.max_length} if given.padding == "max" else {}
    )
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            learning_rate=given.learning_rate,
            per_device_train_batch_size=given.batch_size,
            per_device_eval_batch_size=given.batch_size,
            num_train_epochs=given.epochs,
            warmup_steps=0.1,
            weight_decay=0.01,
            max_grad_norm=1.0,
            bf16=given.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            seed=given.seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=dev,
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            processing_class=tokenizer,
        )
        clock, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        trained, cpu = time.perf_counter() - clock, time.process_time() - cpu
        clock = time.perf_counter()
        outputs = trainer.predict(dev).predictions
        evaluated = time.perf_counter() - clock
    gold = np.array([row["labels"] for row in dev])
    line = {
        "task": task.name,
        "seed": given.seed,
        "learning_rate": given.learning_rate,
        "precision": given.precision,
        "padding": given.padding,
        "threads": torch.get_num_threads(),
        "scores": {name: METRICS.get(name).score(gold, outputs) for name in task.metrics},
        "headline": task.headline,
        "training_seconds": round(trained, 2),
        "cpu_seconds": round(cpu, 2),
        "evaluation_seconds": round(evaluated, 2),
        "seconds": round(time.time() - given.born, 2),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
