"""What only a GPU can show, in tests that a CPU can run also: `COURSE_TEST_DEVICE=cpu pytest tests/gpu/test_gpu.py`.

What they measure is recorded, and `run.py` prints it.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from course_utils import cli, features, inference, models, training
from course_utils import data as run_data
from course_utils.audio import SAMPLE_RATE
from course_utils.configuration import Config, Recipe
from course_utils.data import Mixtures
from course_utils.mixing import Batch
from course_utils.models.crnn import MelspectrogramStretch

# How far a loss may be from that of a CPU in 32 bits, as a share of it. Convolutions round to 8 bits in bfloat16.
TOLERANCES = {"32-true": 1e-3, "bf16-mixed": 2e-2, "16-mixed": 2e-2}


@pytest.fixture
def quick(device, tones) -> Callable[..., Config]:
    """Configure a run of seconds."""
    options = {
        "data": str(tones),
        "width": 4,
        "n_mels": 32,
        "hop_length": 1024,
        "recipe": Recipe(replicas=1, joint="slots", slot_seconds=0.5),
        "spec_augment": False,
        "batch_size": 16,
        "test_folds": (3,),
        "learning_rate": 0.01,
        "epochs": 1,
        "accelerator": device.type,
        "workers": 0,
    }
    return lambda **changes: Config(**options | changes)


def first_batch(config: Config, data: Mixtures) -> Batch:
    return next(iter(run_data.loader(config, data.train, data.taxonomy, shuffle_seed=0)))


def front_end(network: nn.Module) -> nn.Module:
    return network.spectrogram if isinstance(network, models.CRNN) else network.log_mel


def difference(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """Return the largest difference of two sets of weights, as a share of the largest weight."""
    largest = max(float(w.abs().max()) for w in some.values())
    return max(float((w.double() - others[name].double()).abs().max()) for name, w in some.items()) / largest


def last(run) -> dict:
    return torch.load(run / "last.pt", map_location="cpu", weights_only=True)


@pytest.mark.parametrize("front", ["LogMel", "db", "whiten"])
def test_a_front_end_gives_what_it_gives_on_a_cpu(device, front, record_property):
    """Two tones and noise that fades, so that there are levels over all of 80 dB."""
    clock = torch.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    noise = torch.randn(2, len(clock), generator=torch.Generator().manual_seed(0)) * 10 ** (-2 * clock)
    tones = torch.stack([torch.sin(2 * torch.pi * f * clock) for f in (440, 5_000)])
    sounds, lengths = 0.3 * (tones + noise), torch.tensor([len(clock), len(clock) // 2])
    layer = features.LogMel() if front == "LogMel" else MelspectrogramStretch(norm=front).eval()
    inputs = (lengths,) if front != "LogMel" else ()
    expected = layer(sounds, *inputs)
    found = layer.to(device)(sounds.to(device), *inputs)
    expected, found = (out[0] if isinstance(out, tuple) else out for out in (expected, found))
    assert found.device.type == device.type and found.dtype == torch.float32
    loud = expected > expected.max() - 80 if front != "whiten" else expected.isfinite()
    far = float((found.cpu() - expected)[loud].abs().max())
    unit = "deviations" if front == "whiten" else "dB"
    record_property(f"{front} differs from the CPU's by at most", f"{far:.1e} {unit}")
    assert far < 0.01


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("model", ["cnn10", "crnn"])
def test_a_training_step(device, quick, monkeypatch, record_property, model, precision):
    """The same batch and weights on both devices, without what each draws for itself: dropout, and the stretch."""
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # its 10 bits would hide what 32-true has to show
    config = quick(model=model, precision=precision)
    data = run_data.prepare(config, progress=False)
    batch = first_batch(config, data)
    training.seed_everything(0, 0, 0)
    initial = models.build(config, data.taxonomy)
    if model == "crnn":
        initial.spectrogram.probability = 0.0
    seen = []

    def learn(config: Config) -> Iterator[tuple[float, nn.Module]]:
        network = copy.deepcopy(initial)
        front_end(network).register_forward_pre_hook(lambda layer, ins: seen.append(ins[0]))
        fabric = training.make_fabric(config, 1)
        prepared = fabric.setup(network, training.make_optimizer(config, network))
        backward = training.make_backward(fabric, *prepared, config)
        while True:
            examples = training.examples_of(batch.to(fabric.device), config)
            yield float(training.training_step(*prepared, examples, backward=backward)), network

    expected, _ = next(learn(dataclasses.replace(config, accelerator="cpu", precision="32-true")))
    before = {name: weight.clone() for name, weight in initial.named_parameters()}
    steps = learn(config)
    loss, network = next(steps)
    # The loss scaling of float16 starts high, and leaves a step out for every time that it has to come down.
    for _ in range(20):
        changed = [not torch.equal(before[name], weight.cpu()) for name, weight in network.named_parameters()]
        if any(changed):
            break
        next(steps)
    assert sum(changed) > len(changed) / 2
    assert {sounds.dtype for sounds in seen} == {torch.float32} and seen[-1].device.type == device.type
    far = abs(loss - expected) / expected
    record_property(f"loss of {model} in {precision} differs from the CPU's in 32-true by", f"{far:.1e} of it")
    assert np.isfinite(loss) and far < TOLERANCES[precision]


@pytest.mark.parametrize("model", ["cnn10", "crnn"])
def test_training_lowers_the_loss(tmp_path, quick, record_property, model):
    recipe = Recipe(joint="slots", slot_seconds=0.5)
    config = quick(
        model=model, recipe=recipe, schedule="constant", epochs=4, workers=None
    )  # with the workers that a user gets
    state = training.train(config, tmp_path, progress=False)
    first, final = (state.history[i]["train_loss"] for i in (0, -1))
    record_property("precision auto is", training.precision_of(config))
    record_property(f"{model}: training loss of the first and the last of 4 epochs", f"{first:.3f}, {final:.3f}")
    assert final < 0.9 * first


@pytest.mark.parametrize("model", ["cnn10", "crnn"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path, quick, repeatable, record_property, model):
    """To the bit, if two whole runs are equal to the bit; else it differs from a whole run as whole runs do."""
    config = quick(model=model, epochs=3)
    data = run_data.prepare(config, progress=False)
    for name in ("whole", "again"):
        training.train(config, tmp_path / name, data, progress=False)
    training.train(config, tmp_path / "parts", data, progress=False, on_epoch=lambda state: state.epoch == 1)
    assert last(tmp_path / "parts")["state"]["epoch"] == 1
    training.train(config, tmp_path / "parts", data, progress=False)
    whole, again, parts = (last(tmp_path / name) for name in ("whole", "again", "parts"))
    assert parts["state"]["epoch"] == 3 and parts["scheduler"] == whole["scheduler"]
    noise, far = (difference(whole["network"], other["network"]) for other in (again, parts))
    record_property(f"{model}: two whole runs differ by", f"{noise:.1e} of the largest weight")
    record_property(f"{model}: a resumed run differs from a whole one by", f"{far:.1e} of the largest weight")
    assert far <= 10 * noise


@pytest.mark.parametrize("model", ["cnn10", "crnn"])
def test_scores_are_those_of_the_cpu(tmp_path, device, quick, monkeypatch, record_property, model):
    config = quick(model=model, precision="32-true", epochs=2)
    data = run_data.prepare(config, progress=False)
    training.train(config, tmp_path / "run", data, progress=False)
    assert training.device_of(config).type == device.type
    clock = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    sound = 0.3 * np.sin(2 * np.pi * 600 * clock) * (clock > 2)
    soundfile.write(tmp_path / "tone.wav", sound.astype(np.float32), SAMPLE_RATE)

    def scores() -> tuple[np.ndarray, pd.DataFrame]:
        evaluation = inference.evaluate(tmp_path / "run", progress=False)
        return evaluation.scores.label_scores, inference.predict(tmp_path / "run", tmp_path / "tone.wav").timeline

    found = scores()
    monkeypatch.setattr(training.devices, "device_of", lambda config: torch.device("cpu"))
    expected = scores()
    assert len(found[0]) == len(data.test) and len(found[1]) == 9  # windows of 1 s, every half second
    for name, one, other in zip(("evaluate", "predict"), found, expected, strict=True):
        far = float(np.abs(np.asarray(one) - np.asarray(other)).max())
        record_property(f"{name}, {model}: probabilities differ from the CPU's by at most", f"{far:.1e}")
        assert far < 5e-3


def test_lengths_stay_on_the_cpu_beside_a_batch(device, quick):
    config = quick()
    data = run_data.prepare(config, progress=False)
    batch = first_batch(config, data).to(device)
    assert {part.device.type for part in (batch.audio, batch.multi_hot, batch.combination)} == {device.type}
    assert batch.lengths.device.type == "cpu"


@pytest.mark.parametrize("options", [{}, {"norm": "whiten", "time_pooling": "fine", "readout": "attention"}])
def test_the_crnn_does_not_wait_for_the_gpu(gpu, options):
    """Neither in training, with a stretch, nor in evaluation mode."""
    network = models.crnn(10, **options).to(gpu)
    network.spectrogram.probability = 1.0
    sounds, lengths = torch.randn(2, 100_000, device=gpu), torch.tensor([100_000, 70_000])
    for is_training in (True, False):
        network.train(is_training)
        network(sounds, lengths)  # what is set up at first use may wait
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            network(sounds, lengths)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_float16_goes_on_with_its_loss_scale(tmp_path, quick, record_property):
    """With a scale under which every gradient overflows, a step is left out, and the scale is halved."""
    config = quick(precision="16-mixed", epochs=3)
    data = run_data.prepare(config, progress=False)
    training.train(config, tmp_path, data, progress=False, on_epoch=lambda state: state.epoch == 1)
    stopped = last(tmp_path)
    record_property("scale of the loss in float16 after an epoch", f"{stopped['precision']['scale']:g}")
    assert stopped["precision"]["scale"] > 1
    stopped["precision"]["scale"] = 2.0**60
    torch.save(stopped, tmp_path / "last.pt")
    training.train(config, tmp_path, data, progress=False)
    resumed = last(tmp_path)
    steps = 2 * len(run_data.loader(config, data.train, data.taxonomy, shuffle_seed=0))
    assert resumed["precision"]["scale"] == 2.0 ** (60 - steps)
    weights = {name for name, _ in models.build(config, data.taxonomy).named_parameters()}
    assert all(torch.equal(stopped["network"][name], resumed["network"][name]) for name in weights)


def test_a_full_gpu_says_so_and_can_be_used_again(gpu, tmp_path, quick, tones, record_property):
    """Out of memory for real: of the GPU's memory, this process may use 64 MB more than it holds."""
    config = quick(width=64, n_mels=64, hop_length=256, batch_size=64)
    data = run_data.prepare(config, progress=False)
    command = ["train", "--data", tones, "--out", tmp_path / "told", "--width", 64, "--batch-size", 64]
    command += ["--test-folds", 3, "--slot-seconds", 0.5, "--epochs", 1, "--accelerator", "cuda"]
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64e6) / total)
    started = time.perf_counter()
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            training.train(config, tmp_path / "full", data, progress=False)
        result = CliRunner().invoke(cli.app, list(map(str, command)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    record_property("out of memory, twice", f"{time.perf_counter() - started:.1f} s")
    assert result.exit_code == 2 and "the GPU's memory is full" in result.output and "Traceback" not in result.output
    state = training.train(quick(), tmp_path / "small", progress=False)
    assert state.epoch == 1 and np.isfinite(state.history[0]["train_loss"])


def test_throughput(device, quick, record_property):
    """The bare step, at the precision `auto`: nothing is asserted, only recorded."""
    config = quick(width=16, n_mels=64, hop_length=512, batch_size=32)
    data = run_data.prepare(config, progress=False)
    fabric, network = training.make_fabric(config, 1), models.build(config, data.taxonomy)
    prepared = fabric.setup(network, training.make_optimizer(config, network))
    sounds = torch.randn(32, 8 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((32,), 8 * SAMPLE_RATE)
    batch = Batch(sounds, lengths, torch.zeros(32, 10)).to(device)
    examples, backward = training.examples_of(batch, config), training.make_backward(fabric, *prepared, config)
    warm_up, steps = (5, 50) if device.type == "cuda" else (1, 1)
    for step in range(warm_up + steps):
        if step == warm_up:
            started = time.perf_counter()
        loss = training.training_step(*prepared, examples, backward=backward)
        if step + 1 in (warm_up, warm_up + steps):
            float(loss)  # waits for the device
    rate = 32 * steps / (time.perf_counter() - started)
    name = f"training step of CNN10, width 16, batches of 32 mixtures of 8 s, {training.precision_of(config)}"
    record_property(name, f"{rate:,.0f} mixtures/s")
