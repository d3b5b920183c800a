"""Time and memory of loading a checkpoint from each format, side by side with transformers.

Makes one random BERT (by default of BERT-base's size: 4 GB of files in all) in every format in a temporary folder, and
loads each in a process of its own: configuration, vocabulary and weights, all checked, under a classifier with two
outputs; then every weight is touched once. Peak is the most memory that the process had in use (VmHWM: anonymous,
shared and mapped pages together) above what it had before, when all code was imported and a tiny checkpoint of the
same format had been loaded. Ratio is peak over the model's own bytes in float32. Files have just been written, so the
disk hardly counts. On a machine with other work the CPU seconds mean more than those of the clock.

    OMP_NUM_THREADS=1 python benchmarks/loading.py [--layers 12] [--hidden 768] [--vocabulary 30522] [--format json]

Linux only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForPreTraining, MegatronBertConfig, MegatronBertForPreTraining

from multibench import convert
from multibench.checkpoints.folder import open_folder
from multibench.checkpoints.load import Head, load_model

HEAD = Head("classification", 2)
TINY = {"layers": 1, "hidden": 64, "vocabulary": 200}
THEIRS = "transformers' from_pretrained, "


def make(folder: Path, layers: int, hidden: int, vocabulary: int) -> dict[str, Path]:
    """A random checkpoint in every format: what it is called -> its path."""
    torch.manual_seed(0)
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
    }
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(vocabulary - 5))]
    config = BertConfig(**sizes)
    model = BertForPreTraining(config)
    state = {
        name: tensor for name, tensor in model.state_dict().items() if "cls.predictions.decoder" not in name
    }

    def folder_of(name: str) -> Path:
        path = folder / name
        path.mkdir(parents=True)
        (path / "vocab.txt").write_text("\n".join(pieces) + "\n")
        config.save_pretrained(path)
        return path

    safe, pickled = folder_of("safetensors"), folder_of("bin")
    save_file(state, safe / "model.safetensors", metadata={"format": "pt"})
    torch.save(state, pickled / "pytorch_model.bin")
    convert(safe, "tensorflow", folder / "tensorflow")
    (folder / "tf").mkdir()
    with zipfile.ZipFile(folder / "tf" / "model.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in (folder / "tensorflow").iterdir():
            archive.write(path, f"model/{path.name}")
    nemo = convert(safe, "nemo", folder / "nemo").path
    (folder / "tar").mkdir()
    with gzip.open(nemo) as packed, (folder / "tar" / "model.nemo").open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    single = folder_of("dle")
    (single / "config.json").rename(single / "bert_config.json")
    torch.save({"model": state}, single / "model.pt")
    megatron = folder_of("megatron")
    (megatron / "config.json").unlink()
    args = argparse.Namespace(num_attention_heads=hidden // 64, tokenizer_type="BertWordPieceLowerCase")
    parts = _megatron(MegatronBertForPreTraining(MegatronBertConfig(**sizes)).state_dict(), layers)
    torch.save({"model": parts, "checkpoint_version": 3, "args": args}, megatron / "model_optim_rng.pt")
    return {
        "Hugging Face, safetensors": safe,
        "Hugging Face, .bin": pickled,
        "TensorFlow, folder": folder / "tensorflow",
        "TensorFlow, zip": folder / "tf" / "model.zip",
        ".nemo, tar": folder / "tar" / "model.nemo",
        ".nemo, tar.gz": nemo,
        "Megatron-LM, .pt": megatron,
        "DeepLearningExamples, .pt": single,
        f"{THEIRS}safetensors": safe,
        f"{THEIRS}.bin": pickled,
    }


def _megatron(state: dict[str, torch.Tensor], layers: int) -> dict[str, Any]:
    """Weights of ``MegatronBertForPreTraining``, nested and named as by Megatron-LM; the order of heads is any."""
    names = {
        "attention.ln": "input_layernorm",
        "attention.output.dense": "self_attention.dense",
        "ln": "post_attention_layernorm",
        "intermediate.dense": "mlp.dense_h_to_4h",
        "output.dense": "mlp.dense_4h_to_h",
    }
    encoder: dict[str, torch.Tensor] = {}
    for layer in range(layers):
        prefix = f"bert.encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            fused = [state[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            encoder[f"layers.{layer}.self_attention.query_key_value.{kind}"] = torch.cat(fused)
            for theirs, ours in names.items():
                encoder[f"layers.{layer}.{ours}.{kind}"] = state[f"{prefix}{theirs}.{kind}"]
    for kind in ("weight", "bias"):
        encoder[f"final_layernorm.{kind}"] = state[f"bert.encoder.ln.{kind}"]
    embeddings = {
        f"{ours}_embeddings": {"weight": state[f"bert.embeddings.{theirs}_embeddings.weight"]}
        for ours, theirs in (("word", "word"), ("position", "position"), ("tokentype", "token_type"))
    }
    pooler = {f"dense.{kind}": state[f"bert.pooler.dense.{kind}"] for kind in ("weight", "bias")}
    return {"language_model": {"embedding": embeddings, "encoder": encoder, "pooler": pooler}}


def _memory(field: str) -> int:
    """Bytes that ``/proc/self/status`` states of this process."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, field
    return int(found[1]) * 1024


def measure(name: str, tiny: Path, path: Path) -> dict[str, float | str]:
    """Seconds by clock and CPU, peak (bytes) and ratio of loading ``path`` in a process that has loaded nothing yet."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load: Callable[[Path], torch.nn.Module] = (
        transformers.AutoModelForSequenceClassification.from_pretrained
        if name.startswith(THEIRS)
        else lambda path: load_model(open_folder(path), HEAD)
    )
    load(tiny)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, started, began = _memory("VmRSS"), time.perf_counter(), time.process_time()
    model = load(path)
    for parameter in model.parameters():
        parameter.sum()  # what was only mapped so far comes into memory
    seconds, cpu, peak = time.perf_counter() - started, time.process_time() - began, _memory("VmHWM") - before
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    return {"format": name, "seconds": seconds, "cpu": cpu, "peak": peak, "ratio": peak / size}


def measured(sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """A row for each format, one after another, each from a fresh process."""
    with tempfile.TemporaryDirectory() as temporary:
        tiny, full = (make(Path(temporary, which), **s) for which, s in (("tiny", TINY), ("full", sizes)))
        for name, path in full.items():
            command = [sys.executable, __file__, "--measure", name, str(tiny[name]), str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            yield json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--format", choices=["markdown", "json"], default="markdown")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, tiny, path = options.measure
        print(json.dumps(measure(name, Path(tiny), Path(path))))
        return
    rows = measured({"layers": options.layers, "hidden": options.hidden, "vocabulary": options.vocabulary})
    if options.format == "json":
        print(json.dumps(list(rows)))
        return
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} thread(s)\n"
    )
    print("| format | seconds | CPU seconds | peak, MB | ratio |\n|---|---|---|---|---|")
    for row in rows:
        numbers = f"{row['seconds']:.1f} | {row['cpu']:.1f} | {row['peak'] / 1e6:.0f} | {row['ratio']:.2f}"
        print(f"| {row['format']} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
