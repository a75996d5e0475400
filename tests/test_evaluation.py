import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from course_utils import evaluation
from course_utils.taxonomy import Taxonomy

TEN = Taxonomy()


def random_case(seed, n=400, empty=()):
    rng = np.random.default_rng(seed)
    combination = rng.choice(55, n, p=rng.dirichlet(np.ones(55)))
    truth = TEN.multi_hot(combination)
    scores = np.round(np.clip(0.6 * truth + rng.normal(0.2, 0.25, truth.shape), 0, 1), 2)  # rounded: many are equal
    truth[:, list(empty)] = 0
    return combination, truth.astype(int), scores


def sets_of_any_size(seed, n=300, classes=6):
    """Rows with no class, with all, and with equal scores are among them."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, classes)) < rng.random((n, 1))).astype(int)
    truth[:3], truth[3:6] = 0, 1
    scores = np.round(np.clip(0.3 * truth + rng.normal(0.4, 0.2, truth.shape), 0, 1), 1)
    return truth, scores


@pytest.mark.parametrize("seed", range(5))
def test_precision_recall_f1_equal_scikit_learn(seed):
    _, truth, scores = random_case(seed)
    predicted = (scores >= 0.5).astype(int)
    counts = evaluation.confusion_counts(truth, predicted)
    ours = evaluation.precision_recall_f1(counts)
    p, r, f, _ = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    assert np.abs(ours.to_numpy() - np.stack([p, r, f], axis=1)).max() < 1e-9
    for kind in evaluation.AVERAGES:
        theirs = metrics.precision_recall_fscore_support(truth, predicted, average=kind, zero_division=0)[:3]
        mean = evaluation.average(counts)[kind]
        assert [mean["precision"], mean["recall"], mean["f1"]] == pytest.approx(theirs, abs=1e-9)
    matrices = metrics.multilabel_confusion_matrix(truth, predicted)
    assert np.array_equal(counts[["tn", "fp", "fn", "tp"]].to_numpy(), matrices.reshape(10, 4))


@pytest.mark.parametrize("seed", range(5))
def test_single_label_scores_over_55_combinations_equal_scikit_learn(seed):
    combination, _, _ = random_case(seed)
    guess = np.where(
        np.random.default_rng(seed).random(len(combination)) < 0.4, combination, (combination * 7 + 3) % 55
    )
    every = np.arange(55)
    counts = evaluation.confusion_counts(combination[:, None] == every, guess[:, None] == every)
    present = np.unique(combination)
    theirs = metrics.precision_recall_fscore_support(
        combination, guess, labels=present, average="macro", zero_division=0
    )
    ours = evaluation.average(counts)["macro"]
    assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(theirs[:3], abs=1e-9)
    micro = evaluation.average(evaluation.confusion_counts(combination[:, None] == every, guess[:, None] == every))[
        "micro"
    ]
    if len(present) == 55:
        assert micro["precision"] == pytest.approx(metrics.accuracy_score(combination, guess), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_scikit_learn_with_equal_scores_and_weights(seed):
    _, truth, scores = random_case(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(truth))).astype(float)
    theirs = metrics.average_precision_score(truth, scores, average=None)
    assert np.abs(evaluation.average_precision(truth, scores) - theirs).max() < 1e-9
    assert evaluation.mean_average_precision(truth, scores) == pytest.approx(theirs.mean(), abs=1e-9)
    together = evaluation.average_precision(truth, scores, weights)
    for row, w in zip(together, weights, strict=True):
        weighted = metrics.average_precision_score(truth, scores, average=None, sample_weight=w)
        assert np.abs(row - weighted).max() < 1e-9
        repeated = np.repeat(np.arange(len(truth)), w.astype(int))
        assert np.abs(row - evaluation.average_precision(truth[repeated], scores[repeated])).max() < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_samples_average_equals_scikit_learn_with_empty_sets_as_zero(seed):
    truth, scores = sets_of_any_size(seed)
    predicted = (scores >= 0.6).astype(int)
    predicted[0], predicted[1] = 0, 1  # nothing there: nothing named, everything named
    predicted[3] = 0
    theirs = metrics.precision_recall_fscore_support(truth, predicted, average="samples", zero_division=0)[:3]
    ours = evaluation.samples_average(truth, predicted)
    assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(theirs, abs=1e-12)


def test_a_row_without_a_class_counts_zero_in_the_samples_average_even_if_nothing_is_named():
    ours = evaluation.samples_average([[0, 0], [0, 0], [1, 0], [1, 1]], [[0, 0], [1, 0], [0, 0], [1, 1]])
    assert ours == {"precision": 1 / 4, "recall": 1 / 4, "f1": 1 / 4}


@pytest.mark.parametrize("seed", range(5))
def test_rankings_of_classes_equal_scikit_learn_with_ties_and_rows_of_no_and_all_classes(seed):
    truth, scores = sets_of_any_size(seed)
    ours = evaluation.label_ranking_average_precision(truth, scores)
    assert ours == pytest.approx(metrics.label_ranking_average_precision_score(truth, scores), abs=1e-12)
    assert evaluation.coverage_error(truth, scores) == pytest.approx(metrics.coverage_error(truth, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_lwlrap_is_lrap_weighted_by_the_size_of_the_sets_and_the_mean_of_classes_weighted_by_positives(seed):
    truth, scores = sets_of_any_size(seed)
    truth[:, 2] = 0  # a class without positives
    ours = evaluation.label_weighted_lrap(truth, scores)
    theirs = metrics.label_ranking_average_precision_score(truth, scores, sample_weight=truth.sum(axis=1))
    assert ours == pytest.approx(theirs, abs=1e-12)
    of_classes = evaluation.label_ranking_precision(truth, scores)
    assert np.flatnonzero(np.isnan(of_classes)).tolist() == [2]
    assert ours == pytest.approx(np.nansum(of_classes * truth.sum(axis=0)) / truth.sum(), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_rankings_by_hand():
    truth = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.2, 0.1], [0.9, 0.1, 0.5, 0.3], [0.4, 0.3, 0.2, 0.1]])
    # Precision at the true classes: row 0: 1 and 2/3; row 1, where two are equal: 1/2; row 2: 1 and 2/4; row 3: none.
    expected = [1, (1 / 2 + 2 / 4) / 2, 2 / 3, np.nan]
    assert evaluation.label_ranking_precision(truth, scores) == pytest.approx(expected, nan_ok=True)
    assert evaluation.label_weighted_lrap(truth, scores) == pytest.approx((1 + 2 / 3 + 1 / 2 + 1 + 1 / 2) / 5)
    assert evaluation.label_ranking_average_precision(truth, scores) == pytest.approx((5 / 6 + 1 / 2 + 3 / 4 + 1) / 4)
    assert evaluation.one_error(truth, scores) == pytest.approx(1 / 3)  # row 1, and row 3 is left out
    assert evaluation.coverage_error(truth, scores) == pytest.approx((3 + 2 + 4 + 0) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_the_one_error_equals_its_definition_and_ties_count_against_the_network(seed):
    truth, scores = sets_of_any_size(seed)
    wrong = [not all(t[s == s.max()]) for t, s in zip(truth, scores, strict=True) if t.any()]
    assert evaluation.one_error(truth, scores) == pytest.approx(np.mean(wrong))
    best = truth.argmax(axis=1)[:, None] == np.arange(truth.shape[1])
    assert evaluation.one_error(truth, best) == 0
    assert evaluation.one_error(truth, np.zeros_like(scores)) == np.mean(~truth.all(axis=1)[truth.any(axis=1)])


@given(st.lists(st.lists(st.tuples(st.booleans(), st.floats(-9, 9)), min_size=4, max_size=4), min_size=1, max_size=20))
def test_perfect_rankings_are_best_and_none_is_better(rows):
    truth, scores = np.moveaxis(np.array(rows), 2, 0)
    truth[0, 0] = 1
    assert evaluation.label_ranking_average_precision(truth, truth) == 1
    assert evaluation.label_weighted_lrap(truth, truth) == 1
    assert evaluation.coverage_error(truth, truth - 1e-3 * np.arange(4)) == pytest.approx(truth.sum(axis=1).mean())
    assert 0 < evaluation.label_ranking_average_precision(truth, scores) <= 1
    assert 0 < evaluation.label_weighted_lrap(truth, scores) <= 1
    assert truth.sum(axis=1).mean() <= evaluation.coverage_error(truth, scores) <= 4


def test_known_values_by_hand():
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    predicted = np.array([[1, 1], [0, 1], [0, 1], [0, 0]])
    counts = evaluation.confusion_counts(truth, predicted)
    assert counts.to_numpy().tolist() == [[1, 0, 1, 2], [2, 1, 0, 1]]
    macro, micro = evaluation.average(counts).values()
    assert macro["precision"] == pytest.approx((1 + 2 / 3) / 2) and macro["recall"] == pytest.approx(0.75)
    assert micro["precision"] == pytest.approx(3 / 4) and micro["recall"] == pytest.approx(3 / 4)
    assert evaluation.exact_match(truth, predicted) == 0.5
    assert evaluation.average_precision([[1], [0], [1]], [[0.9], [0.8], [0.7]])[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_false_alarm_of_an_absent_class_counts_in_micro():
    truth, predicted = np.array([[1, 0], [1, 0]]), np.array([[1, 1], [1, 0]])
    averages = evaluation.average(evaluation.confusion_counts(truth, predicted))
    assert averages["micro"]["precision"] == pytest.approx(2 / 3) and averages["macro"]["precision"] == 1
    with_zeros = metrics.precision_score(truth, predicted, average="micro")
    assert averages["micro"]["precision"] == pytest.approx(with_zeros)


def test_classes_without_positives_are_left_out_and_named():
    combination, truth, scores = random_case(0, empty=[1])
    counts = evaluation.confusion_counts(truth, scores >= 0.5)
    table = evaluation.precision_recall_f1(counts)
    assert table.loc[1].isna().all() and np.isnan(evaluation.average_precision(truth, scores)[1])
    others = [c for c in range(10) if c != 1]
    theirs = metrics.f1_score(truth[:, others], scores[:, others] >= 0.5, average="macro")
    assert evaluation.average(counts)["macro"]["f1"] == pytest.approx(theirs, abs=1e-9)
    report = evaluation.report(truth, combination, scores, combination, taxonomy=TEN, threshold=0.5)
    assert report["without_positives"]["labels"] == ["car_horn"] and report["per_class"]["car_horn"]["f1"] is None
    assert set(report["without_positives"]["combinations"]) == {TEN.name(i) for i in range(55) if i not in combination}


def test_a_class_that_is_found_half_the_time_has_positives():
    truth, found = [3, 3, 4], [3, 4, 4]
    report = evaluation.report(
        TEN.multi_hot(truth), truth, TEN.multi_hot(found) * 0.9, found, taxonomy=TEN, threshold=0.5
    )
    there = {TEN.name(3), TEN.name(4)}
    assert set(report["without_positives"]["combinations"]) == {TEN.name(i) for i in range(55)} - there


def test_a_class_that_is_never_predicted_scores_zero():
    counts = evaluation.confusion_counts(np.array([[1], [1]]), np.array([[0], [0]]))
    assert evaluation.precision_recall_f1(counts).loc[0].tolist() == [0, 0, 0]


def test_the_best_combination_of_independent_labels():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, (200, 10))
    p[:50] *= 0.3
    likelihood = np.stack(
        [np.prod(np.where(member == 1, p, 1 - p), axis=1) for member in TEN.membership], axis=1
    )  # by its definition, one combination after the other
    assert np.array_equal(evaluation.labels_to_combination(p, TEN), likelihood.argmax(axis=1))
    sure = np.full((1, 10), 1e-12)
    sure[0, [2, 7]] = 1 - 1e-12
    assert TEN.pair(evaluation.labels_to_combination(sure, TEN))[0].tolist() == [2, 7]


def test_label_scores_are_sums_over_combinations():
    p = np.random.default_rng(0).dirichlet(np.ones(55), 20)
    labels = evaluation.combinations_to_labels(p, TEN)
    by_hand = [[sum(row[c] for c in range(55) if k in TEN.pair(c)) for k in range(10)] for row in p]
    assert np.allclose(labels, by_hand)
    assert np.array_equal(evaluation.combinations_to_labels(np.eye(55), TEN), TEN.membership)


@pytest.mark.parametrize("seed", range(5))
def test_the_tuned_threshold_is_the_best_of_all(seed):
    _, truth, scores = random_case(seed, n=60, empty=[3])
    others = [c for c in range(10) if truth[:, c].any()]

    def f1(threshold):
        return metrics.f1_score(truth[:, others], scores[:, others] >= threshold, average="macro", zero_division=0)

    tuned = evaluation.tune_threshold(truth, scores)
    assert f1(tuned) == pytest.approx(max(f1(t) for t in np.arange(1, 100) / 100), abs=1e-12)
    with pytest.raises(ValueError, match="no class has positives"):
        evaluation.tune_threshold(np.zeros((5, 2)), np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("truth", "scores", "threshold"),
    [
        ([1, 0], [0.9, 0.1], 0.50),  # 0.11 … 0.90 are all perfect
        ([1, 0], [0.98, 0.94], 0.96),  # 0.95 … 0.98
        ([1, 0], [0.004, 0.001], 0.50),  # nothing reaches 0.01: all 99 are equally bad
        ([1, 1, 0, 1], [0.3, 0.5, 0.6, 0.45], 0.15),  # it is best to name all: 0.01 … 0.30
        ([1, 0, 0, 0, 1], [0.96, 0.9, 0.9, 0.9, 0.2], 0.93),  # two runs, 0.01 … 0.20 at 4/7 and 0.91 … 0.96 at 2/3
    ],
)
def test_the_tuned_threshold_is_the_middle_of_the_longest_run_of_the_best(truth, scores, threshold):
    tuned = evaluation.tune_threshold(np.array(truth)[:, None], np.array(scores)[:, None])
    assert tuned == pytest.approx(threshold)


def test_thresholds_are_tried_from_0_01_to_0_99():
    assert evaluation.tune_threshold([[1], [0]], [[0.015], [0.005]]) == pytest.approx(0.01)
    assert evaluation.tune_threshold([[1], [0]], [[0.995], [0.985]]) == pytest.approx(0.99)


def test_baselines_by_hand():
    combination = np.array([0, 0, 0, 1, 10])
    values = evaluation.baselines(TEN.multi_hot(combination), combination, TEN)
    # Of five mixtures, four hold class 0 and two class 1: three are class 0 alone, one is 0 and 1, one is 1 alone.
    assert values["chance"]["label_accuracy"] == pytest.approx((0.8**2 + 0.2**2 + 0.4**2 + 0.6**2 + 8) / 10)
    assert values["chance"]["mAP"] == values["chance"]["macro_f1"] == pytest.approx((0.8 + 0.4) / 2)
    assert values["largest_class"]["label_accuracy"] == pytest.approx((4 + 3 + 40) / 50)
    assert values["largest_class"]["macro_f1"] == pytest.approx((2 * 4 / (2 * 4 + 1) + 0) / 2)
    assert values["largest_class"]["exact_match"] == pytest.approx(0.6)
    assert values["chance"]["exact_match"] == pytest.approx(0.36 + 0.04 + 0.04)
    assert values["all_zeros"]["label_accuracy"] == pytest.approx(1 - 6 / 50)
    assert values["all_zeros"]["combination_accuracy"] == pytest.approx(54 / 55)
    of_all = {"exact_match", "mAP", "macro_f1", "label_accuracy"}
    assert all(set(scores) - {"combination_accuracy"} == of_all for scores in values.values())
    assert {scores["mAP"] for scores in values.values()} == {values["chance"]["mAP"]}


def test_baselines_of_label_sets_by_hand():
    truth = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0]])
    values = evaluation.baselines(truth[1:], None, Taxonomy(("dog", "siren", "rain")))
    # Of seven sets, three are of all classes, two are empty, and two occur once.
    assert values["largest_class"]["exact_match"] == pytest.approx(3 / 7)
    assert values["largest_class"]["label_accuracy"] == pytest.approx((3 * 3 + 2 + 1) / 21)
    assert values["largest_class"]["macro_f1"] == pytest.approx(2 * 4 / (4 + 7))  # every class is in four sets
    assert values["all_zeros"]["exact_match"] == pytest.approx(2 / 7)
    assert values["chance"]["exact_match"] == pytest.approx((9 + 4 + 1 + 1) / 49)
    assert values["chance"]["mAP"] == values["chance"]["macro_f1"] == pytest.approx(4 / 7)
    of_all = {"exact_match", "mAP", "macro_f1", "label_accuracy"}
    assert all(set(scores) == of_all for scores in values.values())
    empty = evaluation.baselines(np.delete(truth, 1, axis=0), None, Taxonomy(("dog", "siren", "rain")))
    assert empty["largest_class"]["exact_match"] == empty["all_zeros"]["exact_match"] == pytest.approx(3 / 7)
    assert empty["largest_class"]["macro_f1"] == 0


def test_all_zeros_on_the_reports_mixtures():
    """81.1 % of ten labels, 98.2 % of 55 one-hot outputs."""
    combination = np.random.default_rng(0).permutation(
        np.repeat(TEN.combination_id(*np.divmod(np.arange(100), 10)), 10)
    )
    values = evaluation.baselines(TEN.multi_hot(combination), combination, TEN)["all_zeros"]
    assert values["label_accuracy"] == pytest.approx(0.81, abs=0.01)
    assert values["combination_accuracy"] == pytest.approx(0.982, abs=0.001)


def test_bootstrap_draws_recordings():
    recordings = np.array([[1, 2], [1, 1], [2, 3]])
    weights = evaluation.bootstrap_weights(recordings, 20_000, np.random.default_rng(0))
    counts = np.random.default_rng(0).multinomial(3, [1 / 3] * 3, size=20_000)
    assert np.array_equal(
        weights, np.stack([counts[:, 0] * counts[:, 1], counts[:, 0], counts[:, 1] * counts[:, 2]], 1)
    )
    assert weights[:, 0].mean() == pytest.approx(2 / 3, abs=0.02)


def test_a_recording_that_is_in_a_mixture_twice_counts_once_so_that_the_draws_lie_around_the_score():
    weights = evaluation.bootstrap_weights([[5, 5], [7, 7], [9, 9]], 20_000, np.random.default_rng(0))
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.02) and weights.sum(axis=1) == pytest.approx(3)
    single = evaluation.bootstrap_weights([5, 7, 9], 20_000, np.random.default_rng(0))
    assert np.array_equal(single, weights)
    three = evaluation.bootstrap_weights([[5, 7, 5], [7, 9, 9]], 5, np.random.default_rng(1))
    counts = np.random.default_rng(1).multinomial(3, [1 / 3] * 3, size=5)
    assert np.array_equal(three, np.stack([counts[:, 0] * counts[:, 1], counts[:, 1] * counts[:, 2]], 1))


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=8), st.integers(1, 4))
def test_each_recording_of_a_mixture_of_any_number_of_clips_counts_once(rows, k):
    recordings = np.array(rows)[:, :k]
    weights = evaluation.bootstrap_weights(recordings, 5, np.random.default_rng(0))
    names = np.unique(recordings)
    counts = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), size=5)
    expected = [counts[:, np.isin(names, row)].prod(axis=1) for row in recordings]
    assert np.array_equal(weights, np.stack(expected, axis=1))


def test_an_interval_of_95_percent_leaves_2_5_percent_of_the_draws_on_either_side():
    recordings, rng = np.arange(100).reshape(50, 2), np.random.default_rng(3)
    scores = {"ramp": lambda weights: np.arange(len(weights), dtype=float)}
    drawn = evaluation.intervals(scores, recordings, rng, draws=1001)["ramp"]
    assert drawn == pytest.approx([25, 975])
    narrow = evaluation.intervals(scores, recordings, rng, draws=1001, level=0.5)["ramp"]
    assert narrow == pytest.approx([250, 750])
    undefined = {"late": lambda weights: np.where(np.arange(len(weights)) < 500, np.nan, np.arange(len(weights)))}
    assert evaluation.intervals(undefined, recordings, rng, draws=1001)["late"] == pytest.approx([512.5, 987.5])


def test_intervals_are_wider_when_mistakes_go_with_recordings():
    """Half of 20 recordings are always mistaken: the mixtures are many, but what they say is little."""
    combination, truth, scores = random_case(0)
    few = np.arange(800).reshape(-1, 2) % 20
    predicted = np.where(few[:, 0] < 10, combination, (combination + 1) % 55)
    widths = []
    for recordings in (np.arange(800).reshape(-1, 2), few):
        report = evaluation.report(
            truth, combination, scores, predicted, taxonomy=TEN, threshold=0.5, recordings=recordings
        )
        low, high = report["intervals"]["exact_match"]
        assert low <= report["exact_match"] <= high
        assert all(0 <= a <= b <= 1 for a, b in report["intervals"].values())
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_a_report_of_perfect_scores_is_perfect():
    combination, truth, _ = random_case(1)
    report = evaluation.report(truth, combination, truth.astype(float), combination, taxonomy=TEN, threshold=0.5)
    assert report["exact_match"] == report["mAP"] == report["labels"]["macro"]["f1"] == 1
    assert report["combinations"]["macro"]["precision"] == 1 and report["mixtures"] == 400


COMBINED = ("exact_match", "combinations", "without_positives", "intervals", "baselines")


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_a_report_without_combinations_agrees_wherever_these_do_not_matter(seed, n):
    combination, truth, scores = random_case(seed, n)
    recordings = np.random.default_rng(seed).integers(0, 5, (n, 2))
    given_both = {"taxonomy": TEN, "threshold": 0.5, "recordings": recordings, "seed": seed}
    with_them = evaluation.report(truth, combination, scores, combination, **given_both)
    without = evaluation.report(truth, None, scores, None, **given_both)
    assert set(with_them) - set(without) == {"combinations"}
    assert all(without[key] == with_them[key] for key in without if key not in COMBINED)
    assert without["without_positives"] == {"labels": with_them["without_positives"]["labels"]}
    for key in ("mAP", "labels.macro.f1"):
        assert without["intervals"][key] == with_them["intervals"][key]
    del with_them["baselines"]["all_zeros"]["combination_accuracy"]
    assert list(without["baselines"]) == list(with_them["baselines"])
    for name, values in without["baselines"].items():  # sets of one or two classes are equal where combinations are
        assert values == pytest.approx(with_them["baselines"][name], abs=1e-12)


def test_a_report_of_label_sets_of_any_size():
    truth, scores = sets_of_any_size(0)
    taxonomy, recordings = Taxonomy(tuple("abcdef")), np.arange(900).reshape(300, 3) % 250
    truth[:, 1] = 0
    report = evaluation.report(
        truth, None, scores, None, taxonomy=taxonomy, threshold=0.6, recordings=recordings, intervals_over="clips"
    )
    predicted = scores >= 0.6
    assert report["exact_match"] == metrics.accuracy_score(truth, predicted) > 0
    low, high = report["intervals"]["exact_match"]
    assert low < report["exact_match"] < high and report["intervals_over"] == "clips"
    assert "combinations" not in report and report["without_positives"] == {"labels": ["b"]}
    assert report["baselines"] == evaluation.baselines(truth, None, taxonomy)
    assert report["labels"]["samples"] == evaluation.samples_average(truth, predicted)
    assert report["ranking"] == {
        "lrap": evaluation.label_ranking_average_precision(truth, scores),
        "lwlrap": evaluation.label_weighted_lrap(truth, scores),
        "one_error": evaluation.one_error(truth, scores),
        "coverage_error": evaluation.coverage_error(truth, scores),
    }
    of_classes = evaluation.label_ranking_precision(truth, scores)
    assert report["per_class"]["b"]["lrap"] is None and report["per_class"]["c"]["lrap"] == of_classes[2]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_report_says_what_its_intervals_are_over_where_it_has_some():
    case = {"taxonomy": TEN, "threshold": 0.5}
    truth = TEN.multi_hot([3, 4])
    assert evaluation.report(truth, [3, 4], truth, [3, 4], **case, intervals_over="clips")["intervals_over"] is None
    with_some = evaluation.report(truth, [3, 4], truth, [3, 4], **case, recordings=[1, 2])
    assert with_some["intervals_over"] == "recordings"


NOT_FINITE = [np.nan, np.inf, -np.inf]
SCORED = {  # what takes scores or probabilities, each with a value that is not finite at the place of the first
    "average_precision": lambda x: evaluation.average_precision([[1], [0]], [[x], [0.5]]),
    "mean_average_precision": lambda x: evaluation.mean_average_precision([[1], [0]], [[0.5], [x]]),
    "precision_recall_curve": lambda x: evaluation.precision_recall_curve([1, 0], [x, 0.5]),
    "label_ranking_average_precision": lambda x: evaluation.label_ranking_average_precision([[1, 0]], [[x, 0.5]]),
    "label_ranking_precision": lambda x: evaluation.label_ranking_precision([[1, 0]], [[x, 0.5]]),
    "label_weighted_lrap": lambda x: evaluation.label_weighted_lrap([[1, 0]], [[x, 0.5]]),
    "one_error": lambda x: evaluation.one_error([[1, 0]], [[x, 0.5]]),
    "coverage_error": lambda x: evaluation.coverage_error([[1, 0]], [[x, 0.5]]),
    "tune_threshold": lambda x: evaluation.tune_threshold([[1], [0]], [[x], [0.5]]),
    "calibration": lambda x: evaluation.calibration([[1], [0]], [[x], [0.5]]),
    "mixture_loss": lambda x: evaluation.mixture_loss([[1], [0]], [[x], [0.5]]),
    "labels_to_combination": lambda x: evaluation.labels_to_combination([[x] + [0.5] * 9], TEN),
    "combinations_to_labels": lambda x: evaluation.combinations_to_labels([[x] + [0.5] * 54], TEN),
    "confusion_counts": lambda x: evaluation.confusion_counts([[1], [0]], [[1], [0]], [x, 1.0]),
    "weights": lambda x: evaluation.average_precision([[1], [0]], [[0.1], [0.5]], [x, 1.0]),
    "report": lambda x: evaluation.report(TEN.multi_hot([3]), [3], [[x] + [0.5] * 9], [3], taxonomy=TEN, threshold=0.5),
}


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", SCORED)
def test_what_is_not_finite_gets_no_score(name, value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        SCORED[name](value)


def test_scores_of_nothing_but_nan_are_refused_wherever_the_positives_stand():
    for truth in ([[1], [1], [0]], [[0], [1], [1]]):
        with pytest.raises(ValueError, match="3 of 3 scores are NaN or infinite: did the network"):
            evaluation.mean_average_precision(truth, np.full((3, 1), np.nan))


ONES = np.ones
MISFITS = [
    lambda: evaluation.average_precision(ONES((4, 3)), ONES((3, 3))),
    lambda: evaluation.average_precision(ONES((3, 3)), ONES((4, 3))),
    lambda: evaluation.average_precision(ONES((4, 3)), ONES((4, 6))),
    lambda: evaluation.average_precision(ONES((4, 3)), ONES(4)),
    lambda: evaluation.average_precision(ONES((0, 3)), ONES((0, 3))),
    lambda: evaluation.average_precision(ONES((4, 3)), ONES((4, 3)), ONES(3)),
    lambda: evaluation.average_precision(ONES((4, 3)), ONES((4, 3)), -ONES(4)),
    lambda: evaluation.confusion_counts(ONES((4, 3)), ONES((4, 3)), ONES(3)),
    lambda: evaluation.confusion_counts(ONES((4, 3)), ONES((4, 3)), ONES((2, 4))),
    lambda: evaluation.mean_average_precision(np.zeros((4, 3)), ONES((4, 3))),
    lambda: evaluation.tune_threshold(ONES((4, 3)), ONES((3, 3))),
    lambda: evaluation.tune_threshold(ONES((4, 3)), 2 * ONES((4, 3))),
    lambda: evaluation.samples_average(ONES((4, 3)), ONES((4, 2))),
    lambda: evaluation.samples_average(ONES((4, 3)), ONES(4)),
    lambda: evaluation.samples_average(ONES((4, 3)), 0.7 * ONES((4, 3))),
    lambda: evaluation.samples_average(ONES((0, 3)), ONES((0, 3))),
    lambda: evaluation.label_weighted_lrap(np.zeros((4, 3)), ONES((4, 3))),
    lambda: evaluation.one_error(np.zeros((4, 3)), ONES((4, 3))),
    lambda: evaluation.calibration(ONES((4, 3)), ONES((4, 2))),
    lambda: evaluation.mixture_loss(ONES((4, 3)), ONES(3)),
    lambda: evaluation.mixture_loss(ONES((4, 3)), -ONES((4, 3))),
    lambda: evaluation.exact_match(ONES((4, 1)), ONES(4)),
    lambda: evaluation.exact_match(ONES((4, 3)), ONES(3)),
    lambda: evaluation.exact_match(ONES((4, 3)), ONES((1, 3))),
    lambda: evaluation.exact_match(ONES((4, 3)), 0.7 * ONES((4, 3))),
    lambda: evaluation.exact_match(ONES(4), 0.7 * ONES(4)),
    lambda: evaluation.exact_match([], []),
    lambda: evaluation.labels_to_combination(ONES((4, 9)), TEN),
    lambda: evaluation.labels_to_combination(2 * ONES((4, 10)), TEN),
    lambda: evaluation.combinations_to_labels(ONES((4, 10)), TEN),
    lambda: evaluation.bootstrap_weights(np.zeros((0, 2)), 3, np.random.default_rng(0)),
    lambda: evaluation.bootstrap_weights(np.zeros((2, 2, 2)), 3, np.random.default_rng(0)),
    lambda: evaluation.baselines(TEN.multi_hot([3, 4]), [3], TEN),
    lambda: evaluation.baselines(np.zeros((2, 10)), [3, 4], TEN),
    lambda: evaluation.baselines(np.zeros((2, 10)), None, TEN),
    lambda: evaluation.baselines(ONES((2, 9)), None, TEN),
    lambda: evaluation.report(ONES((2, 10)), [3, 4], ONES((2, 10)), None, taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(ONES((2, 10)), None, ONES((2, 10)), [3, 4], taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(ONES((2, 9)), None, ONES((2, 9)), None, taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(np.zeros((2, 10)), None, ONES((2, 10)), None, taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(TEN.multi_hot([3, 4]), [3, 4], ONES((2, 10)), [-1, 4], taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(TEN.multi_hot([3, 4]), [3, 4], ONES((2, 10)), [3, 99], taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(TEN.multi_hot([3, 4]), [3, 4], ONES((2, 10)), [3], taxonomy=TEN, threshold=0.5),
    lambda: evaluation.report(
        TEN.multi_hot([3, 4]), [3, 4], ONES((2, 10)), [3, 4], taxonomy=TEN, threshold=0.5, recordings=[[1, 2]]
    ),
    lambda: evaluation.report(TEN.multi_hot([3, 4]), [3, 4], 2 * ONES((2, 10)), [3, 4], taxonomy=TEN, threshold=0.5),
]

RANKINGS = [
    evaluation.label_ranking_average_precision,
    evaluation.label_ranking_precision,
    evaluation.label_weighted_lrap,
    evaluation.one_error,
    evaluation.coverage_error,
]


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        (ONES((4, 3)), ONES((3, 3))),
        (ONES((4, 3)), ONES(4)),
        (ONES(4), ONES(4)),
        (ONES((0, 3)), ONES((0, 3))),
        (ONES((4, 0)), ONES((4, 0))),
        (0.7 * ONES((4, 3)), ONES((4, 3))),
    ],
)
def test_rankings_of_arrays_that_do_not_match_are_refused(ranking, truth, scores):
    with pytest.raises(ValueError, match=r"must be|there is nothing"):
        ranking(truth, scores)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (lambda: evaluation.exact_match([0.5], [1]), "truth"),
        (lambda: evaluation.exact_match([1.0], [0.5]), "predicted"),
        (lambda: evaluation.confusion_counts([[2]], [[1]]), "truth"),
        (lambda: evaluation.confusion_counts([[1]], [[2]]), "predicted"),
        (lambda: evaluation.confusion_counts([[1]], [[1]], [np.nan]), "weights"),
        (lambda: evaluation.precision_recall_curve([2], [0.5]), "truth"),
    ],
)
def test_a_refusal_names_the_argument(case, name):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        case()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", MISFITS)
def test_arrays_that_do_not_match_are_refused_in_a_sentence(case):
    with pytest.raises(ValueError, match=r"must be|there is n|there must be|takes? one|they are between"):
        case()


@pytest.mark.filterwarnings("error")
def test_classes_and_draws_without_positives_make_no_noise():
    truth, scores = np.array([[1, 0], [0, 0]]), np.array([[0.5, 0.5], [0.1, 0.2]])
    assert evaluation.mean_average_precision(truth, scores) == 1
    assert np.isnan(evaluation.average_precision(truth, scores, [[0, 1], [0, 2]])).all()
    report = evaluation.report(
        TEN.multi_hot([3]), [3], [[0.5] * 10], [3], taxonomy=TEN, threshold=0.5, recordings=[[1, 2]]
    )
    assert report["intervals"]["exact_match"] == [1, 1]


@pytest.mark.parametrize("bad", [np.array([0, 1]), np.array([[0.5]]), np.array([[np.nan]])])
def test_truth_must_be_zeros_and_ones(bad):
    with pytest.raises(ValueError, match="zeros and ones"):
        evaluation.confusion_counts(bad, bad)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_equals_scikit_learn_and_its_steps_add_up_to_the_average_precision(seed):
    _, truth, scores = random_case(seed)
    for c in range(10):
        ours = evaluation.precision_recall_curve(truth[:, c], scores[:, c])
        precision, recall, threshold = metrics.precision_recall_curve(truth[:, c], scores[:, c])
        theirs = np.column_stack([threshold, precision[:-1], recall[:-1]])[::-1]  # without their point at recall 0
        assert np.abs(ours[["threshold", "precision", "recall"]].to_numpy() - theirs).max() < 1e-12
        steps = (np.diff(ours["recall"], prepend=0) * ours["precision"]).sum()
        assert steps == pytest.approx(evaluation.average_precision(truth, scores)[c], abs=1e-12)


def test_a_curve_by_hand():
    curve = evaluation.precision_recall_curve([0, 1, 1, 0], [0.9, 0.9, 0.4, 0.1])
    assert curve["threshold"].tolist() == [0.9, 0.4, 0.1]
    assert curve["precision"].tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 4])
    assert curve["recall"].tolist() == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("truth", "scores", "says"),
    [
        ([0, 0], [0.1, 0.2], "no positives"),
        ([1, 0], [0.1], "of one class"),
        ([[1], [0]], [[0.1], [0.2]], "of one class"),
        ([1, 2], [0.1, 0.2], "zeros and ones"),
    ],
)
def test_a_curve_needs_one_class_that_has_positives(truth, scores, says):
    with pytest.raises(ValueError, match=says):
        evaluation.precision_recall_curve(truth, scores)


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_calibration_equals_scikit_learn(bins):
    _, truth, scores = random_case(0)  # rounded scores: some lie on the edges
    table = evaluation.calibration(truth, scores, bins)
    true, said = calibration_curve(truth.ravel(), scores.ravel(), n_bins=bins, strategy="uniform")
    assert np.abs(table[["said", "true"]].to_numpy() - np.column_stack([said, true])).max() < 1e-12
    assert table["count"].sum() == truth.size and (table["count"] > 0).all()


def test_calibration_by_hand():
    table = evaluation.calibration([[1, 0], [1, 1]], [[0.92, 0.94], [0.96, 0.18]])
    assert table["count"].tolist() == [1, 3] and table["said"].tolist() == pytest.approx([0.18, 0.94])
    assert table["true"].tolist() == pytest.approx([1, 2 / 3])
    assert evaluation.calibration_error(table) == pytest.approx((1 * 0.82 + 3 * (0.94 - 2 / 3)) / 4)
    with pytest.raises(ValueError, match=r"between 0 and 1; they are between 0\.5 and 1\.1"):
        evaluation.calibration([[1, 0]], [[0.5, 1.1]])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50), st.integers(1, 20))
def test_what_is_certain_and_right_is_calibrated_and_no_error_is_above_one(values, bins):
    truth, scores = np.array(values).T[:, :, None]
    assert evaluation.calibration_error(evaluation.calibration(truth, truth, bins=max(bins, 2))) == 0
    table = evaluation.calibration(truth, scores, bins)
    assert 0 <= evaluation.calibration_error(table) <= 1 and table["count"].sum() == len(values)
    assert table["said"].is_monotonic_increasing


def test_label_confusion_by_hand():
    truth = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    predicted = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    # Class 0 is missed in rows 1 to 3: of these, rows 1 and 3 have no class 1, and row 1 names it.
    expected = [[1 / 4, 1 / 2, 1 / 3], [np.nan, 0, 1], [np.nan, np.nan, np.nan]]
    assert np.allclose(evaluation.label_confusion(truth, predicted), expected, equal_nan=True)
    with pytest.raises(ValueError, match="both must be"):
        evaluation.label_confusion(truth, predicted[:, :2])


@pytest.mark.parametrize("seed", range(3))
def test_label_confusion_equals_its_definition(seed):
    _, truth, scores = random_case(seed, empty=[4])
    truth, predicted = truth.astype(bool), scores >= 0.5
    ours = evaluation.label_confusion(truth, predicted)
    for i in range(10):
        for j in range(10):
            rows = truth[:, i] if i == j else truth[:, i] & ~predicted[:, i] & ~truth[:, j]
            expected = predicted[rows, j].mean() if rows.any() else np.nan
            assert ours[i, j] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_loss_of_a_mixture_is_its_cross_entropy():
    _, truth, scores = random_case(0, n=50)
    scores[0], scores[1] = truth[0], 1 - truth[1]  # certain and right, certain and wrong
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    theirs = [metrics.log_loss(t, p, labels=[0, 1]) for t, p in zip(truth, clipped, strict=True)]
    ours = evaluation.mixture_loss(truth, scores)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert ours[0] == pytest.approx(1e-7, rel=1e-3) and ours[1] == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: evaluation.calibration([[1]], [[0.5]], bins=0), "bins must be at least 1, not 0"),
        (lambda: evaluation.calibration_error(pd.DataFrame({"said": [], "true": [], "count": []})), "bins is empty"),
        (lambda: evaluation.intervals({}, np.arange(3), np.random.default_rng(0), draws=0), "draws must be at least 1"),
        (lambda: evaluation.intervals({}, np.arange(3), np.random.default_rng(0), level=1.0), "level between 0 and 1"),
        (
            lambda: evaluation.intervals({}, np.arange(3), np.random.default_rng(0), level=np.nan),
            "level between 0 and 1",
        ),
        (lambda: counts_of(tp=-1.0), "counts must be 0 or more"),
        (lambda: counts_of(fn=np.nan), "1 of 1 counts are NaN or infinite$"),
        (lambda: evaluation.precision_recall_f1(pd.DataFrame({"tp": [1]})), "no column fp, fn"),
        (
            lambda: evaluation.bootstrap_weights(np.array([[1, np.nan]]), 3, np.random.default_rng(0)),
            "recordings are NaN",
        ),
        (
            lambda: evaluation.bootstrap_weights(np.array([[1, 2]]), 0, np.random.default_rng(0)),
            "draws must be at least 1",
        ),
        (lambda: report_at(7.0), "threshold must be between 0 and 1, not 7"),
        (lambda: report_at(np.nan), "threshold must be between 0 and 1, not nan"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def report_at(threshold):
    return evaluation.report(
        TEN.multi_hot([3, 4]), [3, 4], np.full((2, 10), 0.5), [3, 4], taxonomy=TEN, threshold=threshold
    )


def counts_of(**counts):
    return evaluation.average(
        pd.DataFrame({"tp": [1.0], "fp": [1.0], "fn": [1.0]} | {k: [v] for k, v in counts.items()})
    )
