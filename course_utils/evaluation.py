"""From scores to a report: confusion counts, precision, recall, F1, average precision, rankings, calibration, intervals.

Truth and scores are arrays `[N, C]`: N mixtures, C classes, truth 0 or 1, scores between 0 and 1. Every score is taken
over the whole set at once, never averaged over batches. A class without positives has no precision or recall that means
anything: it is left out of macro averages, and named. A class that is never predicted has precision 0. Every function
refuses, with a ValueError, arrays whose shapes do not match and scores that are NaN or infinite: a network that says NaN
has no ranking, and its scores would only show the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from course_utils.taxonomy import Taxonomy, whole

AVERAGES = ("macro", "micro")


def confusion_counts(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> pd.DataFrame:
    """Count true and false positives and negatives of every class.

    Args:
        truth: 0 or 1, `[N, C]`.
        predicted: 0 or 1, `[N, C]`.
        weights: How often each row counts, `[N]`; once if not given.

    Returns:
        One row per class, with the columns `tp`, `fp`, `fn`, `tn`.

    Raises:
        ValueError: If the shapes differ, a value is neither 0 nor 1, or a weight is negative or not a number.

    Example:
        >>> confusion_counts([[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 1], [1, 1]])
            tp   fp   fn   tn
        0  1.0  1.0  1.0  0.0
        1  2.0  0.0  0.0  1.0

    Lesson: 10_precision_and_recall
    """
    truth, predicted = _truth_and_predicted(truth, predicted)
    w = _weights(weights, len(truth))
    if w.ndim != 1:
        raise ValueError(f"weights are {w.shape}; counts take one weight per row, [{len(truth)}]")
    tp, fp, fn = w @ (truth & predicted), w @ (~truth & predicted), w @ (truth & ~predicted)
    return pd.DataFrame({"tp": tp, "fp": fp, "fn": fn, "tn": w.sum() - tp - fp - fn})


def precision_recall_f1(counts: pd.DataFrame) -> pd.DataFrame:
    """Return precision, recall and F1 of every row of confusion counts.

    Args:
        counts: The columns `tp`, `fp`, `fn`.

    Returns:
        The columns `precision`, `recall`, `f1`. Without positives all three are NaN; a class that has positives and is
        never predicted has 0.

    Raises:
        ValueError: If a column is missing, or a count is negative or not a number.

    Example:
        >>> precision_recall_f1(confusion_counts([[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 1], [1, 1]]))
           precision  recall   f1
        0        0.5     0.5  0.5
        1        1.0     1.0  1.0

    Lesson: 10_precision_and_recall
    """
    if lacking := [name for name in ("tp", "fp", "fn") if name not in counts]:
        raise ValueError(f"counts have no column {', '.join(lacking)}; `confusion_counts` gives them")
    tp, fp, fn = (_finite(counts[name], "counts") for name in ("tp", "fp", "fn"))
    if min(tp.min(initial=0), fp.min(initial=0), fn.min(initial=0)) < 0:
        raise ValueError("counts must be 0 or more")
    positives = tp + fn
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(tp + fp > 0, tp / (tp + fp), 0.0)
        recall = tp / positives
        f1 = 2 * tp / (2 * tp + fp + fn)
    table = pd.DataFrame({"precision": precision, "recall": recall, "f1": f1}, index=counts.index)
    table[positives == 0] = np.nan
    return table


def average(counts: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return macro and micro precision, recall and F1.

    Macro is the mean over the classes that have positives. Micro adds up the counts of all classes first: a false alarm
    for a class without positives counts as one.

    Args:
        counts: Confusion counts of every class.

    Returns:
        `{"macro": {"precision": …, "recall": …, "f1": …}, "micro": {…}}`; NaN if no class has positives.

    Example:
        >>> averages = average(confusion_counts([[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 1], [1, 1]]))
        >>> averages["macro"]["recall"], averages["micro"]["recall"]
        (0.75, 0.75)

    Lesson: 10_precision_and_recall
    """
    macro = precision_recall_f1(counts)[counts["tp"] + counts["fn"] > 0].mean()
    micro = precision_recall_f1(counts.sum().to_frame().T).iloc[0]
    return {"macro": macro.to_dict(), "micro": micro.to_dict()}


def samples_average(truth: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Return precision, recall and F1 of the label set of each row, averaged over the rows.

    A row in which no class is named has precision 0, one in which no class is there has recall 0, and F1 is 0 in both. So
    a row without a class counts 0 even if none is named, and the averages reach 1 only where every row has a class. This
    equals scikit-learn's `average="samples"` with `zero_division=0`.

    Args:
        truth: 0 or 1, `[N, C]`.
        predicted: 0 or 1, `[N, C]`.

    Returns:
        `{"precision": …, "recall": …, "f1": …}`.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a value is neither 0 nor 1.

    Example:
        >>> samples_average([[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]])
        {'precision': 0.75, 'recall': 0.75, 'f1': 0.6666666666666666}
    """
    truth, predicted = _truth_and_predicted(truth, predicted)
    if not truth.size:
        raise ValueError(f"truth and predicted are {truth.shape}: there is nothing to score")
    right, there, named = (sets.sum(axis=1) for sets in (truth & predicted, truth, predicted))
    return {
        "precision": float((right / np.maximum(named, 1)).mean()),
        "recall": float((right / np.maximum(there, 1)).mean()),
        "f1": float((2 * right / np.maximum(there + named, 1)).mean()),
    }


def average_precision(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Return the average precision of every class: precision, averaged over the recall that each threshold adds.

    AP = Σ (Rₖ − Rₖ₋₁) Pₖ over the distinct scores in falling order, without interpolation.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Any finite numbers, `[N, C]`.
        weights: How often each row counts, `[N]`, or `[B, N]` for B weightings at once.

    Returns:
        `[C]`, or `[B, C]`; NaN for a class without positives.

    Raises:
        ValueError: If the shapes do not match, there are no rows, or a score or weight is NaN or infinite.

    Example:
        >>> average_precision([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]]).round(3).tolist()
        [0.833]

    Lesson: 10_precision_and_recall
    """
    truth, scores = _truth_and_scores(truth, scores)
    w = np.atleast_2d(_weights(weights, len(truth)))
    result = np.full((len(w), truth.shape[1]), np.nan)
    for c in range(truth.shape[1]):
        _, precision, recall = _curve(truth[:, c], scores[:, c], w)
        result[:, c] = (np.diff(recall, prepend=0.0, axis=1) * precision).sum(axis=1)
    return result if weights is not None and np.asarray(weights).ndim == 2 else result[0]


def mean_average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return mAP: the mean of `average_precision` over the classes that have positives.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Any finite numbers, `[N, C]`.

    Raises:
        ValueError: As for `average_precision`, and if no class has positives.

    Example:
        >>> round(mean_average_precision([[1, 0], [0, 1], [1, 0]], [[0.9, 0.3], [0.8, 0.2], [0.7, 0.1]]), 3)
        0.667
    """
    return float(_mean_over_classes(average_precision(truth, scores)))


def precision_recall_curve(truth: ArrayLike, scores: ArrayLike) -> pd.DataFrame:
    """Return precision and recall of one class at every threshold that makes a difference.

    Scores at or above the threshold count as predicted. `average_precision` is the sum, over the rows, of the recall
    that a row adds times its precision.

    Args:
        truth: 0 or 1, `[N]`, with at least one 1.
        scores: Any finite numbers, `[N]`.

    Returns:
        One row per distinct score, in falling order, with the columns `threshold`, `precision`, `recall`.

    Raises:
        ValueError: If the shapes do not fit, a score is NaN or infinite, or the class has no positives.

    Example:
        >>> precision_recall_curve([1, 0, 1], [0.9, 0.5, 0.4]).round(2)
           threshold  precision  recall
        0        0.9       1.00     0.5
        1        0.5       0.50     0.5
        2        0.4       0.67     1.0

    Lesson: 10_precision_and_recall
    """
    truth, scores = np.asarray(truth), _finite(scores, "scores")
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ValueError(f"truth is {truth.shape}, scores {scores.shape}; both must be [N], of one class")
    truth = _binary(truth[:, None], "truth")[:, 0]
    if not truth.any():
        raise ValueError("the class has no positives: there is nothing to recall")
    threshold, precision, recall = _curve(truth, scores, np.ones((1, len(truth))))
    return pd.DataFrame({"threshold": threshold, "precision": precision[0], "recall": recall[0]})


def label_ranking_average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return LRAP: how far up the true classes are when the classes of each row are ranked by score.

    The precision at a true class is the share of true classes among all that score at least as high; equal scores
    therefore count against the network. LRAP averages it over the true classes of a row, and then over the rows. A row in
    which no class or every class is true counts 1. This equals scikit-learn's `label_ranking_average_precision_score`.

    Source: R. E. Schapire, Y. Singer, "BoosTexter: A Boosting-based System for Text Categorization", Machine Learning 39,
    2000, where it is called average precision.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Any finite numbers, `[N, C]`.

    Returns:
        Above 0; 1 where every true class scores higher than every other class of its row.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a score is NaN or infinite.

    Example:
        >>> truth, scores = [[1, 0, 1], [0, 1, 0]], [[0.9, 0.5, 0.4], [0.2, 0.8, 0.1]]
        >>> round(label_ranking_average_precision(truth, scores), 3)
        0.917
    """
    truth, scores = _truth_and_scores(truth, scores)
    rank, right = _ranks(truth, scores)
    positives = truth.sum(axis=1)
    of_rows = np.where(truth, right / rank, 0.0).sum(axis=1) / np.maximum(positives, 1)
    return float(np.where(positives > 0, of_rows, 1.0).mean())


def label_ranking_precision(truth: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Return for every class the mean precision at its rank, over the rows in which the class is true.

    The classes of a row are ranked by score; the precision at a class is the share of true classes among all that score at
    least as high. `average_precision` ranks the rows by one class instead. These are the values per class of the lwlrap of
    DCASE 2019, task 2.

    Source: E. Fonseca, M. Plakal, F. Font, D. P. W. Ellis, X. Serra, "Audio Tagging with Noisy Labels and Minimal
    Supervision", DCASE Workshop 2019.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Any finite numbers, `[N, C]`.

    Returns:
        `[C]`; NaN for a class without positives.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a score is NaN or infinite.

    Example:
        >>> label_ranking_precision([[1, 0, 1], [1, 0, 0]], [[0.9, 0.5, 0.4], [0.2, 0.8, 0.1]]).round(3).tolist()
        [0.75, nan, 0.667]
    """
    truth, scores = _truth_and_scores(truth, scores)
    rank, right = _ranks(truth, scores)
    with np.errstate(invalid="ignore"):
        return np.where(truth, right / rank, 0.0).sum(axis=0) / truth.sum(axis=0)


def label_weighted_lrap(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return lwlrap, the label-weighted label-ranking average precision: LRAP in which every true class counts the same.

    It is the mean of `label_ranking_precision`, weighted by the positives of each class; and it is LRAP with each row
    weighted by the number of its classes, so that a row without a class does not count.

    Source: As for `label_ranking_precision`.

    Args:
        truth: 0 or 1, `[N, C]`, with at least one 1.
        scores: Any finite numbers, `[N, C]`.

    Returns:
        Above 0; 1 where every true class scores higher than every other class of its row.

    Raises:
        ValueError: As for `label_ranking_precision`, and if no class has positives.

    Example:
        >>> truth, scores = [[1, 0, 1], [1, 0, 0]], [[0.9, 0.5, 0.4], [0.2, 0.8, 0.1]]
        >>> round(label_weighted_lrap(truth, scores), 3)  # 0.75 twice, 0.667 once
        0.722
    """
    truth, scores = _truth_and_scores(truth, scores)
    if not truth.any():
        raise ValueError("no class has positives: there is nothing to rank")
    rank, right = _ranks(truth, scores)
    return float((right / rank)[truth].mean())


def one_error(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return the share of rows in which the class with the highest score is wrong.

    Rows without a class are left out. Where several classes share the highest score, the row counts as wrong if one of
    them is wrong.

    Source: As for `label_ranking_average_precision`.

    Args:
        truth: 0 or 1, `[N, C]`, with at least one 1.
        scores: Any finite numbers, `[N, C]`.

    Returns:
        Between 0 and 1; lower is better.

    Raises:
        ValueError: If the shapes differ, no class has positives, or a score is NaN or infinite.

    Example:
        >>> one_error([[1, 0], [0, 1], [0, 0]], [[0.9, 0.2], [0.5, 0.5], [0.8, 0.1]])  # the second is a tie
        0.5
    """
    truth, scores = _truth_and_scores(truth, scores)
    has_class = truth.any(axis=1)
    if not has_class.any():
        raise ValueError("no class has positives: there is no class to find")
    is_first = scores == scores.max(axis=1, keepdims=True)
    return float((is_first & ~truth).any(axis=1)[has_class].mean())


def coverage_error(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return how many classes of a row must be named, from the highest score down, until every true one is among them.

    This is the mean over the rows. A row without a class counts 0. Where scores are equal, all classes with that score
    must be named. The best value is the mean number of classes per row. This equals scikit-learn's `coverage_error`, which
    is 1 more than the coverage of the source.

    Source: As for `label_ranking_average_precision`.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Any finite numbers, `[N, C]`.

    Returns:
        Between 0 and C; lower is better.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a score is NaN or infinite.

    Example:
        >>> coverage_error([[1, 0, 1], [0, 1, 0]], [[0.9, 0.5, 0.4], [0.2, 0.8, 0.1]])
        2.0
    """
    truth, scores = _truth_and_scores(truth, scores)
    rank, _ = _ranks(truth, scores)
    return float(np.where(truth, rank, 0).max(axis=1).mean())


def calibration(truth: ArrayLike, scores: ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Compare the predicted probabilities with how often they come true, over all given values together.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Between 0 and 1, `[N, C]`.
        bins: Number of bins of equal width between 0 and 1; a score on an edge belongs to the lower one.

    Returns:
        One row per bin that is not empty, with the columns `said` (the mean score in it), `true` (the share of ones) and
        `count`.

    Raises:
        ValueError: If the shapes differ, a score is not between 0 and 1, or there is not at least one bin.

    Example:
        >>> calibration([[1], [1], [0], [1]], [[0.9], [0.8], [0.2], [0.1]], bins=2)
           said  true  count
        0  0.15   0.5      2
        1  0.85   1.0      2
    """
    truth, scores = _truth_and_scores(truth, scores, are_probabilities=True)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores.ravel())
    table = pd.DataFrame({"said": scores.ravel(), "true": truth.ravel().astype(np.float64), "count": 1})
    return table.groupby(bin_of).agg({"said": "mean", "true": "mean", "count": "sum"}).reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error: the mean of |said − true| over all values, bin by bin.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015.

    Args:
        table: As `calibration` gives it.

    Returns:
        Between 0 and 1; 0 where every bin comes true as often as it says.

    Raises:
        ValueError: If the table is empty.

    Example:
        >>> table = calibration([[1], [0], [1], [1]], [[0.9], [0.9], [0.6], [0.6]])
        >>> round(calibration_error(table), 2)
        0.4
    """
    if table["count"].sum() == 0:
        raise ValueError("the table of bins is empty: there is nothing to average")
    return float(np.average((table["said"] - table["true"]).abs(), weights=table["count"]))


def label_confusion(truth: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """Return what is named where a class is missed.

    Args:
        truth: 0 or 1, `[N, C]`.
        predicted: 0 or 1, `[N, C]`.

    Returns:
        `[C, C]`. At (i, i): the recall of class i. At (i, j): of the mixtures in which i was there and missed, and j was
        not there, the share in which j was named. NaN where there is no such mixture.

    Raises:
        ValueError: If the shapes differ or a value is neither 0 nor 1.

    Example:
        >>> label_confusion([[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]])
        array([[0.5, 1. ],
               [nan, 1. ]])
    """
    counts = confusion_counts(truth, predicted)
    truth, predicted = _binary(truth, "truth"), _binary(predicted, "predicted")
    missed, absent = (truth & ~predicted).astype(np.float64), (~truth).astype(np.float64)
    with np.errstate(invalid="ignore"):
        shares = missed.T @ (absent * predicted) / (missed.T @ absent)
    np.fill_diagonal(shares, precision_recall_f1(counts)["recall"])
    return shares


def mixture_loss(truth: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Return the mean binary cross-entropy of each mixture over its classes: the worst have the highest.

    Args:
        truth: 0 or 1, `[N, C]`.
        scores: Between 0 and 1, `[N, C]`; they are clipped to stay 1e-7 away from both.

    Returns:
        `[N]`, in nats.

    Raises:
        ValueError: If the shapes differ, or a score is not between 0 and 1.

    Example:
        >>> mixture_loss([[1, 0], [1, 0]], [[0.5, 0.5], [0.9, 0.1]]).round(3).tolist()
        [0.693, 0.105]
    """
    truth, scores = _truth_and_scores(truth, scores, are_probabilities=True)
    p = np.clip(scores, 1e-7, 1 - 1e-7)
    return -np.log(np.where(truth, p, 1 - p)).mean(axis=1)


def exact_match(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of rows in which every class is right: 55-way accuracy, where rows are combinations.

    Args:
        truth: 0 or 1, `[N, C]`, or combination IDs, `[N]`.
        predicted: The same kind of values, of the same shape.

    Returns:
        Between 0 and 1.

    Raises:
        ValueError: If the shapes differ, there are no rows, or the values are neither zeros and ones nor whole numbers.

    Example:
        >>> exact_match([[1, 0], [1, 1]], [[1, 0], [0, 1]])
        0.5
        >>> exact_match([3, 17, 17], [3, 17, 4]) == 2 / 3
        True
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim not in (1, 2) or not len(truth):
        raise ValueError(f"truth is {truth.shape}, predicted {predicted.shape}; both must be [N, C], or both [N]")
    if truth.ndim == 1:
        return float((whole(truth, "truth") == whole(predicted, "predicted")).mean())
    return float((_binary(truth, "truth") == _binary(predicted, "predicted")).all(axis=1).mean())


def labels_to_combination(probabilities: ArrayLike, taxonomy: Taxonomy) -> np.ndarray:
    """Return the most probable combination of one or two classes, if classes are independent.

    Args:
        probabilities: Of each class, `[N, n_classes]`.
        taxonomy: The classes.

    Returns:
        Combination IDs, int64 `[N]`.

    Raises:
        ValueError: If a value is not between 0 and 1, or there is not one column per class.

    Example:
        >>> taxonomy = Taxonomy(("dog", "siren", "rain"))
        >>> [taxonomy.name(i) for i in labels_to_combination([[0.9, 0.8, 0.1], [0.1, 0.2, 0.7]], taxonomy)]
        ['dog + siren', 'rain + rain']
    """
    p = np.clip(_probabilities(probabilities, taxonomy.n_classes), 1e-7, 1 - 1e-7)
    # Π p of the classes in it times Π (1 − p) of the others: up to a constant, the sum of log-odds of those in it.
    return (np.log(p / (1 - p)) @ taxonomy.membership.T).argmax(axis=1)


def combinations_to_labels(probabilities: ArrayLike, taxonomy: Taxonomy) -> np.ndarray:
    """Return the probability of each class: the sum over the combinations that hold it.

    Args:
        probabilities: Of each combination, `[N, n_combinations]`; rows are scaled to add up to 1 first.
        taxonomy: The classes.

    Returns:
        `[N, n_classes]`.

    Raises:
        ValueError: If a value is not between 0 and 1, or there is not one column per combination.

    Example:
        >>> taxonomy = Taxonomy(("dog", "siren"))
        >>> [taxonomy.name(i) for i in range(3)]
        ['dog + dog', 'dog + siren', 'siren + siren']
        >>> combinations_to_labels([[0.2, 0.5, 0.3]], taxonomy)
        array([[0.7, 0.8]])
    """
    p = _probabilities(probabilities, taxonomy.n_combinations)
    return np.clip(p / p.sum(axis=1, keepdims=True).clip(min=1e-12) @ taxonomy.membership, 0, 1)


def tune_threshold(truth: ArrayLike, scores: ArrayLike) -> float:
    """Return the threshold, one for all classes, that gives the highest macro F1.

    Use validation data: on the test set, this is cheating. One threshold per class fits the few recordings of a validation
    part too closely; for one class alone, pass its column. Scores at or above the threshold count as predicted. Many
    thresholds often do equally well: then it is the middle of the longest run of the best, as far from both edges as can be.

    Args:
        truth: 0 or 1, `[N, C]`, with at least one 1.
        scores: Between 0 and 1, `[N, C]`.

    Returns:
        Between 0.01 and 0.99, in steps of 0.01.

    Raises:
        ValueError: If the shapes differ, a score is not between 0 and 1, or no class has positives.

    Example:
        >>> tune_threshold([[1], [1], [0]], [[0.9], [0.6], [0.4]])
        0.5

    Lesson: 10_precision_and_recall
    """
    truth, scores = _truth_and_scores(truth, scores, are_probabilities=True)
    if not truth.any():
        raise ValueError("no class has positives: there is nothing to tune on")
    candidates = np.arange(1, 100) / 100
    f1 = np.array([average(confusion_counts(truth, scores >= threshold))["macro"]["f1"] for threshold in candidates])
    is_best = f1 >= f1.max() - 1e-12
    runs = np.flatnonzero(np.diff(is_best, prepend=False, append=False)).reshape(-1, 2)  # first, and first after it
    first, after = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return float(candidates[(first + after - 1) // 2])


def baselines(truth: ArrayLike, combination: ArrayLike | None, taxonomy: Taxonomy) -> dict[str, dict[str, float]]:
    """Return what one scores without listening.

    `largest_class` always says the most frequent combination or label set; `all_zeros` says that nothing is there;
    `chance` draws combinations, label sets, or classes, with their frequency, so that a class's precision, recall and
    average precision are that frequency.

    Args:
        truth: 0 or 1, `[N, n_classes]`.
        combination: Combination IDs, `[N]`; None for label sets of any size, which are then compared as they are.
        taxonomy: The classes.

    Returns:
        For each of the three: `exact_match`, `mAP`, `macro_f1`, and `label_accuracy` (the share of right zeros and
        ones); where there are combinations, for `all_zeros` also `combination_accuracy`, that of one-hot combinations.

    Raises:
        ValueError: If there is not one column per class or not one combination per row, an ID is not one of the taxonomy,
            or no class has positives.

    Example:
        >>> taxonomy = Taxonomy(("dog", "siren"))
        >>> found = baselines([[1, 0], [1, 1], [1, 0]], [0, 1, 0], taxonomy)
        >>> {name: round(scores["exact_match"], 2) for name, scores in found.items()}
        {'largest_class': 0.67, 'all_zeros': 0.0, 'chance': 0.56}
        >>> found = baselines([[1, 0], [1, 1], [0, 0], [0, 0]], None, taxonomy)
        >>> {name: scores["exact_match"] for name, scores in found.items()}
        {'largest_class': 0.5, 'all_zeros': 0.5, 'chance': 0.375}
    """
    truth = _binary(truth, "truth")
    _check_columns(truth, taxonomy)
    ids = None if combination is None else _combinations(combination, len(truth), taxonomy)
    if not truth.any():
        raise ValueError("no class has positives: there is nothing to compare with")
    frequency = truth.mean(axis=0)
    held = frequency[frequency > 0]
    if ids is None:
        shares, largest = _label_sets(truth)
    else:
        shares = np.bincount(ids, minlength=taxonomy.n_combinations) / len(ids)
        largest = taxonomy.membership[shares.argmax()]
    constant = np.broadcast_to(largest, truth.shape).astype(bool)
    ap_constant = float(held.mean())  # equal scores for all rows: precision is the frequency
    values = {
        "largest_class": {
            "exact_match": float(shares.max()),
            "mAP": ap_constant,
            "macro_f1": average(confusion_counts(truth, constant))["macro"]["f1"],
            "label_accuracy": float((truth == constant).mean()),
        },
        "all_zeros": {
            "exact_match": float((~truth.any(axis=1)).mean()) if ids is None else 0.0,
            "mAP": ap_constant,
            "macro_f1": 0.0,
            "label_accuracy": float(1 - truth.mean()),
        },
        "chance": {
            "exact_match": float((shares**2).sum()),
            "mAP": ap_constant,
            "macro_f1": ap_constant,
            "label_accuracy": float((frequency**2 + (1 - frequency) ** 2).mean()),
        },
    }
    if ids is not None:
        values["all_zeros"]["combination_accuracy"] = 1 - 1 / taxonomy.n_combinations
    return values


def bootstrap_weights(recordings: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw recordings with replacement, and return how often each mixture counts in every draw.

    Mixtures of one recording succeed or fail together, so recordings are drawn, not mixtures. A mixture's weight is the
    product of how often its recordings were drawn; if several of its clips are from one recording, that recording counts
    once. This errs on the cautious side: where mixtures do not depend on their recordings, intervals become about √3 times
    too wide with two recordings per mixture (A. B. Owen, "The pigeonhole bootstrap", 2007), and √(2ᵏ − 1) times with k
    (A. B. Owen, D. Eckles, "Bootstrapping data arrays of arbitrary order", 2012).

    Args:
        recordings: The recordings of the clips of each mixture, `[N, k]` for k clips, of single clips also `[N]`. A mixture
            of fewer clips than k fills its row by repeating one of its recordings.
        draws: Number of bootstrap samples.
        rng: Where the draws come from.

    Returns:
        Weights, float64 `[draws, N]`.

    Raises:
        ValueError: If there is no row, `recordings` has another shape or holds NaN, or there is no draw.

    Example:
        >>> recordings = np.array([[7, 8], [7, 7], [8, 9]])  # of both clips of three mixtures
        >>> bootstrap_weights(recordings, 3, np.random.default_rng(1))
        array([[2., 1., 0.],
               [0., 0., 0.],
               [1., 1., 1.]])

    Lesson: 10_precision_and_recall
    """
    recordings = np.asarray(recordings)
    if recordings.ndim not in (1, 2) or not recordings.size:
        raise ValueError(f"recordings are {recordings.shape}; there must be one row per mixture, [N, k] or [N]")
    if pd.isna(recordings).any():
        raise ValueError("some recordings are NaN; every clip needs one")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    names, index = np.unique(recordings, return_inverse=True)
    index = np.sort(index.reshape(len(recordings), -1), axis=1)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    is_repeated = np.diff(index, axis=1, prepend=-1) == 0
    return np.where(is_repeated, 1, counts[:, index]).prod(axis=2).astype(np.float64)


def intervals(
    scores: dict[str, Callable[[np.ndarray], np.ndarray]],
    recordings: np.ndarray,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, list[float]]:
    """Return bootstrap intervals of scores, over recordings.

    Args:
        scores: Functions from weights `[draws, N]` to a score per draw, `[draws]`.
        recordings: The recordings of the clips of each mixture, `[N, k]` or `[N]`, as for `bootstrap_weights`.
        rng: Where the draws come from.
        draws: Number of bootstrap samples.
        level: The share of the draws inside the interval.

    Returns:
        `[low, high]` for every score: percentiles of the draws in which it is defined. Average precision rises when rows are
        repeated, as they are in a draw: with few recordings its interval lies high, and may miss the estimate.

    Raises:
        ValueError: If there are no draws or no recordings, or the level is not between 0 and 1.

    Example:
        >>> truth, predicted = np.array([1, 1, 0, 1]), np.array([1, 0, 0, 1])
        >>> accuracy = lambda weights: weights @ (truth == predicted) / weights.sum(axis=1)
        >>> intervals({"accuracy": accuracy}, np.arange(4), np.random.default_rng(0), draws=200)
        {'accuracy': [0.25, 1.0]}

        The difference of two networks on the same mixtures, drawn together; and of mAP likewise, with
        `np.nanmean(average_precision(truth, scores, weights), axis=1)`:

        >>> other = np.array([0, 0, 0, 1])
        >>> gain = lambda weights: weights @ ((truth == predicted) - 1.0 * (truth == other)) / weights.sum(axis=1)
        >>> intervals({"gain": gain}, np.arange(4), np.random.default_rng(0), draws=200)
        {'gain': [0.0, 0.75]}
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws must be at least 1 and level between 0 and 1; got {draws} and {level}")
    weights = bootstrap_weights(recordings, draws, rng)
    weights = weights[weights.sum(axis=1) > 0]
    edges = [50 * (1 - level), 50 * (1 + level)]
    return {name: np.nanpercentile(score(weights), edges).tolist() for name, score in scores.items()}


def report(
    multi_hot: ArrayLike,
    combination: ArrayLike | None,
    label_scores: ArrayLike,
    predicted_combination: ArrayLike | None,
    *,
    taxonomy: Taxonomy,
    threshold: float,
    recordings: ArrayLike | None = None,
    intervals_over: str = "recordings",
    seed: int = 0,
) -> dict:
    """Score a whole test set.

    Args:
        multi_hot: The truth, `[N, n_classes]`.
        combination: The true combination IDs, `[N]`; None, as `predicted_combination`, for label sets of any size.
        label_scores: Probabilities of the classes, `[N, n_classes]`.
        predicted_combination: Combination IDs, `[N]`, or None.
        taxonomy: The classes.
        threshold: The score from which a class counts as predicted; tuned on validation data.
        recordings: The recordings of the clips of each mixture, `[N, k]` or `[N]`, as for `bootstrap_weights`; without
            them there are no intervals.
        intervals_over: What `recordings` holds, for the report: `recordings`, or `clips` where these are not known.
        seed: The seed of the bootstrap.

    Returns:
        `mixtures`, `exact_match`, `mAP`, `labels` (macro and micro precision, recall, F1, and as `samples` those of
        `samples_average`), `combinations` (macro and micro), `ranking` (`lrap`, `lwlrap`, `one_error`, `coverage_error`),
        `without_positives` (left out of macro averages), `threshold`, `baselines`, `per_class` (with `lrap` of
        `label_ranking_precision`), `intervals` of 95 % (`exact_match`, `mAP`, `labels.macro.f1`), and `intervals_over`
        (None without intervals). Without combinations there are no `combinations`, and `exact_match` is the share of rows
        in which the threshold names every class that is there and no other.

    Raises:
        ValueError: If the arrays do not match, a score or the threshold is not between 0 and 1, an ID is not one of the
            taxonomy, or only one of the two combinations is given.

    Example:
        >>> taxonomy = Taxonomy(("dog", "siren"))
        >>> scores = [[0.9, 0.2], [0.8, 0.6], [0.3, 0.7]]
        >>> found = report([[1, 0], [1, 1], [0, 1]], [0, 1, 2], scores, [0, 1, 1], taxonomy=taxonomy, threshold=0.5)
        >>> found["mAP"], round(found["exact_match"], 2), found["labels"]["macro"]["f1"]
        (1.0, 0.67, 1.0)
        >>> found = report([[1, 0], [1, 1], [0, 0]], None, scores, None, taxonomy=taxonomy, threshold=0.5)
        >>> round(found["exact_match"], 2), found["ranking"]["lwlrap"], "combinations" in found
        (0.67, 1.0, False)
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
    truth, scores = _truth_and_scores(multi_hot, label_scores, are_probabilities=True)
    _check_columns(truth, taxonomy)
    if (combination is None) != (predicted_combination is None):
        raise ValueError(
            "only one of combination and predicted_combination is None; they must be given both or neither"
        )
    if recordings is not None and len(np.atleast_1d(recordings)) != len(truth):
        raise ValueError(f"recordings are {np.shape(recordings)}; there must be one row per mixture, of {len(truth):,}")
    predicted = scores >= threshold
    counts = {"labels": confusion_counts(truth, predicted)}
    is_right = (truth == predicted).all(axis=1)
    if combination is not None and predicted_combination is not None:
        true_ids = _combinations(combination, len(truth), taxonomy)
        predicted_ids = _combinations(predicted_combination, len(truth), taxonomy)
        everything = np.arange(taxonomy.n_combinations)
        counts["combinations"] = confusion_counts(true_ids[:, None] == everything, predicted_ids[:, None] == everything)
        is_right = true_ids == predicted_ids
    ap = average_precision(truth, scores)
    averages = {kind: average(of_kind) for kind, of_kind in counts.items()}
    averages["labels"]["samples"] = samples_average(truth, predicted)
    result: dict = {
        "mixtures": len(truth),
        "exact_match": float(is_right.mean()),
        "mAP": float(_mean_over_classes(ap)),
        **averages,
        "ranking": {
            "lrap": label_ranking_average_precision(truth, scores),
            "lwlrap": label_weighted_lrap(truth, scores),
            "one_error": one_error(truth, scores),
            "coverage_error": coverage_error(truth, scores),
        },
        "without_positives": {kind: _without_positives(of_kind, kind, taxonomy) for kind, of_kind in counts.items()},
        "threshold": threshold,
        "baselines": baselines(truth, combination, taxonomy),
        "per_class": _per_class(
            counts["labels"], taxonomy, average_precision=ap, lrap=label_ranking_precision(truth, scores)
        ),
        "intervals": {},
        "intervals_over": None,
    }
    if recordings is not None:
        functions = {
            "exact_match": lambda w: (w * is_right).sum(axis=1) / w.sum(axis=1),
            "mAP": lambda w: _mean_over_classes(average_precision(truth, scores, w)),
            "labels.macro.f1": lambda w: _macro_f1(truth, predicted, w),
        }
        rng = np.random.default_rng([seed, 4])
        result["intervals"] = intervals(functions, np.asarray(recordings), rng)
        result["intervals_over"] = intervals_over
    return result


def _without_positives(counts: pd.DataFrame, kind: str, taxonomy: Taxonomy) -> list[str]:
    absent = np.flatnonzero((counts["tp"] + counts["fn"]).to_numpy() == 0)
    return [taxonomy.classes[i] if kind == "labels" else taxonomy.name(int(i)) for i in absent]


def _per_class(counts: pd.DataFrame, taxonomy: Taxonomy, **columns: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Return precision, recall, F1, the given columns `[C]` and the positives of every class; None where one is NaN."""
    table = precision_recall_f1(counts).assign(**columns, positives=counts["tp"] + counts["fn"])
    table.index = pd.Index(taxonomy.classes)
    return {
        label: {k: None if np.isnan(v) else v for k, v in row.items()} for label, row in table.to_dict("index").items()
    }


def _curve(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the K distinct scores of one class `[K]` in falling order; precision and recall there, each `[B, K]`."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last row of every run of equal scores
    tp = np.cumsum(weights[:, order] * truth[order], axis=1)[:, last]
    predicted = np.cumsum(weights[:, order], axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(predicted > 0, tp / predicted, 0.0)
        recall = tp / tp[:, -1:]
    return scores[order][last], precision, recall


def _macro_f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    tp, fp, fn = weights @ (truth & predicted), weights @ (~truth & predicted), weights @ (truth & ~predicted)
    with np.errstate(invalid="ignore"):
        f1 = np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)
    return _mean_over_classes(f1)


def _mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean of the defined values over the last axis; NaN where there are none, as in some bootstrap draws.

    Raises:
        ValueError: If nothing is defined at all.
    """
    is_defined = ~np.isnan(values)
    if not is_defined.any():
        raise ValueError("no class has positives: there is no mean over classes")
    with np.errstate(invalid="ignore"):
        return np.where(is_defined, values, 0.0).sum(axis=-1) / is_defined.sum(axis=-1)


def _ranks(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of every class in its row, 1 for the highest score; and how many true classes there are down to it.

    Classes with equal scores share the rank of the last of them. Both arrays are int64 `[N, C]`.
    """
    rank, right = np.empty(scores.shape, np.int64), np.empty(scores.shape, np.int64)
    for c in range(scores.shape[1]):
        is_above = scores >= scores[:, [c]]
        rank[:, c], right[:, c] = is_above.sum(axis=1), (is_above & truth).sum(axis=1)
    return rank, right


def _label_sets(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of every distinct label set, and the most frequent set `[C]`.

    Of equally frequent sets it is the first by its class IDs: (), (0,), (0, 1), (0, 1, 2) … (0, 2) … (1,), (1, 2) ….
    """
    sets, counts = np.unique(truth, axis=0, return_counts=True)
    largest = min(sets[counts == counts.max()], key=lambda row: tuple(np.flatnonzero(row)))
    return counts / len(truth), largest


def _truth_and_predicted(truth: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = _binary(truth, "truth"), _binary(predicted, "predicted")
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, predicted {predicted.shape}; both must be [N, C]")
    return truth, predicted


def _check_columns(truth: np.ndarray, taxonomy: Taxonomy) -> None:
    if truth.shape[1] != taxonomy.n_classes:
        raise ValueError(f"truth is {truth.shape}; there must be one column per class, [N, {taxonomy.n_classes}]")


def _truth_and_scores(
    truth: ArrayLike, scores: ArrayLike, are_probabilities: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    truth, scores = _binary(truth, "truth"), _finite(scores, "scores")
    if truth.shape != scores.shape:
        raise ValueError(f"truth is {truth.shape}, scores are {scores.shape}; both must be [N, C]")
    if not truth.size:
        raise ValueError(f"truth and scores are {truth.shape}: there is nothing to score")
    if are_probabilities and not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores must be between 0 and 1; they are between {scores.min():.4g} and {scores.max():.4g}")
    return truth, scores


def _probabilities(values: ArrayLike, columns: int) -> np.ndarray:
    array = _finite(values, "probabilities")
    if array.ndim != 2 or array.shape[1] != columns or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"probabilities must be between 0 and 1, of shape [N, {columns}]; got {array.shape}")
    return array


def _combinations(values: ArrayLike, rows: int, taxonomy: Taxonomy) -> np.ndarray:
    array = whole(values, "combination IDs")
    if array.shape != (rows,) or not ((array >= 0) & (array < taxonomy.n_combinations)).all():
        raise ValueError(
            f"combination IDs must be 0 … {taxonomy.n_combinations - 1}, one per mixture, [{rows}]; got {array.shape}"
        )
    return array


def _weights(values: ArrayLike | None, rows: int) -> np.ndarray:
    array = np.ones(rows) if values is None else _finite(values, "weights")
    if array.ndim not in (1, 2) or array.shape[-1] != rows or (array < 0).any():
        raise ValueError(f"weights must be 0 or more, one per row, [{rows}]; got {array.shape}")
    return array


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        why = ": did the network diverge?" if name in ("scores", "probabilities") else ""
        raise ValueError(f"{count:,} of {array.size:,} {name} are NaN or infinite{why}")
    return array


def _binary(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be zeros and ones of shape [N, C], not {array.dtype} {array.shape}")
    return array.astype(bool)
