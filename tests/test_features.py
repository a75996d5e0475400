import warnings

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from course_utils import audio, features


@pytest.fixture(scope="module")
def clips(originals):
    return [torch.from_numpy(audio.read(path)) for path in originals]


def close(a, b, relative=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= relative * np.abs(b).max()


SHAPES = [(1024, 512), (1024, 256), (2048, 1024), (512, 100)]


@pytest.mark.parametrize(("n_fft", "hop_length"), SHAPES)
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
def test_stft_equals_torch_and_librosa_on_real_clips(clips, n_fft, hop_length, pad_mode):
    window = torch.hann_window(n_fft)
    for clip in clips:
        ours = features.stft(clip, n_fft, hop_length, pad_mode=pad_mode)
        close(ours, torch.stft(clip, n_fft, hop_length, window=window, pad_mode=pad_mode, return_complex=True))
        close(ours, librosa.stft(clip.numpy(), n_fft=n_fft, hop_length=hop_length, pad_mode=pad_mode))


@pytest.mark.parametrize(("n_fft", "hop_length"), SHAPES)
def test_power_equals_torchaudio(clips, n_fft, hop_length):
    torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)
    reference = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=2.0, pad_mode="reflect")
    for clip in clips:
        close(features.power_spectrogram(clip, n_fft, hop_length), reference(clip))


@pytest.mark.parametrize(("n_fft", "hop_length"), SHAPES)
def test_istft_equals_torch_and_gives_real_clips_back(clips, n_fft, hop_length):
    window = torch.hann_window(n_fft)
    for clip in clips:
        spectrum = features.stft(clip, n_fft, hop_length)
        ours = features.istft(spectrum, hop_length, length=len(clip))
        close(ours, clip, 1e-4)
        close(ours, torch.istft(spectrum, n_fft, hop_length, window=window, length=len(clip)), 1e-4)
        assert len(features.istft(spectrum, hop_length)) == (spectrum.shape[-1] - 1) * hop_length


@pytest.mark.parametrize(("n_fft", "hop_length"), [*SHAPES, (513, 128)])
@pytest.mark.parametrize("make_window", [torch.hann_window, torch.hamming_window])
def test_istft_equals_torch_and_gives_noise_back(n_fft, hop_length, make_window):
    noise = torch.randn(2, 3, 7001, generator=torch.Generator().manual_seed(0), requires_grad=True)
    window = make_window(n_fft)
    spectrum = features.stft(noise, n_fft, hop_length, window=window)
    ours = features.istft(spectrum, hop_length, window=window, length=7001)
    close(ours.detach(), noise.detach(), 1e-4)
    ours.sum().backward()
    assert torch.isfinite(noise.grad).all()
    one = spectrum[1, 2].detach()
    close(ours[1, 2].detach(), torch.istft(one, n_fft, hop_length, window=window, length=7001), 1e-4)


def test_istft_of_a_changed_stft_is_the_nearest_waveform():
    """The least-squares solution: no other waveform has an STFT that is nearer, over all bins of all frames."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 4096, dtype=torch.float64, generator=generator)
    magnitude = features.stft(noise, 256, 64).abs()
    changed = torch.polar(magnitude, torch.rand(magnitude.shape, dtype=torch.float64, generator=generator))
    ours = features.istft(changed, 64)
    close(ours[1], torch.istft(changed[1], 256, 64, window=torch.hann_window(256, dtype=torch.float64)))

    def distance(waveform):  # over the frames that need no padding; all bins but the first and last stand for two
        inner = features.stft(waveform, 256, 64, center=False) - changed[..., 2 : 2 + (4096 - 256) // 64 + 1]
        squares = inner.abs().square()
        return 2 * squares.sum() - squares[:, 0].sum() - squares[:, -1].sum()

    middle = torch.zeros_like(ours)
    middle[:, 1000:3000] = 1.0
    for _ in range(20):
        step = 1e-3 * middle * torch.randn(ours.shape, dtype=torch.float64, generator=generator)
        assert distance(ours) < distance(ours + step)


def test_istft_refuses_what_it_cannot_invert():
    noise = torch.randn(4096)
    with pytest.raises(ValueError, match="smaller hop_length"):
        features.istft(features.stft(noise, 256, 256), 256)
    spectrum = features.stft(noise, 256, 64)
    assert len(features.istft(spectrum, 64, length=4222)) == 4222  # almost to the end of the last window
    with pytest.raises(ValueError) as caught:
        features.istft(spectrum, 64, length=4224)
    assert str(caught.value) == (
        "the windows cover 4,222 samples without a gap, not 4,224: "
        "ask for a smaller length, or take the STFT with a smaller hop_length"
    )
    with pytest.raises(ValueError, match="belongs to 129 bins"):
        features.istft(features.stft(noise, 512, 64), 64, window=torch.hann_window(256))
    for wrong in ({"hop_length": 0}, {"length": -5}):
        with pytest.raises(ValueError, match="at least"):
            features.istft(spectrum, **wrong)


def test_without_padding_the_first_frame_starts_at_zero():
    clip = torch.randn(5000)
    close(
        features.stft(clip, 1024, 512, center=False),
        torch.stft(clip, 1024, 512, window=torch.hann_window(1024), center=False, return_complex=True),
    )


@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(("n_fft", "n_mels", "fmin"), [(1024, 64, 50.0), (2048, 128, 0.0)])
def test_filterbank_equals_librosa_and_torchaudio(mel_scale, norm, n_fft, n_mels, fmin):
    torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)
    ours = features.mel_filterbank(22_050, n_fft, n_mels, fmin=fmin, fmax=11_025.0, mel_scale=mel_scale, norm=norm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = librosa.filters.mel(
            sr=22_050,
            n_fft=n_fft,
            n_mels=n_mels,
            fmin=fmin,
            fmax=11_025.0,
            htk=mel_scale == "htk",
            norm=norm,
            dtype=np.float64,
        )
    close(ours, theirs, 1e-6)
    bins = n_fft // 2 + 1
    torchs = torchaudio.functional.melscale_fbanks(bins, fmin, 11_025.0, n_mels, 22_050, norm, mel_scale).T
    close(ours, torchs, 2e-4)  # in 32 bits, where the edges of narrow filters are off by more than their last digit


@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
def test_mel_scales_equal_librosa_and_invert(mel_scale):
    hz = np.linspace(0, 11_025, 500)
    mel = features.hz_to_mel(torch.from_numpy(hz), mel_scale)
    assert np.allclose(mel, librosa.hz_to_mel(hz, htk=mel_scale == "htk"), rtol=1e-12)
    assert np.allclose(features.mel_to_hz(mel, mel_scale), hz, atol=1e-8)


def test_known_mels():
    assert float(features.hz_to_mel(1000.0, "slaney")) == pytest.approx(15.0)
    assert float(features.hz_to_mel(1000.0, "htk")) == pytest.approx(999.986, abs=1e-3)


def test_log_mel_equals_librosa_and_torchaudio_within_a_hundredth_of_a_decibel(clips):
    torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)
    log_mel = features.LogMel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = torchaudio.transforms.MelSpectrogram(
            22_050, 1024, hop_length=512, f_min=50.0, f_max=11_025.0, n_mels=64, norm="slaney", mel_scale="slaney"
        )
    for clip in clips:
        ours = log_mel(clip).numpy()
        mel = librosa.feature.melspectrogram(
            y=clip.numpy(),
            sr=22_050,
            n_fft=1024,
            hop_length=512,
            n_mels=64,
            fmin=50.0,
            fmax=11_025.0,
            pad_mode="reflect",
        )
        theirs = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None)
        loud = theirs > theirs.max() - 80
        assert np.abs(ours - theirs)[loud].max() < 0.01
        torchs = 10 * np.log10(np.maximum(reference(clip).numpy(), 1e-10))
        assert np.abs(ours - torchs)[loud].max() < 0.01


def test_top_db_equals_librosa():
    power = torch.rand(64, 30) * torch.logspace(-8, 2, 30)
    theirs = librosa.power_to_db(power.numpy(), ref=1.0, amin=1e-10, top_db=80.0)
    assert np.abs(features.power_to_db(power, top_db=80.0).numpy() - theirs).max() < 1e-4


def test_a_batch_is_its_rows_and_keeps_leading_axes():
    waveforms = torch.randn(2, 3, 6000)
    log_mel = features.LogMel()
    together = log_mel(waveforms)
    assert together.shape == (2, 3, 64, 12)
    assert torch.allclose(together[1, 2], log_mel(waveforms[1, 2]), atol=1e-3)


def test_gradients_flow_to_the_waveform():
    waveform = torch.randn(2, 4000, dtype=torch.float64, requires_grad=True)
    window = torch.hann_window(64, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: features.stft(x, 64, 32, window=window).abs(), waveform[:, :200].detach().requires_grad_()
    )
    features.LogMel()(waveform.float()).sum().backward()
    assert torch.isfinite(waveform.grad).all() and (waveform.grad != 0).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_gpu_gives_what_the_cpu_gives():
    waveform, log_mel = torch.randn(2, 22_050), features.LogMel()
    assert (log_mel.cuda()(waveform.cuda()).cpu() - features.LogMel()(waveform)).abs().max() < 0.01


def test_a_tone_lands_in_its_bin():
    time = torch.arange(22_050) / 22_050
    power = features.power_spectrogram(torch.sin(2 * torch.pi * 1000.0 * time), 1024, 512)
    assert int(power[:, 20].argmax()) == round(1000 / 22_050 * 1024)


def test_silence_is_the_floor():
    assert torch.equal(features.LogMel()(torch.zeros(4000)), torch.full((64, 8), -100.0))


def test_short_clips_are_filled_up_or_refused():
    assert features.LogMel()(torch.randn(10)).shape == (64, 3)
    with pytest.raises(ValueError, match="too few"):
        features.stft(torch.randn(100), 1024)
    with pytest.raises(ValueError, match="shorter than one frame"):
        features.frame(torch.randn(100), 128, 64)


def test_empty_filters_are_announced():
    with pytest.warns(UserWarning) as caught:
        weights = features.mel_filterbank(22_050, 256, 128, fmin=0.0)
    empty = int((weights == 0).all(dim=1).sum())
    assert empty > 0 and f"{empty} of 128 mel filters hold no frequency bin" in str(caught[0].message)


@pytest.mark.parametrize("edges", [(-1.0, None), (50.0, 20.0), (50.0, 20_000.0)])
def test_impossible_edges_are_refused(edges):
    with pytest.raises(ValueError, match="fmin"):
        features.mel_filterbank(22_050, 1024, 64, fmin=edges[0], fmax=edges[1])


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_signal_to_noise_ratio_asked_for(snr):
    mel = torch.rand(3, 64, 100) * torch.tensor([1e-4, 1.0, 50.0])[:, None, None]
    noisy = features.add_noise(mel, snr, torch.Generator().manual_seed(0))
    found = 10 * torch.log10(mel.sum((1, 2)) / (noisy - mel).sum((1, 2)))
    assert (found - snr).abs().max() < 0.1
    assert (noisy >= mel).all()
    assert torch.equal(noisy, features.add_noise(mel, snr, torch.Generator().manual_seed(0)))


def test_noise_on_the_mel_is_what_white_noise_in_the_waveform_gives():
    """Per band, the mean power of white noise is the same, as the filters have equal areas."""
    mel = features.MelSpectrogram()(torch.randn(22_050 * 60, generator=torch.Generator().manual_seed(0)))
    per_band = mel[5:-2].mean(dim=1)
    assert float(per_band.std() / per_band.mean()) < 0.1


def test_spec_augment_masks_only_while_training():
    log_mel = torch.randn(4, 64, 345)
    augment = features.SpecAugment()
    assert torch.equal(augment.eval()(log_mel), log_mel)
    assert (augment.time, augment.band) == ((2, 64), (2, 8))
    torch.manual_seed(0)
    masked = augment.train()(log_mel)
    changed = masked != log_mel
    frames, bands = changed.all(dim=1), changed.all(dim=2)
    assert torch.equal(changed, frames[:, None] | bands[:, :, None])  # whole frames and whole bands, and nothing else
    assert (frames.any(dim=1) & bands.any(dim=1)).all()
    assert (frames.sum(dim=1) <= 2 * 65).all() and (bands.sum(dim=1) <= 2 * 9).all()
    assert not torch.equal(changed[0], changed[1])
    mean = log_mel.mean(dim=(1, 2), keepdim=True).expand_as(log_mel)
    assert torch.allclose(masked[changed], mean[changed])


@pytest.mark.parametrize(
    ("stripes", "frames", "bands"),
    [
        ((1, 4, 0, 8), [4, 5], []),  # half of 4 is 2 wide, and begins at half of 10 − 2
        ((0, 4, 1, 8), [], [8, 9, 10, 11]),  # half of 8, at half of 20 − 4
        ((1, 64, 0, 0), [3, 4, 5, 6, 7], []),  # at most as wide as there are frames: half of 10, from 2.5
        ((1, 4, 1, 8), [4, 5], [8, 9, 10, 11]),
    ],
)
def test_stripes_by_hand(monkeypatch, stripes, frames, bands):
    """Of ten frames and twenty bands, with one half for every random number."""
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, 0.5, device=device))
    log_mel = torch.randn(2, 20, 10)
    expected = torch.zeros(20, 10, dtype=torch.bool)
    expected[:, frames], expected[bands] = True, True
    changed = features.SpecAugment(*stripes)(log_mel) != log_mel
    assert torch.equal(changed[0], expected) and torch.equal(changed[1], expected)


# --- values that can be worked out by hand ----------------------------------------------------------------------------


def test_frames_by_hand():
    waveform = torch.arange(14.0).reshape(2, 7)
    assert features.frame(waveform, 3, 2)[1].tolist() == [[7, 8, 9], [9, 10, 11], [11, 12, 13]]
    assert features.frame(waveform, 7, 1).shape == (2, 1, 7)
    assert features.frame(waveform, 3, 5)[0].tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"^hop_length must be at least 1, not 0$"):
        features.frame(waveform, 3, 0)
    with pytest.raises(ValueError, match=r"^a waveform of 7 samples is shorter than one frame of 8$"):
        features.frame(waveform, 8, 1)


def test_half_a_frame_and_one_sample_can_be_reflected():
    assert features.stft(torch.ones(33), 64, 16).shape == (33, 3)
    with pytest.raises(
        ValueError, match=r"^32 samples are too few to reflect half a frame of 64; use more, or pad_mode"
    ):
        features.stft(torch.ones(32), 64, 16)
    assert features.stft(torch.ones(32), 64, 16, pad_mode="constant").shape == (33, 3)


def test_a_constant_and_an_alternating_signal_by_hand():
    """A rectangular window of four: all in bin 0, or all in bin 2."""
    window = torch.ones(4)
    steady = features.stft(torch.ones(8), 4, 2, window=window)
    assert steady.shape == (3, 5) and torch.allclose(steady.abs(), torch.tensor([4.0, 0, 0])[:, None].expand(3, 5))
    jumping = features.stft(torch.tensor([1.0, -1] * 4), 4, 4, window=window, center=False)
    assert torch.allclose(jumping.abs(), torch.tensor([0.0, 0, 4])[:, None].expand(3, 2), atol=1e-6)


def test_istft_by_itself_takes_the_course_hop_and_a_hann_window_as_precise_as_the_spectrum():
    noise = torch.randn(6144, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    back = features.istft(features.stft(noise))
    assert back.dtype == torch.float64 and back.shape == noise.shape and (back - noise).abs().max() < 1e-12


@pytest.mark.parametrize(("hop_length", "length"), [(1, None), (2, 0), (2, 1)])
def test_the_smallest_hop_and_length(hop_length, length):
    noise = torch.randn(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    back = features.istft(features.stft(noise, 16, hop_length), hop_length, length=length)
    assert torch.allclose(back, noise if length is None else noise[:length], atol=1e-12)


@pytest.mark.parametrize("level", [1e-3, 1e3])
def test_the_level_of_the_window_does_not_matter_on_the_way_back(level):
    noise = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window = level * torch.hann_window(64, dtype=torch.float64)
    back = features.istft(features.stft(noise, 64, 16, window=window), 16, window, length=1000)
    assert torch.allclose(back, noise, atol=1e-10)


def test_everything_stays_on_the_device_of_the_sound():
    sound = torch.empty(2, 6000, device="meta")
    assert features.stft(sound).device.type == features.power_spectrogram(sound, 256, 64).device.type == "meta"
    assert features.SpecAugment()(torch.empty(2, 64, 100, device="meta")).device.type == "meta"
    assert features.add_noise(torch.empty(64, 100, device="meta"), 3.0).device.type == "meta"


def test_defaults_are_those_of_the_course():
    noise = torch.randn(6000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        features.stft(noise),
        features.stft(noise, 1024, 512, window=torch.hann_window(1024), center=True, pad_mode="reflect"),
    )
    power = features.power_spectrogram(noise)
    assert torch.equal(power, features.power_spectrogram(noise, 1024, 512, center=True, pad_mode="reflect"))
    assert torch.allclose(power, features.stft(noise).abs().square())
    bank = features.mel_filterbank()
    assert torch.equal(
        bank, features.mel_filterbank(22_050, 1024, 64, fmin=50.0, fmax=11_025.0, mel_scale="slaney", norm="slaney")
    )
    mel = features.MelSpectrogram()
    assert (mel.n_fft, mel.hop_length) == (1024, 512) and torch.equal(mel.filterbank, bank)
    assert torch.allclose(mel(noise), bank @ power, rtol=1e-4)
    other = features.MelSpectrogram(16_000, 512, 200, 20, fmin=100.0, fmax=7_000.0)
    assert torch.equal(other.filterbank, features.mel_filterbank(16_000, 512, 20, fmin=100.0, fmax=7_000.0))
    assert torch.allclose(other(noise), other.filterbank @ features.power_spectrogram(noise, 512, 200), rtol=1e-4)
    assert features.hz_to_mel(2000.0) == features.hz_to_mel(2000.0, "slaney")
    assert features.mel_to_hz(20.0) == features.mel_to_hz(20.0, "slaney")


def test_padding_of_the_power_is_passed_on():
    noise = torch.randn(900, generator=torch.Generator().manual_seed(0))
    for options in ({"center": False}, {"pad_mode": "constant"}):
        expected = features.stft(noise, 256, 64, **options).abs().square()
        assert torch.allclose(features.power_spectrogram(noise, 256, 64, **options), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("hz", "mel_scale", "mel"),
    [
        (0.0, "slaney", 0.0),
        (500.0, "slaney", 7.5),  # 200 / 3 Hz each
        (1000.0, "slaney", 15.0),
        (6400.0, "slaney", 42.0),  # 27 more for a factor of 6.4
        (0.0, "htk", 0.0),
        (700.0, "htk", 781.173),  # 2595 log10(2)
        (6300.0, "htk", 2595.0),
    ],
)
def test_mels_by_hand(hz, mel_scale, mel):
    assert float(features.hz_to_mel(hz, mel_scale)) == pytest.approx(mel, abs=1e-3)
    assert float(features.mel_to_hz(mel, mel_scale)) == pytest.approx(hz, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("convert", [features.hz_to_mel, features.mel_to_hz])
def test_an_unknown_mel_scale_is_refused(convert):
    with pytest.raises(ValueError, match=r"^mel_scale is 'slaney' or 'htk', not 'bark'$"):
        convert(1000.0, "bark")


def test_a_filterbank_by_hand():
    """Two triangles below 1 kHz, where the scale is linear: edges at 0, 2, 4 and 6 Hz, bins every 1 Hz."""
    peaks = features.mel_filterbank(12, 12, 2, fmin=0.0, fmax=6.0, norm=None)
    assert torch.allclose(peaks, torch.tensor([[0, 0.5, 1, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 1, 0.5, 0]]), atol=1e-6)
    assert torch.allclose(features.mel_filterbank(12, 12, 2, fmin=0.0, fmax=6.0), peaks / 2, atol=1e-6)  # 2 / (4 − 0)
    assert peaks.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmin": 100.0, "fmax": 100.0}, r"^need 0 <= fmin < fmax <= 11025\.0 Hz; got fmin 100\.0, fmax 100\.0$"),
        ({"fmax": 11_025.1}, "fmax 11025.1"),
        ({"n_fft": 0}, "^n_fft and n_mels must be at least 1, not 0 and 64$"),
        ({"n_mels": 0}, "^n_fft and n_mels must be at least 1, not 1024 and 0$"),
        ({"norm": "peak"}, "^norm is 'slaney' or None, not 'peak'$"),
    ],
    ids=str,
)
def test_impossible_filterbanks_say_why(options, message):
    with pytest.raises(ValueError, match=message):
        features.mel_filterbank(**options)


def test_decibels_by_hand():
    power = torch.tensor([1.0, 10.0, 1e-3, 1e-11, 0.0])
    assert features.power_to_db(power).tolist() == pytest.approx([0, 10, -30, -100, -100], abs=1e-4)
    assert features.power_to_db(power, floor=1e-2).tolist() == pytest.approx([0, 10, -20, -20, -20], abs=1e-4)
    assert features.power_to_db(power, top_db=25.0).tolist() == pytest.approx([0, 10, -15, -15, -15], abs=1e-4)


def test_a_sound_shorter_than_a_frame_has_zeros_behind():
    mel = features.MelSpectrogram(n_fft=256, hop_length=64, n_mels=8)
    sound = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mel(sound), mel(torch.nn.functional.pad(sound, (0, 156))))
    assert mel(sound).shape == (2, 8, 5)
    with pytest.raises(ValueError, match=r"^hop_length must be at least 1, not 0$"):
        features.MelSpectrogram(hop_length=0)
    assert features.MelSpectrogram(n_fft=256, hop_length=1, n_mels=8)(sound).shape == (2, 8, 257)


def test_the_front_end_adds_noise_only_while_training():
    sound = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    plain, noisy = features.LogMel().eval(), features.LogMel(noise_snr=0.0).eval()
    assert torch.equal(noisy(sound), plain(sound))
    energies = [10 ** (front.train()(sound).double() / 10) for front in (plain, noisy)]
    assert (energies[1].sum(dim=(1, 2)) / energies[0].sum(dim=(1, 2))).tolist() == pytest.approx([2, 2], rel=1e-4)


@pytest.mark.parametrize("snr", [float("inf"), float("nan")])
def test_noise_without_a_level_is_refused(snr):
    with pytest.raises(ValueError, match=f"^snr must be a number, not {snr}$"):
        features.add_noise(torch.ones(2, 2), snr)


def test_pcen_equals_librosa(clips):
    ours = features.PCEN(n_mels=40)
    for clip in clips:
        energy = ours.mel(torch.as_tensor(clip)[None])[0].double().numpy()
        begins = scipy.signal.lfilter_zi([ours.share], [1, ours.share - 1])[None] * energy[:, :1]  # at the first frame
        theirs = librosa.pcen(energy, sr=22_050, hop_length=512, zi=begins)
        assert np.abs(ours(torch.as_tensor(clip)[None])[0].numpy() - theirs).max() < 1e-4


def test_pcen_lets_a_steady_sound_fade_and_a_new_one_stand_out():
    pcen = features.PCEN(n_mels=8)
    pcen.mel = torch.nn.Identity()
    energy = torch.full((1, 8, 200), 100.0)
    energy[:, 3, 150:] = 1e4
    out = pcen(energy)[0]
    assert torch.allclose(out[0, 1:150], out[0, 1], atol=1e-3) and out[3, 150] > 5 * out[0, 150]
    assert out[3, 199] < out[3, 150] / 2


@pytest.mark.parametrize(
    "wrong", [{"floor": 0.0}, {"floor": -1.0}, {"floor": float("nan")}, {"top_db": -5.0}, {"top_db": float("nan")}]
)
def test_decibels_without_a_bottom_are_refused(wrong):
    with pytest.raises(ValueError, match="floor must be above 0, and top_db 0 or more"):
        features.power_to_db(torch.ones(2), **wrong)


def test_stripes_of_negative_width_are_refused():
    for name in ("time_stripes", "time_width", "band_stripes", "band_width"):
        with pytest.raises(ValueError, match="0 or more"):
            features.SpecAugment(**{name: -1})
