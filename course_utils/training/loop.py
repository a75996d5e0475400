"""The loop: a step and an epoch of learning, and scores, short enough to retype; all that they need is passed in.

An *example batch* is what a network learns from: sounds `[B, T]` (or log-mels `[B, n_mels, frames]`), lengths `[B]`, and
targets `[B, outputs]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from course_utils import evaluation
from course_utils.configuration import Config, ConfigurationError
from course_utils.mixing import Batch
from course_utils.progress import bar
from course_utils.taxonomy import Taxonomy

Network = Callable[[Tensor, Tensor], Tensor]  # sounds and lengths to logits [B, outputs]
Loss = Callable[[Tensor, Tensor], Tensor]  # logits and targets to the mean over a batch
Examples = tuple[Tensor, Tensor, Tensor]


class DivergedError(ConfigurationError):
    """A network whose loss or outputs are no longer numbers; the message says where, and what to try."""


@dataclass(frozen=True)
class Scores:
    """What a network says about a set of mixtures.

    Attributes:
        loss: Mean loss.
        multi_hot: The truth, `[N, n_classes]`.
        combination: The true combination IDs, `[N]`; None if label sets are not scored as combinations.
        label_scores: Probability of each class, `[N, n_classes]`.
        predicted_combination: The most probable combination, `[N]`; None likewise.
    """

    loss: float
    multi_hot: np.ndarray
    combination: np.ndarray | None
    label_scores: np.ndarray
    predicted_combination: np.ndarray | None

    def exact_match(self, threshold: float) -> float:
        """Return the share of mixtures whose label set is right: as a combination, or else class by class by a threshold."""
        if self.combination is not None and self.predicted_combination is not None:
            return evaluation.exact_match(self.combination, self.predicted_combination)
        return evaluation.exact_match(self.multi_hot, self.label_scores >= threshold)


def training_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    *,
    loss: Loss = binary_cross_entropy_with_logits,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """Take one step of the optimiser on a batch.

    Args:
        network: Sounds and lengths to logits, in training mode.
        optimizer: The optimiser of its parameters.
        examples: Sounds, lengths and targets, on the network's device.
        loss: The loss, from logits and targets.
        backward: Computes the gradients of a loss; a run clips and scales them here.

    Returns:
        The loss, on the device: reading it waits for the device.

    Raises:
        ConfigurationError: If the network returns another number of logits than there are targets.

    Example:
        >>> layer = torch.nn.Linear(4, 2)
        >>> network, optimizer = lambda sounds, lengths: layer(sounds), torch.optim.SGD(layer.parameters(), 0.1)
        >>> examples = torch.ones(3, 4), torch.full((3,), 4), torch.ones(3, 2)
        >>> first, second = (training_step(network, optimizer, examples) for _ in range(2))
        >>> bool(second < first)
        True

    Lesson: 07_training_cnn10
    """
    sounds, lengths, targets = examples
    value = loss(_checked(network(sounds, lengths), targets), targets)
    optimizer.zero_grad()
    backward(value)
    optimizer.step()
    return value.detach()


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Examples],
    *,
    loss: Loss = binary_cross_entropy_with_logits,
    backward: Callable[[Tensor], None] = Tensor.backward,
    after_step: Callable[[list[Tensor]], None] = lambda losses: None,
) -> list[Tensor]:
    """Take a step on every batch.

    Args:
        network: As in `training_step`.
        optimizer: As in `training_step`.
        batches: The batches of an epoch.
        loss: As in `training_step`.
        backward: As in `training_step`.
        after_step: Called with the losses so far, for a schedule and a progress bar.

    Returns:
        The loss of every batch, on the device.

    Example:
        >>> layer = torch.nn.Linear(4, 2)
        >>> network, optimizer = lambda sounds, lengths: layer(sounds), torch.optim.SGD(layer.parameters(), 0.1)
        >>> losses = train_epoch(network, optimizer, [(torch.ones(3, 4), torch.full((3,), 4), torch.ones(3, 2))] * 5)
        >>> len(losses), bool(losses[-1] < losses[0])
        (5, True)

    Lesson: 07_training_cnn10
    """
    losses: list[Tensor] = []
    for examples in batches:
        losses.append(training_step(network, optimizer, examples, loss=loss, backward=backward))
        after_step(losses)
    return losses


def examples_of(batch: Batch, config: Config) -> Examples:
    """Return sounds, lengths and targets of a training batch, mixed up if so configured.

    Example:
        >>> from course_utils.mixing import collate
        >>> sounds, lengths, targets = examples_of(collate([(torch.ones(3), 0)], Taxonomy(("dog", "siren"))), Config("mini"))
        >>> sounds, lengths, targets
        (tensor([[1., 1., 1.]]), tensor([3]), tensor([[1., 0.]]))
    """
    targets = targets_of(batch, config.head, batch.multi_hot.shape[1])
    if not config.mixup:
        return batch.audio, batch.lengths, targets
    order = torch.randperm(len(targets))  # on the CPU, where the lengths are
    share = torch.rand(len(targets), device=targets.device)  # Beta(1, 1): PANNs' choice of mixup
    per_sound = share.reshape(-1, *[1] * (batch.audio.dim() - 1))
    sounds = per_sound * batch.audio + (1 - per_sound) * batch.audio[order]
    lengths = torch.maximum(batch.lengths, batch.lengths[order])
    return sounds, lengths, share[:, None] * targets + (1 - share[:, None]) * targets[order]


def targets_of(batch: Batch, head: str, n_classes: int) -> Tensor:
    """Return what the logits are compared with: multi-hot classes, or one-hot combinations.

    Example:
        >>> from course_utils.mixing import collate
        >>> batch = collate([(torch.ones(3), 1)], Taxonomy(("dog", "siren")))  # combination 1: a dog and a siren
        >>> targets_of(batch, "labels", n_classes=2), targets_of(batch, "combinations", n_classes=2)
        (tensor([[1., 1.]]), tensor([[0., 1., 0.]]))
    """
    if head == "labels":
        return batch.multi_hot
    return one_hot(batch.combination, n_classes * (n_classes + 1) // 2).float()


def _checked(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape != targets.shape:
        raise ConfigurationError(
            f"the network returns logits {list(logits.shape)}, but the targets are {list(targets.shape)}; build it with "
            f"{targets.shape[1]} outputs"
        )
    return logits


@torch.inference_mode()
def score(
    network: Network,
    batches: Iterable[Batch],
    head: str,
    taxonomy: Taxonomy,
    *,
    device: torch.device,
    progress: bool | None = None,
    loss: Loss = binary_cross_entropy_with_logits,
    as_combinations: bool = True,
) -> Scores:
    """Run a network over mixtures.

    Args:
        network: Sounds and lengths to logits, in evaluation mode.
        batches: The mixtures.
        head: `labels` or `combinations`.
        taxonomy: The classes.
        device: Where the network is.
        progress: Show a progress bar; None: only in a terminal.
        loss: The loss, from logits and targets: the mean over a batch.
        as_combinations: Whether to score label sets also as combinations; all must then have one or two classes.

    Returns:
        Truth and scores of all mixtures, in order.

    Raises:
        ConfigurationError: If the network returns another number of logits than there are targets.
        DivergedError: If an output of the network is NaN or infinite.
        ValueError: If `as_combinations` is true, and a label set is not a combination.

    Example:
        >>> from course_utils.mixing import collate
        >>> taxonomy = Taxonomy(("dog", "siren"))
        >>> batches = [collate([(torch.ones(3), 0), (torch.ones(3), 2)], taxonomy)]  # one of dogs, one of sirens
        >>> network = lambda sounds, lengths: torch.tensor([[5.0, -5.0], [-5.0, 5.0]])
        >>> scores = score(network, batches, "labels", taxonomy, device=torch.device("cpu"))
        >>> scores.multi_hot.tolist(), scores.label_scores.round(2).tolist()
        ([[1.0, 0.0], [0.0, 1.0]], [[0.99, 0.01], [0.01, 0.99]])
    """
    logits, truths, losses = [], [], []
    for cpu_batch in bar(batches, "score", unit="batch", progress=progress):
        batch = cpu_batch.to(device)
        targets = targets_of(batch, head, taxonomy.n_classes)
        output = _checked(network(batch.audio, batch.lengths).float(), targets)
        losses.append(loss(output, targets).cpu() * len(output))
        logits.append(output.cpu())
        truths.append(cpu_batch.multi_hot)
    outputs = torch.cat(logits)
    if not torch.isfinite(outputs).all():
        bad = torch.nonzero(~torch.isfinite(outputs).all(dim=1)).flatten().tolist()
        raise DivergedError(
            f"the network gives NaN or infinity for {len(bad):,} of {len(outputs):,} mixtures, the first is {bad[0]}; "
            "if it is for all, the training has diverged: train again with a smaller --learning-rate"
        )
    probabilities = outputs.sigmoid().double().numpy()
    truth = torch.cat(truths).numpy()
    label_scores = probabilities if head == "labels" else evaluation.combinations_to_labels(probabilities, taxonomy)
    combination = predicted = None
    if as_combinations:
        combination = taxonomy.from_multi_hot(truth)
        most_probable = evaluation.labels_to_combination
        predicted = most_probable(probabilities, taxonomy) if head == "labels" else probabilities.argmax(axis=1)
    return Scores(float(torch.stack(losses).sum()) / len(outputs), truth, combination, label_scores, predicted)
