"""What a training step asks of a card, recorded where there is none: launches, bytes, and the host's time.

    python benchmarks/recorded_steps.py                            all sizes and numbers of replicas, some minutes
    python benchmarks/recorded_steps.py --sizes tiny --replicas 1
    python benchmarks/recorded_steps.py --record after             adds the rows to benchmarks/recorded_steps.csv
    python benchmarks/recorded_steps.py --table                    what that file holds, labels side by side

Launches, bytes and tokens: the training of ``multibench`` runs on fake tensors of real shapes on an emulated card (see
``tests/support/card``), and operators are recorded; those that only view or reserve memory are left out. A launch is
an operator, for which a card may need several kernels. Bytes are the sizes of the tensors of the card that go in and
come out, so that a table of which few rows are read counts as a whole. Texts are random words, in sequences about as
long as those of MRPC.
Host time: models of as many layers compute on the emulated card, as narrow and on texts as short as can be, and what
computing takes is subtracted; what is left a launch is multiplied by the launches above. It is processor time of this
machine without a driver's share: good for comparing programs, on a machine that does nothing else.
All are means over the steps between a short training and a longer one, of all replicas together.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.support.card import environment, is_emulated, lacking  # noqa: E402

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from multibench.bench import Case
    from multibench.bench.sizes import Size
    from multibench.tasks.encode import Encoded
    from multibench.training.record import TrainingRecord

RECORDED = Path(__file__).with_suffix(".csv")
SIZES = ("tiny", "mini", "minilm", "medium", "base")
# Operators that neither view an input nor give a card anything to do.
IDLE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "is_pinned"}


@dataclass(frozen=True)
class Row:
    """A step of ``replicas`` runs; ``host_ms`` milliseconds of one core, tokens those of all replicas."""

    size: str
    replicas: int
    launches: float
    megabytes: float
    host_ms: float
    tokens: float
    computed_tokens: float


class Operators:
    """What was asked of a card while ``recording``."""

    def __init__(self) -> None:
        self.launches = 0
        self.bytes = 0

    def enter(self, name: str, is_view: bool, tensors: list[Any]) -> None:
        """One operator with its inputs and outputs."""
        on_card = [tensor for tensor in tensors if tensor.device.type == "cuda"]
        if is_view or name in IDLE or not on_card:
            return
        self.launches += 1
        sizes = [tensor.numel() * tensor.element_size() for tensor in on_card]
        # Before the first step there are sizes that depend on data, and no numbers; a step has none.
        self.bytes += sum(size for size in sizes if isinstance(size, int))


@contextmanager
def recording() -> Iterator[Operators]:
    """Tensors made within are fake, and operators are recorded; whatever the host reads of them is 1."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    operators, numpy_of = Operators(), torch.Tensor.numpy

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._local_scalar_dense.default:
                return 1
            out = func(*args, **(kwargs or {}))
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            space, _, name = func._schema.name.partition("::")
            if space == "aten":
                operators.enter(name, func.is_view, tensors)
            return out

    def numpy(self: torch.Tensor, **options: Any) -> Any:
        return np.ones(tuple(self.shape)) if isinstance(self, FakeTensor) else numpy_of(self, **options)

    with (
        mock.patch.object(torch.Tensor, "numpy", numpy),
        mock.patch.object(torch.Tensor, "pin_memory", lambda self: self),  # fake tensors cannot be pinned
        FakeTensorMode(shape_env=ShapeEnv()),
        Recorder(),  # type: ignore[no-untyped-call]  # nor here
    ):
        yield operators


def model_of(size: Size) -> PreTrainedModel:
    """A classifier that is made where it stays: a fake one cannot be moved."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        num_hidden_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
    )
    with torch.device("cuda"):
        model: PreTrainedModel = BertForSequenceClassification(config)
    return model


@dataclass(frozen=True)
class Lengths:
    """Of sequences, in tokens; and the number of different words in all of them."""

    mean: float
    sd: float
    longest: int
    words: int


def texts(lengths: Lengths) -> Encoded:
    """As many sequences as MRPC trains on, of random words."""
    from multibench.tasks.encode import Encoded

    rng = np.random.default_rng(0)
    shape = (lengths.mean / lengths.sd) ** 2
    each = rng.gamma(shape, lengths.mean / shape, EXAMPLES).clip(5, lengths.longest).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(each)])
    tokens = rng.integers(999, 999 + lengths.words, starts[-1]).astype(np.int32)
    return Encoded(tokens, starts, (each // 2).astype(np.int32), pad_id=0)


EXAMPLES = 3668
MRPC = Lengths(mean=53.2, sd=13.0, longest=103, words=11565)
FEW = Lengths(mean=7.0, sd=1.5, longest=10, words=50)


Training = Callable[[int], "list[TrainingRecord]"]


def prepare(case: Case, size: Size, replicas: int) -> Training:
    """A training of ``size`` on the texts of ``case``, by its number of steps; it gives the records."""
    from multibench.seeds import derive_seeds
    from multibench.training.loop import Replica, train_together
    from multibench.training.stack import Stack, words_in

    model, encoded = model_of(size), case.encoded
    stack = Stack(model, replicas, words_in(encoded.tokens), case.precision)
    each = [Replica(case.settings, derive_seeds(k)) for k in range(replicas)]

    def train(steps: int) -> list[TrainingRecord]:
        return train_together(model, stack, encoded, case.labels, each, max_steps=steps)

    return train


def asked_of_the_card(case: Case, replicas: int) -> tuple[float, float, float, float]:
    """Of a step: launches, bytes, and tokens, real and computed, of all replicas."""
    from multibench.bench import SIZES as SHAPES

    found = []
    short, long = 2, 6
    for steps in (short, long):
        with recording() as operators:
            records = prepare(case, SHAPES[case.size], replicas)(steps)
        tokens = (sum(r.tokens for r in records), sum(r.computed_tokens for r in records))
        found.append((operators.launches, operators.bytes, *tokens))
    launches, size, real, computed = ((b - a) / (long - short) for a, b in zip(*found, strict=True))
    return launches, size, real, computed


def host_seconds_a_launch(case: Case, replicas: int) -> float:
    """Without what the emulated card computes; the least of some measurements."""
    from multibench.bench import SIZES as SHAPES
    from multibench.bench.sizes import Size
    from tests.support.card import emulation

    real = SHAPES[case.size]
    narrow = Size(real.layers, hidden=16, heads=1, inner=16)
    train = prepare(replace(case, texts=texts(FEW)), narrow, replicas)

    def measure(steps: int) -> tuple[float, int]:
        emulation.reset()
        began = time.process_time()
        train(steps)
        return time.process_time() - began - emulation.computing_seconds(), emulation.launches().total()

    short, long = 2, 14
    measure(short)
    (before, begun), (after, ended) = (min(measure(steps) for _ in range(3)) for steps in (short, long))
    return (after - before) / (ended - begun)


def row_of(size: str, replicas: int, precision: Literal["fp32", "bf16"], batch_size: int) -> Row:
    """All that is recorded of one size and number of replicas."""
    import torch

    from multibench.bench import Case

    torch.set_num_threads(1)
    case = Case(size, "mrpc", precision, torch.device("cuda"), batch_size, texts=texts(MRPC))
    launches, size_of_all, tokens, computed = asked_of_the_card(case, replicas)
    milliseconds = 1e3 * launches * host_seconds_a_launch(case, replicas)
    return Row(
        size, replicas, launches, round(size_of_all / 1e6, 1), round(milliseconds, 2), tokens, computed
    )


def commit() -> str:
    """The last commit that changed the package; with a plus if there are changes since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    changed = git("status", "--porcelain", "--", "multibench")
    return git("log", "-1", "--format=%h", "--", "multibench").strip() + ("+" if changed else "")


def record(label: str, how: dict[str, str], rows: list[Row]) -> None:
    """Put ``rows`` into the file, in place of those of the same label and kind."""
    given = [{"label": label, **how, **{k: str(v) for k, v in asdict(row).items()}} for row in rows]
    of_label = {tuple(row[name] for name in ("label", "size", "replicas", "precision")) for row in given}
    kept = [
        row
        for row in recorded()
        if tuple(row[name] for name in ("label", "size", "replicas", "precision")) not in of_label
    ]
    with RECORDED.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(given[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *given])


def recorded() -> list[dict[str, str]]:
    """The rows of the file; none if there is none."""
    if not RECORDED.exists():
        return []
    with RECORDED.open(newline="") as file:
        return list(csv.DictReader(file))


def table() -> Iterator[str]:
    """Lines of a Markdown table of the file: a row a size, in each cell the labels in their order."""
    rows = recorded()
    labels = list(dict.fromkeys(row["label"] for row in rows))
    commits = dict.fromkeys(f"{row['label']}: {row['commit']}, torch {row['torch']}" for row in rows)
    yield "; ".join(commits) + ".\n"
    yield f"| size | R | launches ({' / '.join(labels)}) | GB | host, ms | computed over real tokens |"
    yield "|---|---|---|---|---|---|"
    for size, replicas in dict.fromkeys((row["size"], row["replicas"]) for row in rows):
        same = {row["label"]: row for row in rows if (row["size"], row["replicas"]) == (size, replicas)}
        mine = [
            {f.name: float(same[label][f.name]) for f in fields(Row)[1:]} for label in labels if label in same
        ]
        cells = (
            " / ".join(f"{one['launches']:,.0f}" for one in mine),
            " / ".join(f"{one['megabytes'] / 1e3:.2f}" for one in mine),
            " / ".join(f"{one['host_ms']:.1f}" for one in mine),
            " / ".join(f"{one['computed_tokens'] / one['tokens']:.2f}" for one in mine),
        )
        yield f"| {size} | {replicas} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 4, 20])
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--record", metavar="LABEL", help="keep the rows under this label (before, after)")
    parser.add_argument("--table", action="store_true", help="print what was recorded before, and end")
    given = parser.parse_args()
    if given.table:
        print(*table(), sep="\n")
        return
    if not is_emulated():
        reason = lacking()
        if reason is not None:
            sys.exit(f"Nothing can be recorded: {reason}.")
        os.execve(sys.executable, [sys.executable, *sys.argv], environment() | {"OMP_NUM_THREADS": "1"})
    import torch

    print(f"{'size':8}{'R':>4}{'launches':>10}{'MB':>12}{'host, ms':>10}{'tokens':>9}{'computed':>10}")
    rows = []
    for size in given.sizes:
        for replicas in given.replicas:
            row = row_of(size, replicas, given.precision, given.batch_size)
            print(
                f"{size:8}{replicas:4}{row.launches:10,.0f}{row.megabytes:12,.1f}{row.host_ms:10.2f}", end=""
            )
            print(f"{row.tokens:9,.0f}{row.computed_tokens:10,.0f}", flush=True)
            rows.append(row)
    if given.record:
        batch = str(given.batch_size)
        how = {
            "commit": commit(),
            "torch": torch.__version__,
            "precision": given.precision,
        }
        record(given.record, how | {"batch_size": batch}, rows)


if __name__ == "__main__":
    main()
