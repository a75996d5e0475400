"""Features are float32 at the door of the front end and behind it, whatever the precision of the network.

On a CPU: autocast rounds there as it does on a GPU. What only a GPU can show is in `tests/gpu`.
"""

import contextlib

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import nn

from course_utils import audio, features, inference, models, training
from course_utils import data as run_data
from course_utils.audio import SAMPLE_RATE
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.models.crnn import MelspectrogramStretch

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def quick(tones, **changes):
    options = {
        "data": str(tones),
        "width": 2,
        "n_mels": 16,
        "hop_length": 1024,
        "recipe": Recipe(joint="slots", slot_seconds=0.5),
        "spec_augment": False,
        "batch_size": 16,
        "test_folds": (3,),
        "epochs": 1,
        "accelerator": "cpu",
    }
    return Config(**options | changes)


class Doors:
    """What goes into the front end of every network that is built, and what comes out of it and of the first layer."""

    def __init__(self, monkeypatch):
        self.into, self.out, self.first_layer = [], [], []
        build = models.build
        monkeypatch.setattr(models, "build", lambda *args, **options: self.watch(build(*args, **options)))

    def watch(self, network):
        is_crnn = isinstance(network, models.CRNN)
        self.front = network.spectrogram if is_crnn else network.log_mel
        first = network.convolutions[0][0] if is_crnn else network.network.blocks[0].conv1
        if is_crnn:
            self.front.probability = 0.0  # no stretch: what comes out can be computed again
        self.front.register_forward_hook(self.note)
        first.register_forward_hook(lambda layer, ins, out: self.first_layer.append(out.dtype))
        return network

    def note(self, front, ins, out):
        self.into.append(ins)
        self.out.append(out[0] if isinstance(out, tuple) else out)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("model", "norm"), [("cnn10", "db"), ("crnn", "db"), ("crnn", "whiten")])
def test_waveforms_come_in_and_features_go_out_as_float32(tmp_path, tones, monkeypatch, model, norm, precision):
    doors = Doors(monkeypatch)
    recipe = Recipe(joint="slots", slot_seconds=0.5, replicas=1)
    config = quick(tones, model=model, norm=norm, precision=precision, recipe=recipe)
    data = run_data.prepare(config, progress=False)
    training.train(config, tmp_path / "run", data, progress=False)
    after_training = len(doors.into)
    assert after_training > len(data.train) // config.batch_size  # steps, and the validation
    assert {layer for layer in doors.first_layer} == {PRECISIONS[precision]}  # half, behind the front end
    inference.evaluate(tmp_path / "run", progress=False)
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 880 * time), SAMPLE_RATE, subtype="FLOAT")
    inference.predict(tmp_path / "run", tmp_path / "tone.wav")
    assert len(doors.into) > after_training + 1
    for ins, out in zip(list(doors.into), list(doors.out), strict=True):  # copies: the front end notes more below
        waveform = ins[0]
        assert waveform.dtype == out.dtype == torch.float32
        sound = waveform[waveform != 0]
        assert (sound.bfloat16().float() != sound).float().mean() > 0.9  # never were in 16 bits
        again = doors.front.eval()(*ins)
        again = again[0] if isinstance(again, tuple) else again
        assert (out - again).abs().max() <= 1e-4 * again.abs().max()
    sent = torch.cat([batch.audio for batch in run_data.loader(config, data.test, data.taxonomy)])
    seen = torch.cat([ins[0][:, : sent.shape[1]] for ins in doors.into[after_training:]])
    assert torch.equal(seen[: len(sent)], sent)  # to the last bit


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("front", ["LogMel", "MelSpectrogram", "db", "whiten"])
def test_a_front_end_under_autocast_gives_what_it_gives_without(real_root, front, precision):
    """On real clips, and on a tone at full scale, whose power float16 cannot hold."""
    paths = sorted((real_root / "audio" / "fold1").iterdir())[::80]
    sounds = torch.from_numpy(np.stack([audio.fit_length(audio.read(path), 4 * SAMPLE_RATE) for path in paths]))
    tone = torch.sin(2 * torch.pi * 880 / SAMPLE_RATE * torch.arange(4 * SAMPLE_RATE))
    sounds = torch.cat([sounds, tone[None]])
    assert features.power_spectrogram(tone, 2048, 1024).max() > 3 * 65_504  # where float16 ends
    if front in ("db", "whiten"):
        stretch = MelspectrogramStretch(norm=front).eval()

        def compute(sounds):
            return stretch(sounds, torch.full((len(sounds),), sounds.shape[-1]))[0]
    else:
        compute = getattr(features, front)()
    expected = compute(sounds)
    with torch.autocast("cpu", precision):
        found = compute(sounds)
    assert found.dtype == torch.float32 and torch.equal(found, expected) and torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("device", "has_bf16", "expected"),
    [("cuda", True, "bf16-mixed"), ("cuda", False, "16-mixed"), ("mps", False, "32-true"), ("cpu", True, "32-true")],
)
def test_auto_takes_tensor_cores_where_there_are_some(monkeypatch, device, has_bf16, expected):
    monkeypatch.setattr(training.devices, "device_of", lambda config: torch.device(device))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert training.precision_of(Config(data="x")) == expected
    assert training.precision_of(Config(data="x", precision="32-true")) == "32-true"


def test_an_unknown_precision_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="auto, 32-true, bf16-mixed, 16-mixed"):
        Config(data="x", precision="64")


def test_float16_scales_the_loss_and_goes_on_with_its_scale(tmp_path, tones):
    config = quick(tones, precision="16-mixed", epochs=3)
    training.train(config, tmp_path / "whole", progress=False)
    training.train(config, tmp_path / "parts", progress=False, on_epoch=lambda state: state.epoch == 1)
    stopped = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    assert stopped["precision"]["scale"] > 1
    training.train(config, tmp_path / "parts", progress=False)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole["network"][name], weight) for name, weight in parts["network"].items())
    assert whole["precision"] == parts["precision"]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_epochs_before(tmp_path, tones, monkeypatch):
    config = quick(tones, epochs=3)
    steps = []

    def spoil(*arguments, **parts):
        steps.append(1)
        loss = training_step(*arguments, **parts)
        return loss if len(steps) < 9 else loss * torch.nan

    training_step = training.training_step
    monkeypatch.setattr(training.loop, "training_step", spoil)
    with pytest.raises(training.DivergedError, match="epoch 2 is no longer a number; use a smaller --learning-rate"):
        training.train(config, tmp_path, progress=False)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 1
    assert torch.load(tmp_path / "last.pt", weights_only=True)["state"]["epoch"] == 1


def test_a_learning_rate_that_is_far_too_high_ends_in_a_sentence(tmp_path, tones):
    with pytest.raises(training.DivergedError, match="no longer a number"):
        training.train(quick(tones, learning_rate=1e30, epochs=4), tmp_path, progress=False)


def test_decay_leaves_biases_and_batch_norm_alone_unless_told():
    network = nn.ModuleDict({"convolution": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2), "lstm": nn.LSTM(2, 2)})
    names = {id(p): name for name, p in network.named_parameters()}
    weights, vectors = training.make_optimizer(Config(data="x"), network).param_groups
    assert weights["weight_decay"] == 1e-2 and vectors["weight_decay"] == 0
    assert {names[id(p)] for p in weights["params"]} == {
        "convolution.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
    }
    assert len(weights["params"]) + len(vectors["params"]) == len(names)
    (everything,) = training.make_optimizer(Config(data="x", decay="all"), network).param_groups
    assert len(everything["params"]) == len(names) and everything["weight_decay"] == 1e-2


def test_a_long_gradient_is_shortened_for_the_crnn(tones, monkeypatch):
    lengths = {}
    for model, clip_norm in (("crnn", None), ("crnn", 0.0), ("cnn10", None), ("cnn10", 0.5)):
        config = quick(tones, model=model, clip_norm=clip_norm, optimizer="adam", batch_size=4)
        data = run_data.prepare(config, progress=False)
        fabric, network = training.make_fabric(config, 1), models.build(config, data.taxonomy)
        last = network.fc if model == "crnn" else network.network.fc2
        last.weight.data *= 1e4  # steep
        optimizer = training.make_optimizer(config, network)
        prepared = fabric.setup(network, optimizer)
        examples = training.examples_of(next(iter(run_data.loader(config, data.train, data.taxonomy))), config)
        training.training_step(*prepared, examples, backward=training.make_backward(fabric, *prepared, config))
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        lengths[model, clip_norm] = float(torch.cat([g.flatten() for g in gradients]).norm())
    assert lengths["crnn", None] == pytest.approx(1, rel=1e-3) and lengths["crnn", 0.0] > 10
    assert lengths["cnn10", None] > 10 and lengths["cnn10", 0.5] == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ConfigurationError, match="clip_norm must be at least 0"):
        Config(data="x", clip_norm=-1.0)


def test_what_was_trained_before_these_options_is_read_as_what_it_was():
    old = Config(data="x", decay="all", clip_norm=0.0).to_dict()
    del old["decay"], old["clip_norm"]
    assert Config.from_dict(old) == Config(data="x", decay="all", clip_norm=0.0)
    differ = Config(data="x").differences(old)
    assert differ == ["decay: all there, weights now", "clip_norm: 0.0 there, None now"]


def test_lengths_stay_on_the_cpu_beside_a_batch(tones):
    """`meta` stands for a GPU: nothing can be read from it."""
    config = quick(tones)
    data = run_data.prepare(config, progress=False)
    batch = next(iter(run_data.loader(config, data.test, data.taxonomy))).to(torch.device("meta"))
    assert {batch.audio.device.type, batch.multi_hot.device.type} == {"meta"}
    assert batch.lengths.device.type == "cpu"


def test_the_crnn_asks_the_device_for_no_lengths(monkeypatch):
    """On `meta` every question for a value fails, as it would make a GPU wait."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which `meta` does not know
    for time_pooling, readout in (("report", "last"), ("fine", "attention")):
        network = models.crnn(10, time_pooling=time_pooling, readout=readout, norm="whiten").to("meta").train()
        network.spectrogram.probability = 0.0
        logits = network(torch.zeros(2, 100_000, device="meta"), torch.tensor([100_000, 70_000]))
        assert logits.shape == (2, 10)


def test_no_advice_to_multiply_in_fewer_digits_reaches_a_lesson(caplog):
    from lightning_fabric.utilities.rank_zero import rank_zero_info

    with caplog.at_level("INFO"):
        rank_zero_info("you should set `torch.set_float32_matmul_precision('medium' | 'high')`")
        rank_zero_info("Initializing distributed")
    assert [record.getMessage() for record in caplog.records] == ["Initializing distributed"]
