"""The verbs of the command line as functions, with the same names and meanings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multibench import network
from multibench.checkpoints import find
from multibench.errors import ResultsError, UnavailableError
from multibench.planning import (
    Plan,
    PlanHours,
    Replicas,
    Workers,
    choose_workers,
    groups_left,
    hours_of,
    make_plan,
)
from multibench.results import Results, RunStore
from multibench.results.frame import find_stores
from multibench.results.store import writing
from multibench.suite import Suite, find_suite, is_suite, load_suite, starter_suite, write_starter_suite
from multibench.tasks import DataSources

if TYPE_CHECKING:
    from multibench.bench import bench
    from multibench.checkpoints.convert import convert
    from multibench.checkpoints.verify import verify_checkpoints
    from multibench.exchange import import_google_predictions, import_predictions
    from multibench.execution.devices import Card
    from multibench.execution.outcome import SuiteOutcome
    from multibench.planning.fetch import Fetched
    from multibench.reference import Reference
    from multibench.reports.alone import scores_alone
    from multibench.reports.benchmark import benchmark_scores
    from multibench.reports.bias import bias_scores
    from multibench.reports.comparison import compare
    from multibench.reports.dynamics import dynamics
    from multibench.reports.instances import instances
    from multibench.reports.page import report
    from multibench.reports.power import power
    from multibench.reports.reproduction import reproduce
    from multibench.reports.scores import scores
    from multibench.reports.variance import variance
    from multibench.scoring import score

__all__ = [
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
    "plan_hours",
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
    "verify_checkpoints",
    "verify_results",
]


# Verbs that live with what they need, which is imported when they are used.
_LIVE_IN = {
    **dict.fromkeys(
        (
            "benchmark_scores",
            "bias_scores",
            "compare",
            "dynamics",
            "instances",
            "power",
            "reproduce",
            "scores",
            "scores_alone",
            "variance",
        ),
        "multibench.reports",
    ),
    "bench": "multibench.bench",
    "report": "multibench.reports.page",
    "score": "multibench.scoring",
    **dict.fromkeys(("import_google_predictions", "import_predictions"), "multibench.exchange"),
    "convert": "multibench.checkpoints.convert",
    "verify_checkpoints": "multibench.checkpoints.verify",
}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name in _LIVE_IN:
        return getattr(import_module(_LIVE_IN[name]), name)
    raise AttributeError(f"module 'multibench.api' has no attribute {name!r}")


def _sources(suite: Suite, data: Path | None) -> DataSources:
    return DataSources(data, suite.different_data_accepted)


def references() -> list[Reference]:
    """The published tables that ``reproduce`` knows, by name, with all figures and their sources."""
    from multibench.reference import REFERENCES

    return list(REFERENCES)


def init(family: str, out: Path | None = None) -> str:
    """A commented suite file to start from, with the checkpoints of ``family``; written to the new file ``out``, too.

    Raises ``UnknownNameError`` for an unknown family, and ``StorageError`` if ``out`` exists or cannot be written.
    """
    if out is not None:
        write_starter_suite(family, out)
    return starter_suite(family)


def plan(
    suite: Path | str,
    results: Path = Path("results"),
    data: Path | None = None,
    checkpoints: Path | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """The runs of the suite file, compared with what is stored below ``results``. Fetches nothing."""
    suite = find_suite(str(suite))
    loaded = load_suite(suite, overrides)
    with network.staying_offline():
        return make_plan(loaded, RunStore(results / loaded.name), _sources(loaded, data), checkpoints)


def plan_hours(made: Plan, gpus: Sequence[str] = (), rate: str | None = None) -> PlanHours:
    """Hours of the missing runs on cards: those named ``gpus``, and any that torch finds on this machine.

    Predictions are called so. ``rate`` is a measured one: operations a second, such as ``"6e13"``, or a file that
    ``multibench bench --format json`` wrote. Raises ``UnknownNameError`` for a card without figures, and
    ``OptionError`` for a rate that cannot be used.
    """
    from multibench.execution.found import found_cards

    return hours_of(made, gpus, rate, found_cards())


def fetch(
    what: Path | str,
    out: Path,
    data: Path | None = None,
    checkpoints: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    source: str | None = None,
    offline: bool = False,
    quiet: bool = False,
) -> Fetched:
    """Bring weights and data of a suite, or one checkpoint, into ``out``: ``run`` then needs nothing else.

    ``data`` and ``checkpoints`` are folders that hold some of it already. ``source`` names the kind of source
    to take a checkpoint from. Raises ``UnavailableError`` if something could not be had, after all the rest was
    brought, and ``StorageError`` if there is no room.
    """
    from multibench.execution.progress import make_progress
    from multibench.planning.fetch import fetch_checkpoints, fetch_suite

    if offline:
        network.go_offline()
    network.look_for_hub()
    name, say = str(what), make_progress(quiet).say
    if is_suite(name):
        loaded = load_suite(find_suite(name), overrides)
        fetched = fetch_suite(loaded, out, _sources(loaded, data), checkpoints, say)
    else:
        fetched = fetch_checkpoints([find(name)], out, checkpoints, say, source)
    if fetched.missing:
        raise UnavailableError(fetched.sentence())
    return fetched


def run(
    suite: Path | str,
    results: Path = Path("results"),
    data: Path | None = None,
    checkpoints: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    threads: int | None = None,
    offline: bool = False,
    retry_failed: bool = False,
    quiet: bool = False,
    workers: Workers = "auto",
    replicas: Replicas = "auto",
) -> SuiteOutcome:
    """Make the missing runs of the suite file and store them below ``results``.

    ``device`` is ``auto``, ``cpu``, ``cuda`` (every visible GPU) or ``cuda:N``; whether it answers is looked at before
    anything is fetched. ``workers`` processes share the runs, of ``threads`` CPU threads each; ``auto`` chooses by the
    work, the cores and the memory, and on GPUs is one a card. Up to ``replicas`` runs of one checkpoint and task are
    trained together as one computation; ``auto`` chooses by the size of a step.

    Raises the errors of ``multibench.errors`` for inputs that cannot be used, and for GPUs that no longer answer;
    whatever was finished before stays stored.
    """
    # Torch comes last: what is wrong with a suite, its data or its folders is said at once, and that all is done.
    from multibench.execution.claims import Claims
    from multibench.execution.devices import check_device_name
    from multibench.execution.outcome import SuiteOutcome, count_failed
    from multibench.execution.progress import make_progress

    check_device_name(device)
    if offline:
        network.go_offline()
    network.look_for_hub()
    suite = find_suite(str(suite))
    loaded = load_suite(suite, overrides)
    store = RunStore(results / loaded.name)
    with writing(store.folder):
        store.folder.mkdir(parents=True, exist_ok=True)
        Claims(store.folder / "claims").clear_dead()
    progress = make_progress(quiet)
    sources = _sources(loaded, data)

    @cache
    def cards() -> tuple[Card, ...]:
        from multibench.execution.breakage import usable_cards

        return usable_cards(device, workers, progress.say)

    def on_fetch(name: str) -> None:
        cards()
        progress.say(f"fetching {name}")

    with network.before_fetching(cards):
        made = make_plan(loaded, store, sources, checkpoints, may_fetch=True, on_fetch=on_fetch, verify=True)
    if retry_failed:
        from multibench.execution.retry import retire_failed

        made = retire_failed(made, store)
    if not made.todo():
        with progress:
            progress.open_suite(made, 0)
        return SuiteOutcome({}, count_failed(made, store), 0.0)
    from multibench.execution.devices import device_of, planning_device, posts
    from multibench.execution.local import run_plan
    from multibench.execution.workers import extra_workers, run_arguments

    found = planning_device(device_of(cards()), len(cards()))
    shared = choose_workers(made, found, workers, threads, replicas)
    count = min(shared.workers, len(groups_left(made, replicas, found)))
    where = "cuda" if cards() else "cpu"
    arguments = run_arguments(
        suite, results, data, checkpoints, overrides, where, shared.threads, offline, replicas
    )
    if cards() and (count > 1 or not cards()[0].here):
        from multibench.execution.supervision import supervise

        return supervise(made, store, progress, posts(cards(), count), arguments, shared.threads)
    here = cards()[0].name if cards() else "cpu"
    with extra_workers(count - 1, arguments, shared.threads, progress.say):
        return run_plan(made, store, sources, progress, here, shared.threads, replicas)


def demo(results: Path = Path("results"), *, workers: Workers = "auto", quiet: bool = False) -> Path:
    """Make the missing runs of the built-in suite ``demo``, without a network; returns their folder."""
    run("demo", results, offline=True, quiet=quiet, workers=workers)
    return results / "demo"


def status(
    suite_or_results: str,
    results: Path = Path("results"),
    data: Path | None = None,
    checkpoints: Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Counts by state for each task, of a suite file or of whatever a results folder holds."""
    from multibench.execution.claims import Claims

    path = Path(suite_or_results)
    tasks: dict[str, dict[str, int]] = {}

    def count(task: str, state: str) -> None:
        tasks.setdefault(task, {}).setdefault(state, 0)
        tasks[task][state] += 1

    reasons: list[str] = []
    if path.is_dir():
        opened = Results.open(path)
        for stored in opened.stored:
            state = "done" if stored.manifest["status"] == "finished" else stored.manifest["status"]
            count(stored.fields["task"], state)
            if state != "done":
                reasons.append(f"{stored.run_id} {state}: {stored.manifest['reason']}")
        return {
            "name": str(path),
            "tasks": tasks,
            "reasons": reasons,
            "remarks": [*opened.partition.notes, *opened.damaged],
        }
    made = plan(suite_or_results, results, data, checkpoints, overrides)
    store = RunStore(results / made.suite.name)
    running = Claims(store.folder / "claims").living()
    for planned in made.runs:
        at_work = planned.state in {"missing", "failed"} and planned.run_id in running
        count(planned.task.name, "running" if at_work else planned.state)
        if planned.state in {"failed", "diverged", "collapsed"} and planned.stored is not None:
            reasons.append(f"{planned.run_id} {planned.state}: {planned.stored['reason']}")
    return {"name": made.suite.name, "tasks": tasks, "reasons": reasons, "remarks": list(made.remarks)}


def verify_results(results: Path) -> dict[str, Any]:
    """Every stored run below ``results`` against its checksums: how many, and what is damaged."""
    damaged: dict[str, str] = {}
    runs = 0
    for store in find_stores(results):
        for run_id in store.run_ids():
            runs += 1
            try:
                reason = store.damage(run_id)
            except ResultsError as error:
                reason = str(error)
            if reason is not None:
                damaged[run_id if run_id not in damaged else f"{store.folder.name}/{run_id}"] = reason
    return {"runs": runs, "damaged": damaged}


def export(
    what: Literal["glue-submission", "squad", "google-predictions"],
    results: Path | Results,
    out: Path,
    where: str = "",
    select: str | None = None,
    data: Path | None = None,
) -> list[Path]:
    """Write stored predictions below ``out`` as other people's tools take them; returns the files.

    ``glue-submission`` is a zip for the GLUE server, from one run a task; ``squad`` a JSON of answers for each run.
    ``google-predictions`` is the layout of the predictions released with MultiBERTs, every run in it; ``data`` is where
    it looks for Winogender's sentences. ``where`` filters the runs and ``select`` chooses among the settings of a
    submission, as for ``scores``. Raises ``ResultsError``
    if the runs do not have what is asked for, and ``StorageError`` if ``out`` cannot be written.
    """
    from multibench.scoring import export_glue_submission, export_squad

    opened = results if isinstance(results, Results) else Results.open(results)
    runs = opened.where(where)
    if what == "google-predictions":
        from multibench.exchange import export_google_predictions

        return export_google_predictions(runs, out, data)
    return export_squad(runs, out) if what == "squad" else [export_glue_submission(runs, out, select)]
