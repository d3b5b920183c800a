"""Models and texts to time: published shapes with random weights, and random words, which are as good for time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from multibench.tasks.encode import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LONGEST", "SIZES", "Size", "model_of", "sequences"]

LONGEST = 128
_VOCABULARY = 30522
_EXAMPLES = 2048


@dataclass(frozen=True)
class Size:
    """A shape of BERT: layers, hidden size, heads, and the inner size of the feed-forward part."""

    layers: int
    hidden: int
    heads: int
    inner: int

    @property
    def weights(self) -> int:
        """Of the matrices of the layers."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)

    @property
    def operations_per_token(self) -> float:
        """Of a forward and a backward pass: six for each weight of the layers."""
        return 6.0 * self.weights

    @property
    def bytes_per_step(self) -> float:
        """That AdamW moves for the layers in fp32: weight, gradient and two moments are read, all but one written."""
        return 7 * 4.0 * self.weights


SIZES = {
    "base": Size(12, 768, 12, 3072),
    "medium": Size(8, 512, 8, 2048),
    "minilm": Size(6, 384, 12, 1536),
    "mini": Size(4, 256, 4, 1024),
    "tiny": Size(2, 128, 2, 512),
}


def model_of(size: Size, device: torch.device) -> PreTrainedModel:
    """A classifier of two classes of that size with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=_VOCABULARY,
        num_hidden_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
    )
    torch.manual_seed(0)
    model: PreTrainedModel = BertForSequenceClassification(config).to(device)
    return model


def sequences(mean_tokens: float) -> Encoded:
    """Random words in sequences whose lengths spread around ``mean_tokens`` as those of sentence pairs do."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(4.0, mean_tokens / 4.0, _EXAMPLES), 6, LONGEST).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    # Words of texts are few and frequent; a uniform draw would meet the whole vocabulary.
    tokens = np.minimum(rng.zipf(1.3, starts[-1]), _VOCABULARY - 1).astype(np.int32)
    return Encoded(tokens, starts, (lengths // 2).astype(np.int32), pad_id=0)
