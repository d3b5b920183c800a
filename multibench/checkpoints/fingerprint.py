"""What a checkpoint computes and weighs, in a few numbers that two machines can compare."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from multibench.checkpoints.folder import CheckpointFolder
from multibench.checkpoints.load import Head, load_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["MASKED", "SENTENCES", "Fingerprint", "fingerprint", "unknown_share"]

SENTENCES = (
    "The river froze in January, and two boats could not leave the harbour.",
    "Nobody expected the second half of the film to be so funny!",
    "She paid $40 for 12 old maps of Paris; he thought it was too much.",
)
MASKED = ("Paris is the capital of [MASK].", "She opened the [MASK] and went inside.")

_SHOWN = 4
# Transform, its LayerNorm and the bias of the output, as masked language models of each kind call them.
_MASKED_HEADS = {
    "bert": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}


@dataclass(frozen=True)
class Fingerprint:
    """``vectors[i]`` belongs to ``SENTENCES[i]``: the first four numbers of what classifiers are given (the pooled
    vector; DistilBERT: the last hidden state of ``[CLS]``), and its L2 norm, all rounded to four decimals.

    ``masked[i]`` is the likeliest piece for the gap in ``MASKED[i]`` and its probability; empty where the
    checkpoint has no head for it. ``norms`` are L2 norms of the weights of each part: embeddings, layers, pooler.
    ``untrained_pooler`` says that the pooler looks as it was initialised: no bias, and weights spread as at the start.
    """

    tensors: int
    parameters: int
    vectors: tuple[tuple[float, ...], ...]
    masked: tuple[tuple[str, float], ...]
    norms: dict[str, float]
    untrained_pooler: bool

    def gaps(self) -> list[tuple[str, str, float]]:
        """Sentence, likeliest piece and its probability, for each gap that was filled."""
        filled = zip(MASKED, self.masked, strict=False)
        return [(sentence, piece, probability) for sentence, (piece, probability) in filled]

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return asdict(self)


def fingerprint(folder: CheckpointFolder) -> Fingerprint:
    """The fingerprint of the checkpoint in ``folder``, computed on the CPU in float32.

    Equal weights give it on every machine up to the rounding of float32 sums. Raises ``CheckpointError`` for
    weights that are missing, left over, no numbers, or of another shape than the configuration says.
    """
    import torch

    model = load_model(folder, Head("classification", 2))
    encoder = model.base_model
    encoder_weights = {
        name: tensor.double()
        for name, tensor in encoder.state_dict().items()
        if not name.endswith(("position_ids", "token_type_ids"))
    }
    with torch.no_grad():
        vectors = [_classified(encoder, _ids(folder, sentence)) for sentence in SENTENCES]
        masked = _fill_masks(folder, encoder)
    return Fingerprint(
        tensors=len(encoder_weights),
        parameters=sum(tensor.numel() for tensor in encoder_weights.values()),
        vectors=tuple(
            (*(round(float(x), 4) for x in v[:_SHOWN]), round(float(v.norm()), 4)) for v in vectors
        ),
        masked=masked,
        norms=_norms(encoder_weights),
        untrained_pooler=_looks_untrained(encoder_weights, float(model.config.initializer_range)),
    )


def unknown_share(folder: CheckpointFolder) -> float:
    """The share of ``[UNK]`` among the tokens of ``SENTENCES``, special tokens left out."""
    ids = [i for sentence in SENTENCES for i in _ids(folder, sentence)[1:-1]]
    return ids.count(folder.vocabulary.id_of("[UNK]")) / len(ids)


def _ids(folder: CheckpointFolder, sentence: str) -> list[int]:
    ids: list[int] = folder.vocabulary.tokenizer().encode(sentence).ids
    limit = folder.config["max_position_embeddings"]
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


def _classified(encoder: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    import torch

    output = encoder(input_ids=torch.tensor([ids]))
    pooled = getattr(output, "pooler_output", None)
    found: torch.Tensor = output.last_hidden_state[0, 0] if pooled is None else pooled[0]
    return found


def _fill_masks(folder: CheckpointFolder, encoder: PreTrainedModel) -> tuple[tuple[str, float], ...]:
    import torch
    from torch.nn import functional

    names = _MASKED_HEADS["distilbert" if folder.config["model_type"] == "distilbert" else "bert"]
    stored = folder.weights()
    wanted = (f"{names[0]}.weight", f"{names[0]}.bias", f"{names[1]}.weight", f"{names[1]}.bias", names[2])
    if "[MASK]" not in folder.vocabulary.pieces or not all(name in stored for name in wanted):
        return ()
    weight, bias, scale, shift, output_bias = (stored[name].float() for name in wanted)
    mask = folder.vocabulary.id_of("[MASK]")
    embeddings = encoder.get_input_embeddings().weight
    found = []
    for sentence in MASKED:
        ids = _ids(folder, sentence)
        if mask not in ids:
            return ()
        state = encoder(input_ids=torch.tensor([ids])).last_hidden_state[0, ids.index(mask)]
        state = functional.gelu(functional.linear(state, weight, bias))
        state = functional.layer_norm(state, state.shape, scale, shift, 1e-12)
        probabilities = functional.softmax(functional.linear(state, embeddings, output_bias), dim=0)
        best = int(probabilities[: len(folder.vocabulary)].argmax())
        found.append((folder.vocabulary.pieces[best], round(float(probabilities[best]), 4)))
    return tuple(found)


def _norms(weights: dict[str, torch.Tensor]) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, tensor in weights.items():
        words = name.split(".")
        part = f"layer {words[2]}" if words[1] == "layer" else words[0]
        squares[part] = squares.get(part, 0.0) + float(tensor.square().sum())
    return {part: round(total**0.5, 4) for part, total in squares.items()}


def _looks_untrained(weights: dict[str, torch.Tensor], initial: float) -> bool:
    """Whether the pooler's bias is exactly 0 and its weights have the standard deviation they began with.

    A pretrained pooler of BERT has a bias, and weights with half as much again as ``initial`` or more.
    """
    weight, bias = weights.get("pooler.dense.weight"), weights.get("pooler.dense.bias")
    if weight is None or bias is None or bias.any():
        return False
    return abs(float(weight.std()) / initial - 1) < 0.15
