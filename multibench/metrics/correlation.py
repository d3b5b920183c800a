"""Pearson and Spearman correlation under weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multibench.metrics.base import Array, Index, Metric, Prepared, value_labels, value_outputs

__all__ = ["Pearson", "Spearman"]

# Below this share of the raw second moment a variance has lost digits, or is zero: look again, exactly.
SUSPECT = 1e-4
# Spearman: draws worked on together (so that they stay in the cache), and examples in a strip.
PIECE, STRIP = 64, 16


class _Values(Prepared):
    scale = "correlation"

    def deciding(self) -> float:
        """None: of points on one line no number says how far others might lie from it."""
        return 0

    def __init__(self, gold: Array, predicted: Array) -> None:
        self.gold, self.predicted = gold, predicted
        self.n_runs, self.n_examples = predicted.shape

    def rows(self) -> Array:
        """What identifies an example: its values, in the order of the runs."""
        return np.ascontiguousarray(np.vstack([self.gold[None], self.predicted]).T)

    def select(self, runs: Index, examples: Index) -> _Values:
        """Only these runs and examples."""
        return type(self)(self.gold[examples], self.predicted[runs][:, examples])


def _standard(values: Array) -> Array:
    """Centred and scaled along the last axis, so that moments lose no digits; constant rows become 0."""
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    constant = values.max(axis=-1, keepdims=True) == values.min(axis=-1, keepdims=True)
    return np.asarray(np.where(constant, 0.0, centred / np.where(constant | (spread == 0), 1.0, spread)))


def _pearson_by_hand(x: Array, y: Array, w: Array) -> float:
    """One weighted correlation in two passes; NaN if either side is constant where weights are positive."""
    x, y, w = x[w > 0], y[w > 0], w[w > 0].astype(np.float64)
    if len(w) == 0 or x.max() == x.min() or y.max() == y.min():
        return float("nan")
    x, y = x - (w @ x) / w.sum(), y - (w @ y) / w.sum()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float((w @ (x * y)) / np.sqrt((w @ x**2) * (w @ y**2)))


class _PreparedPearson(_Values):
    def __init__(self, gold: Array, predicted: Array) -> None:
        super().__init__(gold, predicted)
        self._features: Array | None = None

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        runs = self.n_runs
        if self._features is None:
            x, y = _standard(self.gold), _standard(self.predicted)
            self._features = np.ascontiguousarray(np.vstack([x[None], x[None] ** 2, y, y**2, y * x]).T)
        w = weights.astype(np.float64)
        n = w.sum(axis=1)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = w @ self._features / n
            mx, mxx = moments[:, :1], moments[:, 1:2]
            my, myy, mxy = (moments[:, 2 + k * runs : 2 + (k + 1) * runs] for k in range(3))
            vx, vy = mxx - mx**2, myy - my**2
            scores = (mxy - mx * my) / np.sqrt(vx * vy)
        suspect = ~((vx > SUSPECT * mxx) & (vy > SUSPECT * myy))
        constant = self.predicted.max(axis=1) == self.predicted.min(axis=1)
        scores[:, constant] = np.nan
        for draw, run in np.argwhere(suspect & ~constant):
            scores[draw, run] = _pearson_by_hand(self.gold, self.predicted[run], weights[draw])
        return np.asarray(np.clip(scores, -1, 1))

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        # Devlin, Gnanadesikan and Kettenring (1975): zx zy - r (zx^2 + zy^2) / 2
        r = self.scores()[:, None]
        zx, zy = _standard(self.gold), _standard(self.predicted)
        return np.asarray(zx * zy - r / 2 * (zx**2 + zy**2))


class Pearson(Metric):
    """Pearson correlation of outputs and labels; NaN where either is constant.

    In a mean over runs a run without a defined correlation counts as ``collapsed_value`` (0: no association);
    the functions of ``multibench.stats`` say how many did, and can be told to leave it NaN.
    """

    name = "pearson"
    title = "Pearson correlation"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """See ``Metric.prepare``."""
        gold = value_labels(labels, self.name)
        return _PreparedPearson(gold, value_outputs(gold, outputs, self.name))


class _Ranks:
    """Weighted average ranks (mid-ranks) of one vector, for many weights at once.

    In the expanded resample the average rank of a group of ties is the number of observations below
    it, plus half of those in it, plus one half. That last half shifts all ranks alike and is left out.
    """

    def __init__(self, values: Array) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.starts = starts
        self.ties = len(starts) < len(values)
        self.group = np.empty(len(values), dtype=np.int64)
        self.group[self.order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))

    def group_sums(self, columns: Array) -> Array:
        """Sums of ``(n_draws, n_examples)`` within groups of ties, in rising order."""
        ordered = np.take(columns, self.order, axis=1)
        return np.add.reduceat(ordered, self.starts, axis=1) if self.ties else ordered

    def middle(self, weights: Array) -> tuple[Array, Array]:
        """Mid-ranks ``(n_draws, n_examples)`` and the sum of cubed tie weights ``(n_draws,)``."""
        groups = self.group_sums(weights)
        mid = np.cumsum(groups, axis=1) - groups / 2
        return np.take(mid, self.group, axis=1), (groups**3).sum(axis=1)


class _Running:
    """``sum_j v_j (sum of w_i up to and with j)`` in the order of one run after another, for many draws.

    Draws lie side by side in memory and running sums are taken in two levels, within strips of examples and
    over strips, as whole-array additions: several times faster than ``np.cumsum`` draw by draw.
    """

    def __init__(self, w: Array, v: Array) -> None:
        n_draws, n = w.shape
        self.n_strips = -(-n // STRIP)
        # One example without weight stands for all that fill the last strip up.
        self.w = np.vstack([w.T, np.zeros((1, n_draws))])
        self.v = np.vstack([v.T, np.zeros((1, n_draws))])
        self.index = np.full(self.n_strips * STRIP, n)
        self.sums = np.empty((self.n_strips, STRIP, n_draws))
        self.values = np.empty_like(self.sums)

    def cross(self, order: Array) -> Array:
        self.index[: len(order)] = order
        flat = self.n_strips * STRIP, self.w.shape[1]
        np.take(self.w, self.index, axis=0, out=self.sums.reshape(flat), mode="clip")
        np.take(self.v, self.index, axis=0, out=self.values.reshape(flat), mode="clip")
        for step in range(1, STRIP):
            self.sums[:, step] += self.sums[:, step - 1]
        totals = self.sums[:, -1]
        before = np.cumsum(totals, axis=0) - totals
        within = np.einsum("gsb,gsb->b", self.values, self.sums)
        return np.asarray(within + np.einsum("gb,gb->b", self.values.sum(axis=1), before))


class _PreparedSpearman(_Values):
    """Weighted ranks need a cumulative sum for each run: no matrix product gives them.

    With mid-ranks m the correlation is ``(sum w mx my - n^3 / 4) / sqrt(Tx Ty)``,
    ``T = (n^3 - sum over ties W^3) / 12``. By exchange of sums ``sum w mx my`` needs only the
    outputs' order, the weights and ``v = w mx``: ``sum over ties V (below + W / 2)``.
    """

    def __init__(self, gold: Array, predicted: Array) -> None:
        super().__init__(gold, predicted)
        self._ranks: list[_Ranks] | None = None

    def ranks(self) -> list[_Ranks]:
        """Order and ties of the labels, then of each run."""
        if self._ranks is None:
            self._ranks = [_Ranks(self.gold), *(_Ranks(row) for row in self.predicted)]
        return self._ranks

    def draws(self, weights: Array) -> Array:
        """See ``Prepared.draws``."""
        pieces = [
            self._piece(weights[start : start + PIECE].astype(np.float64))
            for start in range(0, len(weights), PIECE)
        ]
        return np.concatenate(pieces) if pieces else np.empty((0, self.n_runs))

    def _piece(self, w: Array) -> Array:
        gold, *runs = self.ranks()
        n = w.sum(axis=1)
        gold_middle, gold_cubes = gold.middle(w)
        v = w * gold_middle
        own = (w * v).sum(axis=1) / 2
        cubes = (w**3).sum(axis=1)
        spread_x = n**3 - gold_cubes
        running = _Running(w, v)
        scores = np.empty((len(w), self.n_runs))
        for r, run in enumerate(runs):
            if run.ties:
                groups, sums = run.group_sums(w), run.group_sums(v)
                below = np.cumsum(groups, axis=1) - groups / 2
                cross, spread_y = np.einsum("bj,bj->b", sums, below), n**3 - (groups**3).sum(axis=1)
            else:
                cross, spread_y = running.cross(run.order) - own, n**3 - cubes
            with np.errstate(invalid="ignore", divide="ignore"):
                defined = (spread_x > 1e-9 * n**3) & (spread_y > 1e-9 * n**3)
                scores[:, r] = np.where(
                    defined, 12 * (cross - n**3 / 4) / np.sqrt(np.abs(spread_x * spread_y)), np.nan
                )
        return np.asarray(np.clip(scores, -1, 1))

    def influence(self) -> Array:
        """See ``Prepared.influence``."""
        gold, *runs = self.ranks()
        n = float(self.n_examples)
        ones = np.ones((1, self.n_examples))
        x, x_cubes = gold.middle(ones)
        x_size = gold.group_sums(ones)[0][gold.group]
        x_spread = n**3 - x_cubes[0]
        values = np.full(self.predicted.shape, np.nan)
        for r, run in enumerate(runs):
            y, y_cubes = run.middle(ones)
            y_spread = n**3 - y_cubes[0]
            if x_spread <= 0 or y_spread <= 0:
                continue
            y_size = run.group_sums(ones)[0][run.group]
            numerator = 12 * (float((x * y).sum()) - n**3 / 4)
            rho = numerator / np.sqrt(x_spread * y_spread)
            # An example moves its own term and the ranks of all that lie above it.
            d_cross = x[0] * y[0] + _above(run, x[0]) + _above(gold, y[0])
            d_numerator = 12 * d_cross - 9 * n**2
            d_x, d_y = 3 * (n**2 - x_size**2), 3 * (n**2 - y_size**2)
            values[r] = n * (
                d_numerator / np.sqrt(x_spread * y_spread) - rho / 2 * (d_x / x_spread + d_y / y_spread)
            )
        return values


def _above(ranks: _Ranks, values: Array) -> Array:
    """For each example the sum of ``values`` over those ranked above it, plus half over its ties."""
    groups = ranks.group_sums(values[None])[0]
    above = groups.sum() - np.cumsum(groups) + groups / 2
    return np.asarray(above[ranks.group])


class Spearman(Metric):
    """Spearman rank correlation with average ranks for ties; NaN where labels or outputs are constant.

    Collapsed runs count in means over runs as Pearson's do.
    """

    name = "spearman"
    title = "Spearman correlation"

    def prepare(self, labels: ArrayLike, outputs: ArrayLike) -> Prepared:
        """See ``Metric.prepare``."""
        gold = value_labels(labels, self.name)
        return _PreparedSpearman(gold, value_outputs(gold, outputs, self.name))
