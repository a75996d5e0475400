import pytest
import torch
from torch import nn

from course_utils import features, models
from course_utils.configuration import Config, ConfigurationError
from course_utils.models.crnn import CRNN, MelspectrogramStretch, _whiten
from course_utils.taxonomy import Taxonomy


def built(model, outputs=10, **options):
    """A network with so many classes."""
    return models.build(Config(data="", model=model, **options), Taxonomy(tuple(map(str, range(outputs)))))


@pytest.mark.parametrize(
    ("name", "outputs", "parameters"),
    [
        ("cnn10", 10, 4_954_058),
        ("cnn10", 55, 4_977_143),
        ("cnn10", 527, 5_219_279),
        ("crnn", 10, 256_266),
        ("crnn", 55, 262_071),
    ],
)
def test_parameter_counts(name, outputs, parameters):
    assert models.count_parameters(built(name, outputs)) == parameters


@pytest.mark.parametrize("name", ["cnn10", "crnn"])
@pytest.mark.parametrize("outputs", [10, 55])
def test_logits_have_one_row_a_clip(name, outputs):
    network = built(name, outputs, width=4).eval()
    waveforms, lengths = torch.randn(3, 66_150), torch.tensor([66_150, 40_000, 30_000])
    assert network(waveforms, lengths).shape == (3, outputs)


@pytest.mark.parametrize(("name", "time_pooling"), [("cnn10", "report"), ("crnn", "report"), ("crnn", "fine")])
@pytest.mark.parametrize("samples", [1, 300, 1_201, 22_050])
@pytest.mark.parametrize("training", [False, True])
def test_very_short_clips_are_filled_up(name, samples, training, time_pooling):
    torch.manual_seed(0)
    network = built(name, 10, width=4, time_pooling=time_pooling).train(training)
    for _ in range(5):  # with and without a stretch
        logits = network(torch.randn(2, samples), torch.tensor([samples, max(1, samples // 2)]))
        assert logits.shape == (2, 10) and torch.isfinite(logits).all()


@pytest.mark.parametrize("norm", ["db", "whiten"])
def test_silence_gives_numbers(norm):
    assert torch.isfinite(
        built("crnn", 10, norm=norm).eval()(torch.zeros(2, 88_200), torch.tensor([88_200, 500]))
    ).all()
    assert torch.isfinite(built("cnn10", 10, width=4).eval()(torch.zeros(2, 88_200), torch.tensor([88_200] * 2))).all()


def test_unknown_network_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="only cnn10, crnn; import the module that registers it"):
        built("transformer")


# --- CNN10 ------------------------------------------------------------------------------------------------------------


def test_cnn10_shapes_block_by_block():
    network = models.cnn10(10, width=8).eval()
    x = torch.randn(2, 1, 64, 345)
    for block, (channels, bands, frames) in zip(
        network.blocks, [(8, 32, 172), (16, 16, 86), (32, 8, 43), (64, 4, 21)], strict=True
    ):
        x = block(x)
        assert x.shape == (2, channels, bands, frames)


def test_cnn10_is_built_as_in_the_paper():
    network = models.cnn10(10)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert all(c.bias is None and c.kernel_size == (3, 3) and c.padding == (1, 1) for c in convolutions)
    for layer in (*convolutions, network.fc1, network.fc2):  # Xavier: uniform within ± sqrt(6 / (in + out))
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert not network.fc1.bias.any() and (network.bn0.weight == 1).all() and network.bn0.num_features == 64


def test_cnn10_equals_its_definition():
    """The paper's forward pass, written out with functions on the same weights."""
    torch.manual_seed(0)
    network = models.cnn10(10, width=4).eval()
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    log_mel = torch.randn(2, 64, 100) * 10 - 40
    bn = network.bn0
    x = (log_mel - bn.running_mean[:, None]) / (bn.running_var[:, None] + bn.eps).sqrt()
    x = x[:, None]
    for block in network.blocks:
        for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
            x = nn.functional.conv2d(x, conv.weight, padding=1)
            x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
            x = x.clamp(min=0)
        x = nn.functional.avg_pool2d(x, 2)
    x = x.mean(dim=2)
    x = x.max(dim=2).values + x.mean(dim=2)
    x = (x @ network.fc1.weight.T + network.fc1.bias).clamp(min=0)
    expected = x @ network.fc2.weight.T + network.fc2.bias
    assert (network(log_mel) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("training", [True, False])
def test_cnn10_drops_a_fifth_behind_each_block_and_half_before_the_end(monkeypatch, training):
    asked = []

    def dropout(x, p, training):
        asked.append((x.dim(), p, training))
        return x

    monkeypatch.setattr(nn.functional, "dropout", dropout)
    models.cnn10(10, width=2).train(training)(torch.randn(2, 64, 32))
    assert asked == [(4, 0.2, training)] * 4 + [(2, 0.5, training)]


def test_cnn10_fills_up_to_sixteen_frames_with_silence():
    network = models.cnn10(10, width=2, n_mels=16).eval()
    short = torch.randn(2, 16, 15)
    filled = nn.functional.pad(short, (0, 1), value=-100.0)
    assert torch.equal(network(short), network(filled))
    longer = nn.functional.pad(filled, (0, 16), value=-100.0)  # two steps instead of one
    assert not torch.allclose(network(filled), network(longer))


def test_networks_are_built_as_asked():
    network = built("cnn10", 7, width=4, n_mels=32, hop_length=256, noise_snr=-3.0)
    assert network.network.fc2.out_features == 7 and network.network.fc1.in_features == 32
    assert network.network.bn0.num_features == 32 and len(network.log_mel.mel.filterbank) == 32
    assert network.log_mel.mel.hop_length == 256 and network.log_mel.noise_snr == -3.0
    assert isinstance(network.augment, features.SpecAugment)
    plain = built("cnn10", 7, spec_augment=False)
    assert isinstance(plain.augment, nn.Identity) and plain.log_mel.noise_snr is None
    assert plain.network.fc1.in_features == 512 and plain.network.bn0.num_features == 64
    crnn = built("crnn", 7, norm="whiten", time_pooling="fine", readout="mean")
    assert crnn.fc.out_features == 7 and crnn.spectrogram.norm == "whiten"
    assert (crnn.poolings, crnn.readout) == ((1, 2, 2), "mean")
    report = built("crnn", 7)
    assert (report.spectrogram.norm, report.poolings, report.readout) == ("db", (3, 4, 4), "last")


def test_only_trainable_parameters_count():
    layer = nn.Linear(3, 2)
    assert models.count_parameters(layer) == 8
    layer.bias.requires_grad_(False)
    assert models.count_parameters(layer) == 6


def test_cnn10_takes_waveforms_and_stored_log_mels_alike():
    network = built("cnn10", 10, width=4).eval()
    waveform = torch.randn(2, 44_100)
    lengths = torch.tensor([44_100] * 2)
    assert torch.allclose(network(waveform, lengths), network(features.LogMel()(waveform), lengths), atol=1e-5)


def test_dropout_noise_and_masks_work_only_in_training():
    network = built("cnn10", 10, width=4, noise_snr=0.0, spec_augment=True)
    waveform, lengths = torch.randn(4, 44_100), torch.tensor([44_100] * 4)
    assert not torch.equal(network(waveform, lengths), network(waveform, lengths))
    network.eval()
    assert torch.equal(network(waveform, lengths), network(waveform, lengths))


# --- CRNN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "steps"), [(4, 1), (8, 2)])
def test_the_lstm_sees_few_steps(seconds, steps):
    assert CRNN(10).steps(seconds * 22_050 // 1024 + 1) == steps


def test_the_lstm_sees_six_steps_of_eight_seconds_at_44_kilohertz():
    assert CRNN(10).steps(8 * 44_100 // 1024 + 1) == 6 and CRNN(10).steps(4 * 44_100 // 1024 + 1) == 2


def test_crnn_is_built_as_in_the_report():
    network = CRNN(10)
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ELU, nn.MaxPool2d, nn.Dropout]
    assert [[type(layer) for layer in block] for block in network.convolutions] == [kinds] * 3
    convolutions = [block[0] for block in network.convolutions]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 32), (32, 64), (64, 64)]
    assert {(c.kernel_size, c.padding, c.stride) for c in convolutions} == {((3, 3), (0, 0), (1, 1))}
    assert [block[3].kernel_size for block in network.convolutions] == [(3, 3), (4, 4), (4, 4)]
    assert [block[4].p for block in network.convolutions] == [0.1] * 3 and network.dropout.p == 0.3
    assert [block[3].kernel_size for block in CRNN(10, time_pooling="fine").convolutions] == [(3, 1), (4, 2), (4, 2)]
    lstm, front = network.lstm, network.spectrogram
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers) == (128, 64, 2)
    assert lstm.bidirectional and lstm.batch_first
    assert (front.n_fft, front.hop_length, front.probability, front.spread) == (2048, 1024, 0.4, 0.4)
    assert torch.equal(front.filterbank, features.mel_filterbank(22_050, 2048, 128, fmin=0.0))


@pytest.mark.parametrize(("time_pooling", "least"), [("report", 80), ("fine", 12)])
def test_steps_by_hand(time_pooling, least):
    """80 frames: 78 / 3 = 26, 24 / 4 = 6, 4 / 4 = 1. And 12: 10 / 1 = 10, 8 / 2 = 4, 2 / 2 = 1."""
    network = CRNN(10, time_pooling=time_pooling)
    assert network.least_frames() == least
    frames = torch.tensor([least - 1, least, 128, 173])
    assert network.steps(frames).tolist() == {"report": [0, 1, 2, 2], "fine": [0, 1, 30, 41]}[time_pooling]


@pytest.mark.parametrize("time_pooling", CRNN.time_poolings)
def test_least_frames_leave_one_step(time_pooling):
    network = CRNN(10, time_pooling=time_pooling)
    assert network.steps(network.least_frames()) == 1 and network.steps(network.least_frames() - 1) == 0


def test_fine_pooling_keeps_a_fifth_of_a_second():
    network = CRNN(10, time_pooling="fine")
    assert network.steps(8 * 22_050 // 1024 + 1) == 41
    hidden, steps = network.eval().hidden(torch.randn(2, 176_400), torch.tensor([176_400, 88_200]))
    assert hidden.shape == (2, 41, 128) and steps.tolist() == [41, network.steps(88_200 // 1024 + 1)]


@pytest.mark.parametrize("readout", CRNN.readouts)
def test_readouts_weigh_the_valid_steps_only(readout):
    torch.manual_seed(0)
    network = CRNN(10, readout=readout)
    weights = network.time_weights(torch.randn(3, 7, 128), torch.tensor([7, 3, 1]))
    assert torch.allclose(weights.sum(dim=1), torch.ones(3)) and (weights >= 0).all()
    assert not weights[1, 3:].any() and weights[2, 0] == 1
    expected = {"last": [0, 0, 1.0], "mean": [1 / 3] * 3}
    with torch.autocast("cpu", torch.bfloat16):
        half = network.time_weights(torch.randn(3, 7, 128).bfloat16(), torch.tensor([7, 3, 1]))
    assert torch.allclose(half.float().sum(dim=1), torch.ones(3), atol=1e-5)
    if readout in expected:
        assert torch.allclose(weights[1, :3], torch.tensor(expected[readout]))
    else:
        assert weights[1, :3].std() > 0


def test_the_last_step_is_what_the_report_reads():
    """The readout as a weighted sum equals picking the last valid step of the packed LSTM."""
    torch.manual_seed(0)
    network = CRNN(10).eval()
    waveform, lengths = torch.randn(2, 300_000), torch.tensor([300_000, 180_000])
    hidden, steps = network.hidden(waveform, lengths)
    last = torch.stack([row[n - 1] for row, n in zip(hidden, steps, strict=True)])
    assert torch.allclose(network(waveform, lengths), network.fc(network.bn(last)), atol=1e-6)


def test_the_repaired_network_has_as_many_parameters_and_attention_129_more():
    fine = built("crnn", 10, time_pooling="fine", readout="mean")
    assert models.count_parameters(fine) == 256_266
    assert models.count_parameters(built("crnn", 10, time_pooling="fine", readout="attention")) == 256_395


@pytest.mark.parametrize("options", [{"time_pooling": "none"}, {"readout": "first"}])
def test_unknown_options_name_the_known_ones(options):
    with pytest.raises(ValueError, match="report, fine, readout one of last, mean, attention"):
        models.crnn(10, **options)


@pytest.mark.parametrize("options", [{}, {"time_pooling": "fine", "readout": "attention"}])
@pytest.mark.parametrize("norm", ["db", "whiten"])
def test_what_is_filled_up_does_not_change_the_logits(norm, options):
    """A clip alone, and the same clip beside a longer one: only the valid steps count."""
    torch.manual_seed(0)
    network = built("crnn", 10, norm=norm, **options).eval()
    short, long = torch.randn(120_000), torch.randn(200_000)
    alone = network(short[None], torch.tensor([120_000]))
    batch = torch.stack([nn.functional.pad(short, (0, 80_000)), long])
    beside = network(batch, torch.tensor([120_000, 200_000]))
    # The frame at the end is reflected in one case and followed by zeros in the other: it lies beyond the last step.
    assert (alone[0] - beside[0]).abs().max() < 2e-2
    other = network(torch.stack([batch[0], torch.randn(200_000)]), torch.tensor([120_000, 200_000]))
    assert torch.allclose(beside[0], other[0], atol=1e-5)


def test_stretch_is_the_phase_vocoder_of_torchaudio(monkeypatch):
    torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)
    front = MelspectrogramStretch(probability=1.0).train()
    draws = iter([torch.tensor(0.0), torch.tensor(0.75)])  # stretch this batch, at rate 1 + 0.4 · 0.5
    monkeypatch.setattr(torch, "rand", lambda *_: next(draws))
    time = torch.arange(66_150) / 22_050
    waveform = torch.sin(2 * torch.pi * 880 * time)[None]
    mel, frames = front(waveform, torch.tensor([66_150]))
    transform = torchaudio.transforms.TimeStretch(1024, n_freq=1025, fixed_rate=1.2)
    expected = front.filterbank @ transform(features.stft(waveform, 2048, 1024)).abs().square()
    assert torch.allclose(mel, features.power_to_db(expected), atol=1e-2)
    assert int(frames) == mel.shape[-1] == 55  # 65 frames at 1.2 times the speed
    assert int(mel.mean(dim=2).argmax()) == int(
        (front.filterbank @ features.power_spectrogram(waveform, 2048, 1024)).mean(dim=2).argmax()
    )


@pytest.mark.parametrize(("draws", "frames"), [((0.39, 0.0), 74), ((0.39, 1.0), 32), ((0.41,), 44)])
def test_the_rate_of_a_stretch_goes_from_three_to_seven_fifths(monkeypatch, draws, frames):
    """44 frames at 0.6 times the speed are 73.3, at 1.4 times 31.4; above 0.4 nothing is stretched."""
    numbers = iter(map(torch.tensor, draws))
    monkeypatch.setattr(torch, "rand", lambda *_: next(numbers))
    mel, lengths = MelspectrogramStretch()(torch.randn(2, 44_100), torch.tensor([44_100, 22_050]))
    assert mel.shape == (2, 128, frames)
    assert lengths.tolist() == [frames, {74: 37, 32: 16, 44: 22}[frames]]  # half as long: 22 frames
    assert next(numbers, None) is None


def test_stretch_happens_in_training_only_and_in_four_of_ten_batches():
    torch.manual_seed(0)
    front = MelspectrogramStretch()
    waveform, lengths = torch.randn(1, 44_100), torch.tensor([44_100])
    sizes = [front(waveform, lengths)[0].shape[-1] for _ in range(300)]
    assert sum(size != 44 for size in sizes) / 300 == pytest.approx(0.4, abs=0.1)
    assert 44 / 1.4 - 1 <= min(sizes) < 36 and 56 < max(sizes) <= 44 / 0.6 + 1
    front.eval()
    assert {front(waveform, lengths)[0].shape[-1] for _ in range(50)} == {44}


def test_whiten_sets_mean_and_deviation_of_the_valid_part():
    front = MelspectrogramStretch(norm="whiten").eval()
    waveform = torch.randn(2, 44_100)
    waveform[1, 20_000:] = 0
    mel, frames = front(waveform, torch.tensor([44_100, 20_000]))
    valid = mel[1, :, : frames[1]]
    assert float(valid.mean()) == pytest.approx(0, abs=1e-4) and float(valid.std(correction=0)) == pytest.approx(
        1, abs=1e-3
    )
    assert not mel[1, :, frames[1] :].any()


def test_whiten_by_hand():
    """The valid part is 1, 3, 1, 3 in two bands: mean 2, standard deviation 1."""
    mel = torch.tensor([[[1.0, 3, 9], [3, 1, -9]], [[0.0, 4, 8], [0, 4, 8]]])
    valid = torch.tensor([[True, True, False], [True, True, True]])[:, None, :]
    white = _whiten(mel, valid)
    assert white[0].flatten().tolist() == pytest.approx([-1, 1, 0, 1, -1, 0], abs=1e-5)
    apart = 4 / (32 / 3) ** 0.5  # 0, 4, 8: mean 4, variance 32 / 3
    assert white[1].flatten().tolist() == pytest.approx([-apart, 0, apart] * 2, abs=1e-5)


def test_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="'db' or 'whiten'"):
        models.crnn(10, norm="log")


@pytest.mark.parametrize("lengths", [[100], [100, 100, 100], [[100, 100]]])
def test_the_crnn_needs_one_length_per_waveform(lengths):
    with pytest.raises(ValueError, match="there must be one each"):
        models.crnn(10).eval()(torch.zeros(2, 40_000), torch.tensor(lengths))
