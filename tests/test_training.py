import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import data as run_data
from course_utils import files, inference, models, training
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.lessons import known_and_new
from course_utils.mixing import Batch
from course_utils.splits import SplitError
from course_utils.taxonomy import Taxonomy

QUICK = {
    "width": 2,
    "n_mels": 16,
    "hop_length": 1024,
    "recipe": Recipe(joint="slots", slot_seconds=0.5),
    "batch_size": 16,
    "accelerator": "cpu",
}


def quick(tones, **changes):
    options = {**QUICK, "data": str(tones), "test_folds": (3,), "epochs": 3, "learning_rate": 1e-2} | changes
    return Config(**options)


def weights(run, name="last"):
    return torch.load(run / f"{name}.pt", weights_only=True)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_learns_and_leaves_its_files(tmp_path, tones):
    config = quick(tones, epochs=8, width=8, n_mels=32, spec_augment=False)
    state = training.train(config, tmp_path / "run", progress=False)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["epoch"].tolist() == list(range(1, 9)) and state.epoch == 8
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert state.best == history["valid_mAP"].max() and history["valid_mAP"].iloc[state.best_epoch - 1] == state.best
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1  # one file for all epochs
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.pt", "last.pt", "history.csv", "tensorboard"}
    result = inference.evaluate(tmp_path / "run", progress=False)
    report, notes = result.report, result.notes
    assert report["mAP"] > report["baselines"]["chance"]["mAP"] + 0.2
    assert "none of 60 test items" in "\n".join(notes)


@pytest.mark.parametrize("head", ["labels", "combinations"])
@pytest.mark.parametrize("model", ["cnn10", "crnn"])
@pytest.mark.parametrize("split", ["official", "random"])
def test_every_network_head_and_split_trains(tmp_path, tones, head, model, split):
    recipe = Recipe(joint="concatenate")
    config = quick(tones, head=head, model=model, split=split, epochs=1, mixup=True, recipe=recipe, valid_fraction=0.2)
    training.train(config, tmp_path, progress=False)
    report = inference.evaluate(tmp_path, progress=False).report
    assert 0 <= report["exact_match"] <= 1 and np.isfinite(report["mAP"])


@pytest.mark.parametrize(("optimizer", "schedule"), [("adam", "constant"), ("amsgrad", "step"), ("adamw", "step")])
def test_optimizers_and_schedules(tmp_path, tones, optimizer, schedule):
    training.train(quick(tones, optimizer=optimizer, schedule=schedule, epochs=2), tmp_path, progress=False)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2


def test_a_run_of_before_a_new_option_goes_on(tmp_path, tones):
    config = quick(tones, epochs=2)
    training.train(dataclasses.replace(config), tmp_path, progress=False)
    checkpoint = torch.load(tmp_path / "last.pt", weights_only=True)
    del checkpoint["config"]["readout"]
    torch.save(checkpoint, tmp_path / "last.pt")
    assert training.train(config, tmp_path, progress=False).epoch == 2
    checkpoint["config"]["colour"] = "red"
    torch.save(checkpoint, tmp_path / "last.pt")
    with pytest.raises(ConfigurationError, match="another version of the course"):
        training.train(config, tmp_path, progress=False)


def test_amsgrad_is_adam_that_remembers_the_largest():
    network = torch.nn.Linear(2, 2)
    optimizers = [training.make_optimizer(Config(data="x", optimizer=name), network) for name in ("adam", "amsgrad")]
    assert [optimizer.defaults["amsgrad"] for optimizer in optimizers] == [False, True]


def test_the_one_cycle_ends_near_zero(tones):
    config = quick(tones)
    network = torch.nn.Linear(2, 2)
    optimizer = training.make_optimizer(config, network)
    schedule = training.make_schedule(config, optimizer, 10)
    rates = []
    for _ in range(30):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(1e-2, rel=0.05) and rates[-1] < 1e-3 and rates[0] < 1e-3


def test_the_step_schedule_halves_the_rate_every_ten_epochs():
    optimizer = training.make_optimizer(Config(data="x"), torch.nn.Linear(2, 2))
    schedule = training.make_schedule(Config(data="x", schedule="step", learning_rate=0.08), optimizer, steps=3)
    optimizer = schedule.optimizer
    rates = []
    for _ in range(25):
        rates.append(schedule.get_last_lr()[0] / Config(data="x").learning_rate)
        for _ in range(3):
            optimizer.step()
            schedule.step()
    assert rates == pytest.approx([1.0] * 10 + [0.5] * 10 + [0.25] * 5)


def test_a_run_is_described_by_what_is_left_of_it(tmp_path, tones):
    config = quick(tones, epochs=2)
    data = run_data.prepare(config, progress=False)
    batches = len(data.train) // 16
    parameters = models.count_parameters(models.build(config, data.taxonomy))
    says = rf"cnn10, {parameters:,} parameters, head labels: 2 epochs of {batches} batches of 16 on cpu, 32-true, about \d+ "
    assert re.match(says, training.describe(config, data, tmp_path))
    training.train(config, tmp_path, data, progress=False, on_epoch=lambda state: state.epoch == 1)
    assert f": 1 epoch of {batches} batches" in training.describe(config, data, tmp_path)
    training.train(config, tmp_path, data, progress=False)
    assert training.describe(config, data, tmp_path).endswith("all epochs are done already (2)")


def test_what_counts_as_stale_and_which_epoch_counts():
    state = training.State(epoch=7, best=0.5, best_epoch=4)
    assert training.is_stale(state, Config(data="x", patience=3)) and not training.is_stale(state, Config(data="x"))
    assert not training.is_stale(state, Config(data="x", patience=4))
    assert not training.is_stale(training.State(epoch=7), Config(data="x", patience=3))
    for schedule, epochs, counts in (("onecycle", 7, 7), ("onecycle", 9, 4), ("step", 7, 4), ("constant", 7, 4)):
        assert training.scored_epoch(state, Config(data="x", schedule=schedule, epochs=epochs)) == counts


def test_positive_weights_by_hand(tones):
    data = run_data.prepare(quick(tones), progress=False)
    plan = data.train.plan.iloc[:4].assign(combination=[0, 1, 1, 10])  # of classes {0}, {0, 1}, {0, 1}, {1}
    data.train.plan = plan
    labels = training.positive_weights(quick(tones), data)
    assert labels.tolist() == pytest.approx([1 / 3, 1 / 3] + [1.0] * 8) and labels.dtype == torch.float32
    combinations = training.positive_weights(quick(tones, head="combinations"), data)
    expected = np.ones(55)
    expected[[0, 1, 10]] = [3, 1, 3]
    assert combinations.tolist() == pytest.approx(expected.tolist())


def test_without_validation_the_threshold_stays_and_the_last_epoch_counts(tmp_path, tones):
    state = training.train(quick(tones, valid_fraction=0.0, epochs=2), tmp_path, progress=False)
    assert state.threshold == 0.5 and state.best == -1 and state.best_epoch == 2
    assert same(weights(tmp_path, "best"), weights(tmp_path, "last"))
    with pytest.raises(ConfigurationError, match="patience 2 stops by the validation mAP, and no mixtures validate"):
        data = run_data.prepare(quick(tones), progress=False)
        data = dataclasses.replace(data, valid=torch.utils.data.Subset(data.valid, []))
        training.train(quick(tones, patience=2), tmp_path / "other", data, progress=False)


# --- What is not finite, incomplete, or of somebody else ----------------------------------------------------------------


def test_a_validation_that_is_not_finite_stops_the_run(tmp_path, tones, monkeypatch):
    def diverged(*_arguments, **_options):
        raise training.DivergedError("the network says NaN")

    monkeypatch.setattr(training.run, "score", diverged)
    with pytest.raises(training.DivergedError, match="of the validation part in epoch 1 is no longer a number; use"):
        training.train(quick(tones), tmp_path, progress=False)
    assert not (tmp_path / "last.pt").exists() and not (tmp_path / "best.pt").exists()


def test_a_weight_that_is_not_finite_is_not_kept(tmp_path, tones, monkeypatch):
    training_step = training.training_step

    def spoil(model, *arguments, **parts):
        loss = training_step(model, *arguments, **parts)
        next(model.parameters()).data.view(-1)[0] = torch.inf
        return loss.nan_to_num()

    monkeypatch.setattr(training.loop, "training_step", spoil)
    with pytest.raises(training.DivergedError, match="a weight in epoch 1 is no longer a number"):
        training.train(quick(tones, valid_fraction=0.0, batch_size=64), tmp_path, progress=False)
    assert not (tmp_path / "last.pt").exists()


def test_a_network_that_says_nan_is_not_scored(tones):
    config = quick(tones)
    data = run_data.prepare(config, progress=False)
    batches = run_data.loader(config, data.test, data.taxonomy)

    def says_nan(sounds, lengths):
        logits = torch.zeros(len(sounds), 10)
        logits[3, 2] = torch.nan
        return logits

    with pytest.raises(training.DivergedError, match=r"for 4 of 60 mixtures, the first is 3; if it is for all"):
        training.score(says_nan, batches, "labels", data.taxonomy, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        training.train(quick(tones, epochs=1), folder, progress=False)
    return folder


def spoilt(change):
    def spoil(checkpoint):
        change(checkpoint)
        return checkpoint

    return spoil


DAMAGED = {  # what is wrong with a checkpoint, and what is said
    "no config": (spoilt(lambda c: c.pop("config")), "incomplete, for it has no config"),
    "no state, no classes": (spoilt(lambda c: [c.pop("state"), c.pop("classes")]), "no classes and no state"),
    "classes are text": (spoilt(lambda c: c.update(classes="abc")), "no classes"),
    "numbers for weights": (spoilt(lambda c: c["network"].update({next(iter(c["network"])): 3.0})), "no network"),
    "a weight less": (spoilt(lambda c: c["network"].popitem()), "its weights do not fit the cnn10"),
    "state of another version": (spoilt(lambda c: c["state"].pop("best")), r"does not fit this version \(best\)"),
    "a field that is not known": (spoilt(lambda c: c["config"].update(colour="red")), "another version of the course"),
    "no recipe": (spoilt(lambda c: c["config"].pop("recipe")), "another version of the course"),
    "another format": (spoilt(lambda c: c.update(format=9)), "weights of other projects cannot be loaded here"),
    "only weights": (lambda c: c["network"], "weights of other projects cannot be loaded here"),
    "a list": (lambda c: [1, 2], "weights of other projects cannot be loaded here"),
    "NaN": (
        spoilt(lambda c: next(iter(c["network"].values())).fill_(torch.nan)),
        "NaN or infinite, because the training",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_checkpoint_that_cannot_be_used_says_what_is_wrong_with_it(trained, tmp_path, name):
    change, says = DAMAGED[name]
    torch.save(change(torch.load(trained / "best.pt", weights_only=True)), tmp_path / "best.pt")
    with pytest.raises(ConfigurationError, match=says):
        training.load_network(tmp_path)


def test_python_objects_in_a_checkpoint_are_not_read_and_no_advice_of_torch_is_passed_on(tmp_path):
    torch.save({"format": 1, "network": torch.nn.Linear(2, 2)}, tmp_path / "best.pt")
    with pytest.raises(
        ConfigurationError, match="could run code of their own, or is damaged, and was not read"
    ) as said:
        training.load_network(tmp_path)
    assert "weights_only" not in str(said.value) and "issue" not in str(said.value)


def test_a_run_whose_optimiser_is_gone_does_not_go_on(trained, tones, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.copy(tmp_path / "run" / "best.pt", tmp_path / "run" / "last.pt")
    with pytest.raises(ConfigurationError, match="no optimizer and no scheduler in it, so that the run cannot go on"):
        training.train(quick(tones, epochs=1), tmp_path / "run", progress=False)


def test_the_second_of_two_runs_in_one_folder_is_told_so_and_harms_nothing(tmp_path, tones, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".last-abcdefgh.part.pt").write_bytes(b"half")
    with files.alone_in(tmp_path / "run", "trains a network"):
        assert not (tmp_path / "run" / ".last-abcdefgh.part.pt").exists()
        with pytest.raises(files.FolderInUseError, match="another process trains a network there; wait until it has"):
            training.train(quick(tones, epochs=1), tmp_path / "run", progress=False)
        assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock"}
    training.train(quick(tones, epochs=1), tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob(".*"))


def test_levels_tell_other_sound_and_not_another_decoder(tones):
    levels = run_data.prepare(quick(tones), progress=False).sound
    assert levels.shape == (120, 2) and (levels > 0).all()
    again = torch.from_numpy(levels * np.float32(1 + 1e-5))
    assert run_data.is_same_sound(again, levels) and run_data.is_same_sound(None, levels)
    assert not run_data.is_same_sound(levels[:-1], levels)
    for place in ((5, 0), (5, 1)):
        other = levels.copy()
        other[place] *= 1.01
        assert not run_data.is_same_sound(other, levels)
    assert run_data.is_same_sound("abc", "abc") and not run_data.is_same_sound("abc", "abd")
    assert not run_data.is_same_sound("abc", levels) and not run_data.is_same_sound(levels, "abc")


@pytest.mark.parametrize(
    ("count", "processes", "drops", "batches"),
    [(66, 1, True, 1), (66, 2, False, 2), (96, 2, True, 2), (95, 2, True, 1), (40, 1, False, 1), (97, 1, True, 2)],
)
def test_a_share_smaller_than_a_batch_is_kept_whole(tones, count, processes, drops, batches):
    config = quick(tones, batch_size=48)
    data = run_data.prepare(config, progress=False)
    part = torch.utils.data.Subset(data.train, [0] * count)
    loader = run_data.loader(config, part, data.taxonomy, 0, processes=processes)
    assert (loader.drop_last, len(loader)) == (drops, batches)


TRAIN = """
import json, sys
from course_utils import training
from course_utils.configuration import Config
original = training.run.examples_of
def said(batch, config):
    print("batch", flush=True)
    return original(batch, config)
training.run.examples_of = said
training.train(Config.from_dict(json.loads(sys.argv[1])), sys.argv[2], progress=False)
"""


def train_and_kill(config, run, batches):
    """Train in another process, and kill it in the middle of the batch after so many."""
    command = [sys.executable, "-c", TRAIN, json.dumps(config.to_dict()), str(run)]
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(batches + 1):
            assert process.stdout.readline() == "batch\n"
        process.send_signal(signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"mixup": True}, (0, 1, 2)),
        ({"model": "crnn", "recipe": Recipe(joint="concatenate"), "schedule": "step"}, (1,)),
    ],
)
def test_killed_in_any_epoch_and_resumed_the_weights_are_the_same(tmp_path, tones, changes, epochs):
    config = quick(tones, epochs=3, **changes)
    training.train(config, tmp_path / "whole", progress=False)
    data = run_data.prepare(config, progress=False)
    per_epoch = len(run_data.loader(config, data.train, data.taxonomy, shuffle_seed=0))
    for epoch in epochs:
        run = tmp_path / f"killed{epoch}"
        train_and_kill(config, run, epoch * per_epoch + 2)
        assert len(pd.read_csv(run / "history.csv")) == epoch if epoch else not (run / "last.pt").exists()
        state = training.train(config, run, progress=False)
        assert state.epoch == 3
        assert same(weights(run), weights(tmp_path / "whole")), f"killed in epoch {epoch}"
        assert same(weights(run, "best"), weights(tmp_path / "whole", "best"))
        histories = [pd.read_csv(r / "history.csv").drop(columns="seconds") for r in (run, tmp_path / "whole")]
        pd.testing.assert_frame_equal(*histories)


def test_a_run_does_not_go_on_with_other_clips(tmp_path, tones):
    shutil.copytree(tones, tmp_path / "data")
    config = quick(tmp_path / "data", epochs=1)
    training.train(config, tmp_path / "run", progress=False)
    next((tmp_path / "data" / "audio" / "fold1").iterdir()).unlink()
    with pytest.raises(ConfigurationError, match="began with other clips"):
        training.train(config, tmp_path / "run", progress=False)
    with pytest.raises(ConfigurationError, match="holds other clips"):
        inference.evaluate(tmp_path / "run", progress=False)


def test_scores_do_not_depend_on_the_other_mixtures_of_a_batch(tones):
    """Mixtures of different lengths, concatenated: alone and together."""
    config = quick(tones, recipe=Recipe(joint="concatenate", slot_seconds=1.0))
    data = run_data.prepare(config, progress=False)
    network = models.build(config, data.taxonomy).eval()
    cache = data.test.cache
    cache.lengths = np.where(np.arange(len(cache)) % 2, cache.lengths, cache.lengths // 3)
    scores = []
    for size in (2, 7):
        batches = run_data.loader(dataclasses.replace(config, batch_size=size), data.test, data.taxonomy)
        assert len({int(n) for batch in batches for n in batch.lengths}) > 1
        scores.append(
            training.score(network, batches, "labels", data.taxonomy, device=torch.device("cpu")).label_scores
        )
    assert np.abs(scores[0] - scores[1]).max() < 1e-5


def test_nor_do_those_of_longer_mixtures_than_the_run_was_trained_on(tones):
    """A run on overlays of half a second and an onset of at most 0.1 s, tested on pairs that are joined."""
    short = Recipe(joint="overlay", slot_seconds=0.5, max_onset=0.1)
    config = quick(tones, recipe=short)
    longer = run_data.prepare(quick(tones, recipe=Recipe(joint="concatenate", slot_seconds=0.5)), progress=False).test
    for size in (2, 7):
        batches = run_data.loader(dataclasses.replace(config, batch_size=size), longer, Taxonomy())
        assert {batch.audio.shape[-1] for batch in batches} == {22_050}


def test_a_resume_really_skips_finished_epochs(tmp_path, tones, monkeypatch):
    config = quick(tones, epochs=2)
    training.train(config, tmp_path, progress=False)
    monkeypatch.setattr(training.run, "examples_of", lambda *_: pytest.fail("trained again"))
    assert training.train(config, tmp_path, progress=False).epoch == 2


def test_ctrl_c_keeps_finished_epochs_and_returns(tmp_path, tones, monkeypatch):
    config, count = quick(tones, epochs=3), []
    original = training.run.examples_of

    def interrupted(batch, config):
        count.append(1)
        if len(count) == 10:
            raise KeyboardInterrupt
        return original(batch, config)

    monkeypatch.setattr(training.run, "examples_of", interrupted)
    state = training.train(config, tmp_path / "run", progress=False)
    assert state.interrupted and 0 < state.epoch < 3
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == state.epoch
    monkeypatch.setattr(training.run, "examples_of", original)
    assert training.train(config, tmp_path / "run", progress=False).epoch == 3
    training.train(config, tmp_path / "whole", progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_another_configuration_does_not_touch_a_run(tmp_path, tones):
    training.train(quick(tones, epochs=1), tmp_path, progress=False)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ConfigurationError, match="epochs: 1 there, 5 now"):
        training.train(quick(tones, epochs=5), tmp_path, progress=False)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_early_stopping_counts_from_the_best_epoch():
    state = training.State(epoch=5, best=0.5, best_epoch=3)
    assert training.is_stale(state, Config(data="x", patience=2))
    assert not training.is_stale(state, Config(data="x", patience=3))
    assert not training.is_stale(state, Config(data="x", patience=0))


def test_early_stopping_stops(tmp_path, tones, monkeypatch):
    scores = iter([0.5, 0.4, 0.3, 0.2])

    monkeypatch.setattr(training.run._Run, "_validate", lambda run: {"valid_mAP": next(scores)})
    state = training.train(quick(tones, epochs=9, patience=2), tmp_path, progress=False)
    assert (state.epoch, state.best_epoch) == (3, 1)


def test_the_test_part_is_never_looked_at_while_training(tmp_path, tones, monkeypatch):
    config = quick(tones, epochs=1)
    data = run_data.prepare(config, progress=False)
    monkeypatch.setattr(
        type(data.test), "__getitem__", lambda self, row: pytest.fail("test") if self is data.test else GET(self, row)
    )
    training.train(config, tmp_path, data, progress=False)


GET = run_data.LazyMixtures.__getitem__


@pytest.mark.parametrize(("schedule", "epoch"), [("onecycle", 3), ("constant", 1)])
def test_a_whole_one_cycle_gives_the_last_epoch_and_anything_else_the_best(
    tmp_path, tones, monkeypatch, schedule, epoch
):
    scores = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(training.run._Run, "_validate", lambda *_: {"valid_mAP": next(scores)})
    training.train(quick(tones, schedule=schedule), tmp_path, progress=False)
    assert training.load_checkpoint(tmp_path / "best.pt")["state"]["epoch"] == epoch
    assert same(weights(tmp_path, "best"), weights(tmp_path, "last")) == (epoch == 3)
    assert same(training.load_network(tmp_path)[0].state_dict(), weights(tmp_path, "best"))


def test_a_checkpoint_needs_nothing_else(tmp_path, tones):
    training.train(quick(tones, epochs=1, head="combinations"), tmp_path / "run", progress=False)
    moved = tmp_path / "alone.pt"
    (tmp_path / "run" / "best.pt").rename(moved)
    network, config, taxonomy, threshold = training.load_network(moved)
    assert config.n_mels == 16 and taxonomy.n_classes == 10 and 0 < threshold < 1 and not network.training


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"best\.pt"):
        training.load_network(tmp_path)
    with pytest.raises(ConfigurationError, match="no such checkpoint"):
        training.load_network(tmp_path / "nowhere")


def test_mixup_mixes_sounds_and_targets_alike():
    torch.manual_seed(0)
    batch = Batch(torch.eye(8), torch.arange(1, 9), torch.eye(8, 10))
    sounds, lengths, targets = training.examples_of(batch, Config(data="x", mixup=True))
    assert torch.allclose(sounds, targets[:, :8]) and torch.allclose(targets.sum(1), torch.ones(8))
    assert ((targets > 0).sum(1) <= 2).all() and (targets.max(1).values < 1).any()
    for mixed, length in zip(targets, lengths, strict=True):  # item i has length i + 1: the longer of the two counts
        assert length == 1 + int(torch.nonzero(mixed).max())


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("", {"auto": "cpu", "cpu": "cpu", "cuda": "cpu", "gpu": "cpu", "mps": "cpu"}),
        ("cuda", {"auto": "cuda", "cpu": "cpu", "cuda": "cuda", "gpu": "cuda", "mps": "cpu"}),
        ("mps", {"auto": "mps", "cpu": "cpu", "cuda": "cpu", "gpu": "mps", "mps": "mps"}),
    ],
)
def test_the_device_is_the_one_asked_for_if_it_is_there(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there == "mps")
    found = {name: training.device_of(Config(data="x", accelerator=name)).type for name in expected}
    assert found == expected


def test_targets_of_both_heads():
    multi_hot = torch.from_numpy(Taxonomy().multi_hot([3, 54]))
    batch = Batch(torch.zeros(2, 5), torch.tensor([5, 5]), multi_hot)
    assert torch.equal(training.targets_of(batch, "labels", 10), batch.multi_hot)
    combinations = training.targets_of(batch, "combinations", 10)
    assert combinations.shape == (2, 55) and combinations.argmax(1).tolist() == [3, 54]


def test_two_processes_train_one_network(tmp_path, tones):
    """Several devices by one flag; tried with two CPU processes."""
    command = [
        sys.executable,
        "-m",
        "course_utils",
        "train",
        "--data",
        str(tones),
        "--out",
        str(tmp_path),
        "--width",
        "2",
    ]
    command += ["--epochs", "2", "--devices", "2", "--accelerator", "cpu", "--test-folds", "3", "--slot-seconds", "0.5"]
    result = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2


def torchrun(*command, **how):
    launcher = [sys.executable, "-m", "torch.distributed.run", *map(str, how.pop("options")), *map(str, command)]
    return subprocess.Popen(launcher, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)


@pytest.mark.slow
def test_two_machines_train_one_network(tmp_path, tones):
    """By torchrun on each; both are this machine, with one CPU process each."""
    run = ["-m", "course_utils", "train", "--data", tones, "--width", "2", "--epochs", "1", "--devices", "1"]
    run += ["--accelerator", "cpu", "--test-folds", "3", "--slot-seconds", "0.5", "--out"]

    def on_two(*outs):
        store = f"--rdzv-endpoint=127.0.0.1:{free_port()}"
        options = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--max-restarts", 0, store]
        machines = [torchrun(*run, tmp_path / out, options=options) for out in outs]
        said = [machine.communicate(timeout=300)[0] for machine in machines]
        return [machine.returncode for machine in machines], said

    codes, said = on_two("run", "run")
    assert codes == [0, 0], said
    assert all("GLOBAL_RANK" in text and "/2" in text for text in said)
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1
    codes, said = on_two("run", "elsewhere")  # one of them has begun already
    assert 0 not in codes and "all need one shared folder" in "".join(said)


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def test_devices_and_the_processes_of_torchrun_agree(monkeypatch):
    assert training.devices.machines_of(Config(data="x", devices=2)) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert training.devices.machines_of(Config(data="x", devices=2)) == 3
    with pytest.raises(ConfigurationError, match="--nproc-per-node 1, or the run --devices 2"):
        training.devices.machines_of(Config(data="x", devices=1))


def test_a_run_stops_when_it_is_told_to(tmp_path, tones):
    config = quick(tones, epochs=5)
    state = training.train(config, tmp_path, progress=False, on_epoch=lambda state: state.epoch == 2)
    assert state.epoch == 2 and not state.interrupted
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2
    whole = training.train(config, tmp_path, progress=False)  # the same command goes on
    assert whole.epoch == 5 and whole.history[:2] == state.history


@pytest.mark.parametrize("head", ["labels", "combinations"])
def test_positive_weights_are_absent_over_present(tones, head):
    config = quick(tones, head=head, pos_weight=True)
    data = run_data.prepare(config, progress=False)
    found = training.positive_weights(config, data).numpy()
    there = data.train.plan["combination"].to_numpy()
    if head == "labels":
        truth = data.taxonomy.multi_hot(there)
        assert np.allclose(found, (1 - truth).sum(axis=0) / truth.sum(axis=0))
    else:
        counts = np.bincount(there, minlength=55)
        assert (counts == 0).any() and (found[counts == 0] == 1).all()
        assert np.allclose(found[counts > 0], (len(there) - counts[counts > 0]) / counts[counts > 0])


def test_weighed_up_positives_are_said_more_often(tmp_path, tones):
    said = {}
    for weigh in (False, True):
        config = quick(tones, epochs=6, pos_weight=weigh)
        training.train(config, tmp_path / str(weigh), progress=False)
        said[weigh] = inference.evaluate(tmp_path / str(weigh), progress=False).scores.label_scores.mean()
    assert said[True] > said[False] + 0.1


def test_a_share_of_the_recordings_trains(tones):
    whole = run_data.prepare(quick(tones), progress=False)
    half = run_data.prepare(quick(tones, train_share=0.5), progress=False)
    assert 0 < len(half.train) < len(whole.train)
    for part in ("valid", "test"):
        assert getattr(half, part).plan.equals(getattr(whole, part).plan)


def test_known_and_new_clips_are_what_they_are_called(tones):
    config = quick(tones, split="clips", train_folds=(1, 2), test_folds=(3,))
    data, parts = run_data.prepare(config, progress=False), known_and_new.parts(config, progress=False)
    trained = set(data.train.plan[["first", "second"]].to_numpy().ravel())
    pairs = set(map(frozenset, data.train.plan[["first", "second"]].to_numpy().tolist()))
    wanted = {
        "known + known": {2},
        "known + new": {1},
        "new + new": {0},
        "new recordings": {0},
        "new + new, apart": {0},
    }
    assert set(parts) == set(wanted)
    clips = data.test.cache.clips
    for name, part in parts.items():
        members = part.test.plan[["first", "second"]].to_numpy()
        assert {sum(int(row) in trained for row in pair) for pair in members} == wanted[name], name
        assert not [pair for pair in members.tolist() if frozenset(pair) in pairs]
        assert set(clips["fold"].to_numpy()[members.ravel()]) == ({3} if name == "new recordings" else {1, 2})
        assert part.test_recordings.tolist() == clips["fsID"].to_numpy()[members].tolist()
    names = set(clips["slice_file_name"].iloc[sorted(trained)])
    for row in parts["new + new, apart"].test.plan[["first", "second"]].to_numpy().ravel():
        start, number = clips["slice_file_name"][row].removesuffix(".wav").rsplit("-", 1)
        assert not {f"{start}-{int(number) + step}.wav" for step in (-1, 1)} & names
    known_recordings = set(clips["fsID"].iloc[sorted(trained)])
    assert set(parts["new + new"].test_recordings.ravel()) & known_recordings
    assert not set(parts["new recordings"].test_recordings.ravel()) & known_recordings
    assert len({len(part.test) for name, part in parts.items() if name != "known + known"}) == 1


def test_only_a_split_by_clips_has_known_and_new_ones(tones):
    with pytest.raises(ConfigurationError, match="only a split by clips"):
        known_and_new.parts(quick(tones), progress=False)
    with pytest.raises(ConfigurationError, match="fixed pairs that are joined"):
        known_and_new.parts(quick(tones, split="clips", fresh_pairs=True), progress=False)
    with pytest.raises(SplitError, match="fold 3: the training knows all its recordings"):
        known_and_new.parts(quick(tones, split="clips"), progress=False)
