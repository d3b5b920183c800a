"""From a checkpoint folder to a model with a task head, every weight accounted for.

``from_pretrained`` fills what a file lacks with random numbers and says so in a log. Here the
weights are read first, the model is built around them, and anything missing or left over outside
the head is an error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multibench.checkpoints.folder import CheckpointFolder
from multibench.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Dropout", "Head", "initialise_head", "load_model"]

# Heads of other purposes that published files carry beside the encoder: known, and left alone.
_OTHER_HEADS = (
    "cls.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "classifier.",
    "pre_classifier.",
    "qa_outputs.",
)


@dataclass(frozen=True)
class Head:
    """What sits on the encoder: ``outputs`` classes, 1 regression score, or 2 span scores a token."""

    kind: Literal["classification", "regression", "span"]
    outputs: int


@dataclass(frozen=True)
class Dropout:
    """Dropout rates; None leaves what the checkpoint's configuration says."""

    hidden: float | None = None
    attention: float | None = None
    head: float | None = None


@dataclass(frozen=True)
class _Kind:
    """What transformers calls the classes of an architecture and its rates of dropout; None has no name there."""

    prefix: str
    dropout: tuple[str, str]
    class_dropout: str | None
    span_dropout: str | None
    attention: str = "sdpa"


# In bytes; what torch gives all memory that it takes.
_ALIGNED = 64

_BERT_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_KINDS = {
    "bert": _Kind("Bert", _BERT_DROPOUT, "classifier_dropout", "classifier_dropout"),
    "distilbert": _Kind("DistilBert", ("dropout", "attention_dropout"), "seq_classif_dropout", "qa_dropout"),
    "megatron-bert": _Kind("MegatronBert", _BERT_DROPOUT, None, None, attention="eager"),
}


def _build(folder: CheckpointFolder, head: Head, dropout: Dropout) -> PreTrainedModel:
    import torch
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    settings: dict[str, Any] = {k: v for k, v in folder.config.items() if k not in {"model_type", "id2label"}}
    kind = _KINDS[folder.config["model_type"]]
    names = (*kind.dropout, kind.span_dropout if head.kind == "span" else kind.class_dropout)
    for name, rate in zip(names, (dropout.hidden, dropout.attention, dropout.head), strict=True):
        if rate is not None and name is not None:
            settings[name] = rate
    purpose = "QuestionAnswering" if head.kind == "span" else "SequenceClassification"
    try:
        config = getattr(transformers, f"{kind.prefix}Config")(**settings, num_labels=head.outputs)
        config._attn_implementation = kind.attention
        # Without memory, which comes with the weights; so no random numbers are drawn that they would replace.
        with torch.device("meta"):
            model: PreTrainedModel = getattr(transformers, f"{kind.prefix}For{purpose}")(config)
    except Exception as error:  # transformers raises whatever its checks and those of torch make it raise
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"{folder.path / 'config.json'} describes no model that can be built: {why}."
        ) from error
    if names[2] is None and head.kind != "span" and dropout.head is not None:
        model.dropout.p = dropout.head
    return model


def load_model(
    folder: CheckpointFolder, head: Head, dropout: Dropout | None = None, own_head: bool = False
) -> PreTrainedModel:
    """The encoder of ``folder`` in float32 under a ``head``, in evaluation mode, on the CPU.

    The head's weights are the checkpoint's own with ``own_head``; otherwise they are undefined until
    ``initialise_head``. Raises ``CheckpointError`` for weights that are missing, left over or of
    another shape.
    """
    import torch

    model = _build(folder, head, dropout or Dropout())
    prefix = model.base_model_prefix + "."
    wanted = {name.removeprefix(prefix): name for name, _ in model.named_parameters()}
    places = {own: name for own, name in wanted.items() if own_head or name.startswith(prefix)}
    stored: set[str] = set()
    taken: set[int] = set()
    for own, source in folder.tensors():
        stored.add(own)
        if own in places:
            _check(folder, own, source, model.get_parameter(places[own]))
            _put(model, places[own], torch.nn.Parameter(_own(source, taken)))
        del source  # before the next one is read
    if not places.keys() <= stored:
        raise CheckpointError(_missing(folder, sorted(places.keys() - stored), stored))
    # A task model without pooler (spans) leaves the checkpoint's pooler unused, as intended.
    left_over = sorted(n for n in stored - wanted.keys() if not n.startswith((*_OTHER_HEADS, "pooler.")))
    if left_over:
        raise CheckpointError(
            f"{folder.path} holds {len(left_over)} weights that a {folder.config['model_type']} model of "
            f"its config.json has no place for, such as {left_over[0]}."
        )
    for name in wanted.keys() - places.keys():
        _put(model, name, torch.nn.Parameter(torch.empty(model.get_parameter(name).shape)))
    _fill_buffers(model)
    return model.eval()


def _own(source: torch.Tensor, taken: set[int]) -> torch.Tensor:
    """``source`` in float32, in memory that no other weight is in; ``taken`` are the addresses in use.

    Memory that holds it alone, laid out as torch does, is taken over, so that large weights are not there twice. All
    else is copied: views of one tensor, a tensor under two names, and addresses at which sums may round differently.
    """
    import torch

    memory = source.untyped_storage()
    alone = memory.nbytes() == 4 * source.numel() and memory.data_ptr() not in taken
    if (
        source.dtype != torch.float32
        or not source.is_contiguous()
        or not alone
        or memory.data_ptr() % _ALIGNED
    ):
        source = source.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    taken.add(source.data_ptr())
    return source.detach()


def _put(model: PreTrainedModel, name: str, value: torch.Tensor) -> None:
    """Put a parameter or buffer into the place of the one of that name, which has a shape but no memory."""
    module, _, own = name.rpartition(".")
    setattr(model.get_submodule(module), own, value)


def _fill_buffers(model: PreTrainedModel) -> None:
    """Give ``model`` the numbers that it holds beside its parameters: positions, and default token types."""
    import torch

    for name, buffer in list(model.named_buffers()):
        if name.endswith("position_ids"):
            _put(model, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))
        elif name.endswith("token_type_ids"):
            _put(model, name, torch.zeros(buffer.shape, dtype=buffer.dtype))
        else:
            raise CheckpointError(
                f"This release of transformers gives the model a buffer {name}, which multibench does not know; "
                "use one that it was tested with (see constraints.txt)."
            )


def _check(folder: CheckpointFolder, name: str, source: torch.Tensor, place: torch.Tensor) -> None:
    import torch

    if source.shape != place.shape:
        raise CheckpointError(
            f"{folder.path}: {name} has the shape {tuple(source.shape)}; config.json asks for {tuple(place.shape)}. "
            "Weights and configuration belong to different models."
        )
    if not source.is_floating_point():
        raise CheckpointError(f"{folder.path}: {name} holds {source.dtype}, not numbers.")
    # The extremes are NaN or infinite if any value is; finding them takes no second copy.
    if source.numel() and not all(torch.isfinite(extreme) for extreme in source.aminmax()):
        raise CheckpointError(f"{folder.path}: {name} holds NaN or infinity.")


def _missing(folder: CheckpointFolder, missing: list[str], stored: Collection[str]) -> str:
    if all(name.startswith("pooler.") for name in missing):
        return (
            f"{folder.path} holds no pooler (exports of masked language models lack it). A random one would be a "
            "different model from what was published, so it is refused; use an export with the pooler."
        )
    said = f"{folder.path} lacks {len(missing)} of the weights that its config.json asks for, such as {missing[0]}."
    longer = next((name for name in sorted(stored) if name.endswith(f".{missing[0]}")), None)
    if longer is None:
        return said
    prefix = longer.removesuffix(missing[0])
    return f"{said} It holds {longer}: if {prefix!r} is a wrapper's, save the weights without it."


def initialise_head(
    model: PreTrainedModel, seed: int, rule: Literal["normal", "truncated_normal"] = "normal"
) -> None:
    """Draw the head's weights from a generator of its own, biases 0.

    ``normal`` has the configuration's ``initializer_range`` as standard deviation (transformers);
    ``truncated_normal`` cuts it at two standard deviations (Google's code). The draw depends on the
    seed and the head's shape alone.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    sd = float(model.config.initializer_range)
    prefix = model.base_model_prefix + "."
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(prefix):
                continue
            if name.endswith("bias"):
                parameter.zero_()
                continue
            # On the CPU, where the generator is: the same bits on any device.
            drawn = torch.empty(parameter.shape)
            if rule == "truncated_normal":
                torch.nn.init.trunc_normal_(drawn, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
            else:
                drawn.normal_(0.0, sd, generator=generator)
            parameter.copy_(drawn)
