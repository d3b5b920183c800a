"""The edge to Hugging Face's ``evaluate``: our metrics as its modules, and its modules for our runs.

Nothing else here needs the library, and it is imported where it is used: that takes seconds. A module of
``evaluate`` is code from elsewhere, which runs when it is loaded; one that is named, not given as a local
file, comes from the Hub. It sees all predictions of a run once and has no weighted form, so its scores come
without intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from multibench.cache import cache_folder, expanded
from multibench.errors import DataError, StatisticsError, UnavailableError
from multibench.metrics.base import Metric
from multibench.metrics.squad import answer_outputs

__all__ = ["EvaluateModule", "as_evaluate", "load_module", "local_module"]


def as_evaluate(metric: Metric, **options: Any) -> Any:
    """``metric`` as an ``evaluate.Metric``: ``compute``, ``add_batch`` and ``evaluate.combine`` work, offline too.

    Predictions and references are class numbers (or, as predictions, lists of class scores), numbers, or for
    answers what ``squad_v2`` of ``evaluate`` takes, in any order: ``{"id", "prediction_text",
    "no_answer_probability"}`` and ``{"id", "answers": {"text", "answer_start"}}``. Null odds may stand for the
    probability. ``compute(no_answer_threshold=...)`` refuses the answers whose odds exceed it; without it all
    count. The result is ``{metric.name: score}``, a fraction where ``evaluate`` gives percent for answers. ``options``
    are those of ``evaluate.Metric``. Raises ``UnavailableError`` without the library.
    """
    evaluate = _library()

    def info(self: Any) -> Any:
        return evaluate.MetricInfo(
            description=metric.title,
            citation="",
            inputs_description=as_evaluate.__doc__ or "",
            features=_features(metric),
        )

    def compute(self: Any, *, predictions: Any, references: Any, **settings: Any) -> dict[str, float]:
        if metric.takes == "answers":
            references, predictions = _answer_columns(predictions, references, **settings)
        return {metric.name: metric.score(references, predictions)}

    # `evaluate` names a module by its class.
    name = "".join(part.capitalize() for part in metric.name.split("_"))
    module = type(name, (evaluate.Metric,), {"_info": info, "_compute": compute})
    return module(**{**_options(), **options})


def _library() -> Any:
    """The package ``evaluate``."""
    try:
        import evaluate
    except ImportError as error:
        raise UnavailableError(
            f"The package 'evaluate' cannot be imported ({error}), and without it its modules cannot be used. "
            "Install it (pip install evaluate), or leave the suite's modules of 'metric' out."
        ) from error
    return evaluate


def _options() -> dict[str, Any]:
    """Nothing is written but an empty folder, and modules that draw at random draw the same each time."""
    return {"keep_in_memory": True, "cache_dir": str(cache_folder() / "evaluate"), "seed": 0}


def _features(metric: Metric) -> Any:
    """What ``metric`` takes, in the types of ``datasets``; a list of alternatives for classes."""
    import datasets

    whole, number, text = (datasets.Value(name) for name in ("int64", "float64", "string"))
    if metric.takes == "answers":
        predictions = {"id": text, "prediction_text": text, "no_answer_probability": number}
        answers = datasets.Sequence({"text": text, "answer_start": whole})
        return datasets.Features({"predictions": predictions, "references": {"id": text, "answers": answers}})
    if metric.takes == "values":
        return datasets.Features({"predictions": number, "references": number})
    return [
        datasets.Features({"predictions": predictions, "references": whole})
        for predictions in (whole, datasets.Sequence(number))
    ]


def _answer_columns(
    predictions: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
    no_answer_threshold: float | None = None,
) -> tuple[Any, Any]:
    """Labels and ``ANSWER_OUTPUTS`` of one run, by the rules of v1.1 where all questions have an answer."""
    given = {each["id"]: each for each in predictions}
    wanted = [each["id"] for each in references]
    if len(given) < len(predictions) or len(set(wanted)) < len(wanted) or set(given) != set(wanted):
        raise StatisticsError(
            f"The ids of {len(predictions)} predictions and {len(references)} references differ, or one comes twice; "
            "expected one prediction for each reference."
        )
    gold = [each["answers"]["text"] for each in references]
    threshold = no_answer_threshold
    if threshold is None and not all(gold):
        threshold = math.inf
    texts = [given[name]["prediction_text"] for name in wanted]
    odds = [given[name]["no_answer_probability"] for name in wanted]
    return np.array([len(each) > 0 for each in gold]), answer_outputs(texts, odds, gold, threshold)


@dataclass(frozen=True)
class EvaluateModule:
    """A module of ``evaluate``, loaded from ``source``: a name, or the path of a local module."""

    source: str
    module: Any

    def scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """The numbers in what the module makes of one run's predictions; anything else in it is left out.

        Raises ``DataError``, with the module's own words, if it fails or gives no number.
        """
        try:
            found = self.module.compute(predictions=predictions, references=references)
        except Exception as error:  # somebody else's code: whatever it raises
            raise DataError(
                f"The evaluate module {self.source} cannot score these predictions ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]})."
            ) from error
        numbers = {str(k): float(v) for k, v in (found or {}).items() if isinstance(v, Real)}
        if not numbers:
            raise DataError(
                f"The evaluate module {self.source} gave no number; expected a dictionary of them."
            )
        return numbers

    def answers(
        self, ids: Sequence[str], texts: Sequence[str], gold: Sequence[Sequence[tuple[str, int]]]
    ) -> dict[str, float]:
        """``scores`` of answers ("" for none), each of ``gold`` a text and its start, in the layout of SQuAD.

        With ``no_answer_probability``, 0 for all, if the module asks for it, as ``squad_v2`` does.
        """
        extra = {"no_answer_probability": 0.0} if "no_answer_probability" in str(self.module.features) else {}
        return self.scores(
            [{"id": i, "prediction_text": text, **extra} for i, text in zip(ids, texts, strict=True)],
            [
                {"id": i, "answers": {"text": [t for t, _ in each], "answer_start": [s for _, s in each]}}
                for i, each in zip(ids, gold, strict=True)
            ],
        )


def local_module(source: str) -> Path | None:
    """The script that ``source`` means if it is a path, of the script or of the folder NAME with NAME.py in it.

    A path ends in ``.py`` or begins with ``.``, ``/`` or ``~``. None for a name. Raises ``DataError`` if it is a path
    without a script, or a name under which something lies in the current folder.
    """
    path = expanded(source)
    if not (source.endswith(".py") or source.startswith((".", "/", "~"))):
        if path.exists():
            raise DataError(
                f"'{source}' names a module of evaluate, and a folder of that name lies here, whose code would be run "
                f"instead. Write ./{source} if you mean the folder; else run from another one."
            )
        return None
    script = path if source.endswith(".py") else path / f"{path.resolve().name}.py"
    if not script.is_file():
        raise DataError(
            f"There is no script {script}; expected a module of evaluate, as NAME/NAME.py or NAME."
        )
    return script


def load_module(source: str) -> EvaluateModule:
    """The module that ``evaluate`` calls ``source``, or the local one at that path.

    Raises ``UnavailableError`` if a named one would have to be fetched and cannot be, and ``DataError``
    if there is no local one or its code cannot be loaded. Without the library ``UnavailableError`` is raised, too.
    """
    script = local_module(source)
    evaluate = _library()
    try:
        module = evaluate.load(source if script is None else str(script), **_options())
    except (FileNotFoundError, ConnectionError) as error:
        raise UnavailableError(
            f"There is no evaluate module {source} on this machine, and it cannot be fetched. Give the path of a local "
            "one, NAME/NAME.py, or load it once where there is a network."
        ) from error
    except Exception as error:  # somebody else's code: whatever it raises
        raise DataError(
            f"The evaluate module {source} cannot be loaded ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}). In a local module, write one import a line."
        ) from error
    return EvaluateModule(source, module)
