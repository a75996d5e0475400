import dataclasses
import math

import numpy as np
import pytest

from course_utils.configuration import Config, ConfigurationError, Recipe, describe

NUMBERS = {  # field → values that are refused, values at the edge that are not
    "width": ((0, -1, 2.5, "16", True, None), (1,)),
    "n_fft": ((0, 1), (126,)),
    "hop_length": ((0, 2.0), (1,)),
    "n_mels": ((0, 514), (513,)),
    "epochs": ((0, 2.5), (1,)),
    "batch_size": ((1, 0, 8.0), (2,)),
    "devices": ((0, "2"), (1,)),
    "learning_rate": ((0, -1e-3, math.nan, math.inf, "high", None), (1e-9, 1)),
    "weight_decay": ((-1, math.nan, math.inf), (0, 0.0)),
    "beta1": ((-0.1, 1, 1.5, math.nan), (0, 0.999)),
    "clip_norm": ((-1, math.inf, math.nan), (0, None)),
    "valid_fraction": ((-0.1, 1, math.nan), (0, 0.99)),
    "train_share": ((0, 1.01, math.nan, math.inf), (0.01, 1)),
    "noise_snr": ((math.nan, math.inf, -math.inf, "5"), (-3.5, 20, None)),
    "patience": ((-1, 1.5), (0, 3)),
    "seed": ((-1, 2**32, 10**23, 0.5), (0, 2**32 - 1)),
    "workers": ((-1, 1.5), (0, None)),
}
OF_RECIPES = {
    "replicas": ((0, 1.5), (1,)),
    "slot_seconds": ((0, -1, math.nan, math.inf), (0.01, 4)),
    "snr_range": ((-1, math.nan, math.inf), (0,)),
    "max_onset": ((-1, math.nan, math.inf), (0,)),
    "shuffle": ((1, "yes", None), (False,)),
}


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [(Config, name, value) for name, (bad, _) in NUMBERS.items() for value in bad]
    + [(Recipe, name, value) for name, (bad, _) in OF_RECIPES.items() for value in bad],
)
def test_a_value_that_cannot_be_run_is_refused_with_its_name(owner, name, value):
    given = {"data": "x"} if owner is Config else {}
    with pytest.raises(ConfigurationError, match=name) as refused:
        owner(**given, **{name: value})
    assert str(value) in str(refused.value).replace(",", "")


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [(Config, name, value) for name, (_, good) in NUMBERS.items() for value in good]
    + [(Recipe, name, value) for name, (_, good) in OF_RECIPES.items() for value in good],
)
def test_values_at_the_edge_are_taken(owner, name, value):
    given = {"data": "x"} if owner is Config else {}
    assert getattr(owner(**given, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"precision": "64"}, "precision is one of auto, 32-true, bf16-mixed, 16-mixed, not '64'"),
        ({"accelerator": "quantum"}, "accelerator is one of auto, cpu, cuda, gpu, mps"),
        ({"test_folds": 3}, r"test_folds must be whole numbers in a tuple, such as \(1, 2\), not 3"),
        ({"test_folds": ("3",)}, "test_folds must be whole numbers"),
        ({"train_folds": (1.5,)}, "train_folds must be whole numbers"),
        ({"mixup": 1}, "mixup must be of type bool, not 1"),
        ({"recipe": {"joint": "slots"}}, "recipe must be of type Recipe"),
        ({"data": 3}, "data must be of type str"),
        ({"train_share": 0.5, "split": "random"}, "train_share takes whole recordings away"),
        ({"split": "random", "fresh_pairs": True}, "mixes first and splits after"),
        ({"fresh_pairs": True, "recipe": Recipe(shuffle=False)}, "fresh_pairs needs the shuffle"),
        ({"n_fft": 64}, "n_mels is 64, but frames of 64 samples have only 33 frequencies"),
    ],
)
def test_what_contradicts_itself_is_refused(values, says):
    with pytest.raises(ConfigurationError, match=says):
        Config(**{"data": "x", **values})


def test_balanced_pairs_need_the_shuffle_and_overlays_have_no_equal_energies():
    for values in ({"balanced": True, "shuffle": False}, {"equalize_energy": True, "joint": "overlay"}):
        with pytest.raises(ConfigurationError):
            Recipe(**values)
    with pytest.raises(ConfigurationError, match="joint is one of"):
        Recipe(joint="sum")


def test_numbers_of_numpy_and_lists_of_folds_are_taken_as_what_they_are():
    assert Config(data="x", test_folds=[1, 2]).test_folds == (1, 2)
    assert Config(data="x", learning_rate=np.float64(0.01)).learning_rate == 0.01


def test_a_configuration_survives_its_plain_form_and_names_its_differences():
    config = Config(data="x", width=8, train_folds=(1, 2), recipe=Recipe(joint="overlay", snr_range=5), seed=3)
    assert Config.from_dict(config.to_dict()) == config
    assert config.to_dict()["train_folds"] == [1, 2] and config.to_dict()["recipe"]["joint"] == "overlay"
    assert not {"data", "accelerator", "workers"} & set(config.decisive())
    elsewhere = dataclasses.replace(config, data="y", accelerator="cpu", workers=2)
    assert elsewhere.differences(config.to_dict()) == []
    other = dataclasses.replace(config, width=2, epochs=5)
    assert other.differences(config.to_dict()) == ["width: 8 there, 2 now", "epochs: 30 there, 5 now"]


def test_what_was_stored_before_there_was_a_field_has_the_value_of_that_time():
    old = {k: v for k, v in Config(data="x").to_dict().items() if k not in ("decay", "clip_norm", "readout")}
    config = Config.from_dict(old)
    assert (config.decay, config.clip_norm, config.readout) == ("all", 0.0, "last")
    with pytest.raises(ConfigurationError, match="made by another version"):
        Config.from_dict({**old, "colour": "blue"})


@pytest.mark.parametrize(
    "damaged", [{}, {"data": "x"}, {"data": "x", "recipe": None}, {"data": "x", "recipe": [1]}, [], None]
)
def test_what_is_no_stored_configuration_is_said_so(damaged):
    with pytest.raises(ConfigurationError, match="another version of the course"):
        Config.from_dict(damaged)


def test_properties_that_follow_from_the_fields():
    assert (
        Recipe(joint="slots", slot_seconds=4).seconds == 8 and Recipe(joint="concatenate", slot_seconds=3).seconds == 6
    )
    assert Recipe(joint="overlay", slot_seconds=4, max_onset=2).seconds == 6
    assert Config(data="x").draws_fresh_pairs and not Config(data="x", split="random").draws_fresh_pairs
    assert not Config(data="x", split="clips").draws_fresh_pairs
    assert Config(data="x", split="clips", fresh_pairs=True).draws_fresh_pairs
    assert Config(data="x", model="crnn").clips_gradients_at == 1 and Config(data="x").clips_gradients_at == 0
    assert Config(data="x", model="crnn", clip_norm=0).clips_gradients_at == 0
    assert Config(data="x", clip_norm=2.5).clips_gradients_at == 2.5
    ours = {"sample_rate": 22_050, "n_fft": 512, "hop_length": 512, "n_mels": 64, "fmin": 50.0, "fmax": None}
    assert Config(data="x", n_fft=512).mel == ours | {"mel_scale": "slaney", "norm": "slaney"}
    assert Config(data="x", filter_norm="none").mel["norm"] is None


def test_every_field_is_described():
    for owner in (Config, Recipe):
        for field in dataclasses.fields(owner):
            assert len(describe(owner, field.name)) > 10, field.name


def test_what_was_stored_under_an_old_name_reads():
    new = Config(data="x", recipe=Recipe(joint="concatenate"))
    old = {
        k: v
        for k, v in new.to_dict().items()
        if k not in ("sample_rate", "fmin", "fmax", "mel_scale", "filter_norm", "front_end")
    }
    old["recipe"] = {**old["recipe"], "joint": "butt"}
    assert Config.from_dict(old) == new
    assert new.differences(old) == []
