"""Parts of one's own in a run: network, front end, augmentation, loss, callback, metric; none of them edits the package."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_utils import data as run_data
from course_utils import features, inference, models, training
from course_utils.configuration import Config, ConfigurationError, Recipe


class Tiny(nn.Module):
    """Mean log-mel to logits."""

    def __init__(self, outputs: int, n_mels: int = 16) -> None:
        super().__init__()
        self.log_mel = features.LogMel(n_mels=n_mels, hop_length=1024)
        self.norm, self.fc = nn.BatchNorm1d(n_mels), nn.Linear(n_mels, outputs)

    def forward(self, sounds: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.log_mel(sounds).mean(dim=-1)))


def squared(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (logits.sigmoid() - targets).square().mean()


def halved(batch):
    return batch._replace(audio=batch.audio / 2)


def one_error(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(1 - np.take_along_axis(truth, scores.argmax(axis=1)[:, None], axis=1).mean())


@pytest.fixture
def config(tones) -> Config:
    return Config(
        str(tones),
        n_mels=16,
        hop_length=1024,
        width=2,
        recipe=Recipe(joint="slots", slot_seconds=0.5),
        test_folds=(3,),
        epochs=2,
        batch_size=16,
        learning_rate=1e-2,
        accelerator="cpu",
    )


@pytest.fixture
def registered():
    models.register("tiny", lambda config, outputs: Tiny(outputs, config.n_mels))
    yield
    models._builders.pop("tiny", None)


# --- Network ---------------------------------------------------------------------------------------------------------


def test_a_network_of_ones_own_is_trained_evaluated_and_asked(config, tmp_path, tones):
    network = Tiny(10)
    before = network.fc.weight.detach().clone()
    state = training.train(config, tmp_path, progress=False, network=network)
    assert state.epoch == 2 and not torch.equal(before, network.fc.weight)
    result = inference.evaluate(tmp_path, progress=False, network=Tiny(10))
    assert result.report["mixtures"] == 60
    clip = next(tones.rglob("*.wav"))
    assert len(inference.predict(tmp_path, clip, progress=False, network=Tiny(10)).probabilities) == 10
    loaded, *_ = training.load_network(tmp_path, Tiny(10))
    assert torch.equal(loaded.fc.weight, torch.load(tmp_path / "best.pt", weights_only=True)["network"]["fc.weight"])


def test_a_network_with_another_number_of_outputs_is_told_how_many_are_needed(config, tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"logits \[16, 3\], but the targets are \[16, 10\]; build it with 10 outputs"
    ):
        training.train(config, tmp_path / "run", progress=False, network=Tiny(3))


def test_a_checkpoint_says_which_network_it_needs(config, tmp_path):
    training.train(config, tmp_path, progress=False, network=Tiny(10))
    with pytest.raises(ConfigurationError, match=r"network of its author's, test_own_parts\.Tiny.*\(network=…\)"):
        training.load_network(tmp_path)
    with pytest.raises(ConfigurationError, match=r"do not fit test_own_parts\.Tiny; pass a network with the layers"):
        training.load_network(tmp_path, Tiny(10, n_mels=17))
    with pytest.raises(
        ConfigurationError, match=r"began with the network test_own_parts\.Tiny, and goes on with nothing but"
    ):
        training.train(config, tmp_path, progress=False)


def test_a_registered_network_is_known_by_its_name(registered, config, tmp_path):
    config = dataclasses.replace(config, model="tiny")
    training.train(config, tmp_path, progress=False)
    assert isinstance(training.load_network(tmp_path)[0], Tiny) and "tiny" in models.names()
    assert inference.evaluate(tmp_path, progress=False).report["mixtures"] == 60


def test_a_process_that_has_not_registered_it_is_told_what_to_import(registered, config, tmp_path):
    training.train(dataclasses.replace(config, model="tiny"), tmp_path, progress=False)
    result = subprocess.run(
        [sys.executable, "-m", "course_utils", "evaluate", "--run", tmp_path], capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert (
        "needs the network 'tiny', which test_own_parts registers (models.register); import that first" in result.stderr
    )


def test_the_courses_own_names_cannot_be_taken():
    for name in ("cnn10", "crnn", ""):
        with pytest.raises(ValueError, match="a name of its own"):
            models.register(name, lambda config, outputs: Tiny(outputs))


def test_an_unknown_network_is_refused_before_any_work(config, tmp_path):
    with pytest.raises(ConfigurationError, match="no network 'resnet' here, only cnn10, crnn"):
        training.train(dataclasses.replace(config, model="resnet", data="nowhere"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_a_network_of_ones_own_will_do_is_described(config, tmp_path):
    data, network = run_data.prepare(config, progress=False), Tiny(10)
    before = network.fc.weight.detach().clone()
    says = training.describe(config, data, tmp_path, network)
    assert says.startswith("test_own_parts.Tiny, 202 parameters") and torch.equal(before, network.fc.weight)


# --- Loss, augmentation, callback, metric ----------------------------------------------------------------------------


def test_a_loss_of_ones_own_is_what_is_learnt_and_noted(config, tmp_path):
    training.train(config, tmp_path, progress=False, loss=squared)
    history = pd.read_csv(tmp_path / "history.csv")
    assert (history[["train_loss", "valid_loss"]] < 1).all().all()  # a square of what lies between 0 and 1
    data = run_data.prepare(config, progress=False)
    network, *_ = training.load_network(tmp_path)
    batches = run_data.loader(config, data.valid, data.taxonomy)
    found = training.score(network, batches, "labels", data.taxonomy, device=torch.device("cpu"), loss=squared)
    assert found.loss == pytest.approx(((found.label_scores - found.multi_hot) ** 2).mean(), abs=1e-6)
    with pytest.raises(ConfigurationError, match=r"began with the loss test_own_parts\.squared"):
        training.train(dataclasses.replace(config, epochs=2), tmp_path, progress=False)
    with pytest.raises(ConfigurationError, match="weight that one instead"):
        training.train(dataclasses.replace(config, pos_weight=True), tmp_path / "other", progress=False, loss=squared)


def test_the_courses_loss_passed_as_ones_own_gives_the_same_weights(config, tmp_path):
    for name, own in (("plain", {}), ("own", {"loss": binary_cross_entropy_with_logits})):
        training.train(config, tmp_path / name, progress=False, **own)
    one, other = (torch.load(tmp_path / name / "last.pt", weights_only=True)["network"] for name in ("plain", "own"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_augmentation_changes_training_batches_only(config, tmp_path):
    seen = []

    class Watched(Tiny):
        def forward(self, sounds, lengths):
            seen.append((self.training, float(sounds.abs().max())))
            return super().forward(sounds, lengths)

    for augment in (None, halved):
        training.train(config, tmp_path / str(augment is None), progress=False, network=Watched(10), augment=augment)
    while_learning = [peak for learns, peak in seen if learns]
    half, tested = len(while_learning) // 2, [peak for learns, peak in seen if not learns]
    assert max(while_learning[:half]) == pytest.approx(2 * max(while_learning[half:]), rel=0.1)
    assert max(tested[: len(tested) // 2]) == max(tested[len(tested) // 2 :])


def test_a_callback_hears_of_every_epoch_and_may_end_the_run(config, tmp_path):
    heard = []

    def on_epoch(state):
        heard.append((state.epoch, state.history[-1]["train_loss"]))
        return state.epoch == 2

    state = training.train(dataclasses.replace(config, epochs=5), tmp_path, progress=False, on_epoch=on_epoch)
    assert [epoch for epoch, _ in heard] == [1, 2] and state.epoch == 2
    assert pd.read_csv(tmp_path / "history.csv")["train_loss"].tolist() == pytest.approx([loss for _, loss in heard])


def test_a_metric_of_ones_own_is_in_history_and_report(config, tmp_path):
    training.train(config, tmp_path, progress=False, metrics={"one_error": one_error})
    assert pd.read_csv(tmp_path / "history.csv")["valid_one_error"].between(0, 1).all()
    result = inference.evaluate(tmp_path, progress=False, metrics={"one_error": one_error})
    assert result.report["own"] == {"one_error": one_error(result.scores.multi_hot, result.scores.label_scores)}
    json.dumps(result.report, allow_nan=False)


@pytest.mark.parametrize("value", [float("nan"), None, [1.0, 2.0]])
def test_a_metric_that_returns_no_number_is_named(config, tmp_path, value):
    with pytest.raises(ConfigurationError, match="the metric 'mine' returned"):
        training.train(config, tmp_path, progress=False, metrics={"mine": lambda truth, scores: value})


# --- Front end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "front_end",
    [
        {"sample_rate": 16_000},
        {"sample_rate": 8_000, "fmax": 3_800.0},
        {"fmin": 200.0, "fmax": 5_000.0, "mel_scale": "htk", "filter_norm": "none"},
        {"front_end": "pcen"},
        {"model": "crnn", "sample_rate": 16_000},
    ],
)
def test_another_front_end_is_a_matter_of_the_configuration(config, tmp_path, tones, front_end):
    config = dataclasses.replace(config, **front_end)
    data = run_data.prepare(config, progress=False)
    assert data.test.cache.sample_rate == config.sample_rate
    sound, _ = data.test[0]
    assert len(sound) == config.sample_rate  # two slots of half a second
    training.train(config, tmp_path / "run", data, progress=False)
    network, stored, *_ = training.load_network(tmp_path / "run")
    assert stored.mel == config.mel and stored.sample_rate == config.sample_rate
    if config.model == "cnn10":
        kind = features.PCEN if config.front_end == "pcen" else features.LogMel
        expected = kind(**config.mel).eval()(sound[None])
        assert torch.equal(network.log_mel(sound[None]), expected)
    assert inference.evaluate(tmp_path / "run", progress=False).report["mixtures"] == 60
    assert inference.predict(tmp_path / "run", next(tones.rglob("*.wav")), progress=False).seconds == 0.5


def test_edges_beyond_half_the_sampling_rate_are_refused():
    for wrong in (
        {"fmax": 12_000.0},
        {"sample_rate": 8_000, "fmin": 4_000.0},
        {"fmin": -1.0},
        {"fmin": 500.0, "fmax": 400.0},
    ):
        with pytest.raises(ConfigurationError, match="fmin must be at least 0 and below fmax"):
            Config("x", **wrong)


def test_a_stored_set_knows_its_rate_and_its_filters(config, tmp_path):
    from course_utils import storage

    config = dataclasses.replace(config, sample_rate=16_000, fmax=7_000.0, fresh_pairs=False)
    data = run_data.prepare(config, progress=False)
    plan = pd.concat([data.train.plan, data.valid.plan, data.test.plan], ignore_index=True)
    made = {"taxonomy": data.taxonomy, "recipe": config.recipe}
    storage.write_set(tmp_path / "mel", "mel", data.test.cache, plan, **made, mel=config.mel, progress=False)
    stored = dataclasses.replace(config, data=str(tmp_path / "mel"))
    assert run_data.prepare(stored).test[0][0].shape == (16, 1 + 16_000 // 1024)
    for other, says in (
        ({"sample_rate": 8_000, "fmax": None}, "16,000 Hz, 8,000 asked for"),
        ({"fmax": None}, "fmax 7000.0"),
    ):
        with pytest.raises(ValueError, match=says):
            run_data.prepare(dataclasses.replace(stored, **other))
    with pytest.raises(ValueError, match="PCEN takes waveforms"):
        run_data.prepare(dataclasses.replace(stored, front_end="pcen"))


def test_data_of_another_split_are_refused_and_of_another_front_end_are_not(config, tmp_path):
    """Else a run could be tested on the fold that it was trained on, and its audit would not know."""
    prepared = run_data.prepare(dataclasses.replace(config, train_folds=(3,), valid_folds=(2,), test_folds=(1,)))
    with pytest.raises(
        ConfigurationError, match="another train_folds, valid_folds, test_folds; prepare them by this one"
    ):
        training.train(config, tmp_path / "run", prepared, progress=False)
    assert not (tmp_path / "run" / "last.pt").exists()
    other = dataclasses.replace(config, front_end="pcen", epochs=1, learning_rate=1e-3)
    assert training.train(other, tmp_path / "other", run_data.prepare(config), progress=False).epoch == 1
    noisy = dataclasses.replace(run_data.prepare(config), made_by=None)  # put together by hand
    assert (
        training.train(dataclasses.replace(config, seed=1, epochs=1), tmp_path / "own", noisy, progress=False).epoch
        == 1
    )
