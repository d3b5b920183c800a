"""What a user would run instead: transformers' Trainer on one official GLUE task, one seed.

    python benchmarks/trainer_baseline.py --task rte --data GLUE_FILES --model FOLDER [--seed 0]

The same hyperparameters as suites/minilm_glue.yaml (lr 5e-5, batch 32, 3 epochs, warm-up 0.1, weight
decay 0.01, clipping 1.0, length 128, fp32), dynamic padding. Prints one line of JSON: the scores and the
wall and CPU time of training. Shares no code with multibench but
the reader of official files and the metrics.
"""

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
from multibench.tasks import TASKS, DataSources, load_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    task = TASKS.get(options.task)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=task.outputs)
    columns: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "dev"):
        examples = load_split(task, split, DataSources(options.data))
        encoded = tokenizer(
            *[list(t) for t in examples.texts], truncation=True, max_length=128, padding=False
        )
        assert examples.labels is not None
        columns[split] = [
            {**{name: encoded[name][i] for name in encoded}, "labels": examples.labels[i].item()}
            for i in range(len(examples))
        ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            learning_rate=5e-5,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            num_train_epochs=3,
            warmup_steps=0.1,
            weight_decay=0.01,
            max_grad_norm=1.0,
            seed=options.seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=columns["train"],
            eval_dataset=columns["dev"],
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )
        begun, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        trained, cpu = time.perf_counter() - begun, time.process_time() - cpu
        outputs = trainer.predict(columns["dev"]).predictions
    gold = np.array([row["labels"] for row in columns["dev"]])
    scores = {name: METRICS.get(name).score(gold, outputs) for name in task.metrics}
    line = {
        "task": task.name,
        "seed": options.seed,
        "threads": torch.get_num_threads(),
        "scores": scores,
        "training_seconds": round(trained, 1),
        "cpu_seconds": round(cpu, 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
