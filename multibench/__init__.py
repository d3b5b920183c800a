"""multibench: error bars for BERT-like models.

Fine-tunes families of checkpoints, keeps every prediction of every run, and turns the predictions
into statements with honest uncertainty. The verbs of the command line are functions here: ``init``, ``demo``,
``fetch``, ``plan``, ``run``, ``status``, ``scores``, ``scores_alone``, ``compare``, ``variance``, ``power``,
``dynamics``, ``instances``, ``benchmark_scores``, ``bias_scores``, ``report``, ``reproduce``, ``references``,
``score``, ``export``, ``import_google_predictions``, ``import_predictions``, ``convert`` and ``bench``; ``Results``
reads stored runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multibench.api import (
        bench,
        benchmark_scores,
        bias_scores,
        compare,
        convert,
        demo,
        dynamics,
        export,
        fetch,
        import_google_predictions,
        import_predictions,
        init,
        instances,
        plan,
        power,
        references,
        report,
        reproduce,
        run,
        score,
        scores,
        scores_alone,
        status,
        variance,
    )
    from multibench.results import Results

__all__ = [
    "Results",
    "bench",
    "benchmark_scores",
    "bias_scores",
    "compare",
    "convert",
    "demo",
    "dynamics",
    "export",
    "fetch",
    "import_google_predictions",
    "import_predictions",
    "init",
    "instances",
    "plan",
    "power",
    "references",
    "report",
    "reproduce",
    "run",
    "score",
    "scores",
    "scores_alone",
    "status",
    "variance",
]


def __getattr__(name: str) -> Any:
    """Import on first use: ``import multibench`` costs nothing."""
    if name == "Results":
        from multibench.results import Results

        return Results
    if name in __all__:
        from multibench import api

        return getattr(api, name)
    raise AttributeError(f"module 'multibench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What can be imported, loaded already or not."""
    return [*globals(), *__all__]
