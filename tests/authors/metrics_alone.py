"""An author's own scores and labels: the metrics on arrays, without torch."""

import sys

import numpy as np

from course_utils import evaluation

rng = np.random.default_rng(0)
truth = (rng.random((300, 5)) < 0.3).astype(int)  # any number of classes per sound, none included
scores = np.clip(0.3 * truth + 0.7 * rng.random((300, 5)), 0, 1)
precision = evaluation.average_precision(truth, scores)
threshold = evaluation.tune_threshold(truth, scores)
counts = evaluation.confusion_counts(truth, scores >= threshold)
averages = evaluation.average(counts)
right = ((scores >= threshold) == truth).mean(axis=1)
accuracy = {"accuracy": lambda weights: weights @ right / weights.sum(axis=1)}
low, high = evaluation.intervals(accuracy, np.arange(300) // 3, rng, draws=200)["accuracy"]
assert precision.shape == (5,) and (precision > truth.mean(axis=0)).all()
assert set(averages) >= {"macro", "micro"} and low < right.mean() < high
assert "torch" not in sys.modules
print(
    "mAP", round(precision.mean(), 3), "accuracy", round(right.mean(), 3), "from", round(low, 3), "to", round(high, 3)
)
