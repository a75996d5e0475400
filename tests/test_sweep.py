"""Sweeps: shared, stopped by anything and gone on with, and never more trials than were asked for."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner

from course_utils import data as run_data
from course_utils import inference, storage, sweep, training
from course_utils.__main__ import app
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.lessons import grids

ROOT = Path(__file__).resolve().parents[1]
LESSONS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
SWEPT = sorted(set(re.findall(r"grids\.published_sweep\(\\\"([\w-]+)\\\"\)", LESSONS)))


def base_of(tones, **changes):
    options = {
        "width": 2,
        "n_mels": 16,
        "hop_length": 1024,
        "batch_size": 16,
        "test_folds": (3,),
        "epochs": 3,
        "accelerator": "cpu",
    }
    return Config(data=str(tones), recipe=Recipe(joint="slots", slot_seconds=0.5), **{**options, **changes})


@pytest.fixture
def base(tones):
    return base_of(tones)


def run(base, out, trials, command="a command"):
    said = []
    return sweep.run_sweep(base, out, trials, command=command, progress=False, say=said.append), said


@pytest.fixture(scope="module")
def swept(tones, tmp_path_factory):
    """A sweep of three trials that nothing stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("sweeps") / "sweep"
        found, said = run(base_of(tones), folder, 3)
    return folder, found, said


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained"))


def pretend(monkeypatch, score):
    """Let training take no time, and give `score(number of the trial, epoch, configuration)` as validation mAP."""

    def train(config, folder, data, progress, on_epoch):
        state = training.State()
        while state.epoch < config.epochs:
            state.epoch += 1
            state.history.append({"epoch": state.epoch, "valid_mAP": score(int(folder.name), state.epoch, config)})
            if on_epoch(state):
                break
        return state

    monkeypatch.setattr(training, "train", train)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_hold_what_a_lesson_plots(base, swept):
    folder, found, said = swept
    assert found == sweep.read(folder / "sweep.json") == json.loads((folder / "sweep.json").read_text())
    assert (found["command"], found["config"]) == ("a command", base.decisive())
    assert found["clips"] == run_data.prepare(base, progress=False).fingerprint
    assert str(base.data) not in (folder / "sweep.json").read_text()
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2] and found["importances"] == {}
    assert [line.split(",")[0] for line in said] == [f"{n + 1} of 3: trial 000{n}" for n in range(3)]
    for trial, line in zip(found["trials"], said, strict=True):
        history = pd.read_csv(folder / "trials" / f"{trial['number']:04d}" / "history.csv")
        assert trial["history"] == pytest.approx(history["valid_mAP"].tolist(), rel=1e-4)
        assert (trial["state"], trial["epochs"], trial["value"]) == ("complete", 3, trial["history"][-1])
        assert f"validation mAP {trial['value']:.3f}; learning_rate {trial['params']['learning_rate']:.3g}" in line
    assert found["trials"][found["best"]]["value"] == max(trial["value"] for trial in found["trials"])
    assert len({str(trial["params"]) for trial in found["trials"]}) == 3


def test_the_first_trial_is_the_base_and_all_differ_from_it_in_what_is_searched_only(base, swept):
    folder, found, _ = swept
    space = sweep.search_space(base)
    assert found["trials"][0]["params"] == {name: getattr(base, name) for name in space}
    for trial in found["trials"]:
        stored = training.load_checkpoint(folder / "trials" / f"{trial['number']:04d}" / "last.pt")["config"]
        config = Config.from_dict(stored)
        assert dataclasses.replace(config, **found["trials"][0]["params"]) == base
        assert {name: getattr(config, name) for name in space} == pytest.approx(trial["params"], rel=1e-4)


def test_a_trial_is_a_run_that_can_be_evaluated(swept):
    assert inference.evaluate(swept[0] / "trials" / "0002", progress=False).report["mixtures"] == 60


def test_the_table_has_the_best_first_and_the_pruned_last():
    rows = [(0, "complete", 0.3), (1, "pruned", 0.9), (2, "complete", 0.5), (3, "pruned", 0.1)]
    trials = [{"number": n, "state": s, "value": v, "epochs": 2, "params": {"a": n * 2}} for n, s, v in rows]
    table = sweep.table({"trials": trials})
    assert list(table.index) == [2, 0, 1, 3] and table["a"].tolist() == [4, 0, 2, 6]


def test_results_that_were_damaged_are_made_again_from_the_journal(base, swept, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(swept[0], folder)
    for damaged in ("", "{", "[1]", '{"format": 9}'):
        (folder / "sweep.json").write_text(damaged)
        assert run(base, folder, 3)[0] == swept[1]
        assert sweep.read(folder / "sweep.json")["trials"] == swept[1]["trials"]


def test_the_same_number_again_does_nothing_and_a_larger_one_goes_on(base, swept, tmp_path, monkeypatch):
    folder = tmp_path / "sweep"
    shutil.copytree(swept[0], folder)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", lambda *_: pytest.fail("trained"))
        elsewhere = dataclasses.replace(base, accelerator="cpu", workers=0)  # another machine
        before = contents(folder)
        assert run(elsewhere, folder, 3) == (swept[1], []) and run(elsewhere, folder, 2, "less") == (swept[1], [])
        assert contents(folder) == before
        (folder / "sweep.json").unlink()  # its writer was killed before it wrote
        run(base, folder, 3)
        assert contents(folder) == before
    pretend(monkeypatch, lambda number, epoch, config: 0.125)
    found, said = run(base, folder, 4)
    assert found["trials"][:3] == swept[1]["trials"] and [trial["number"] for trial in found["trials"]] == [0, 1, 2, 3]
    assert len(said) == 1 and said[0].startswith("4 of 4: trial 0003, validation mAP 0.125;")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 4}, "width: 2 there, 4 now"),
        ({"learning_rate": 0.001}, "learning_rate: 0.003 there, 0.001 now"),
        ({"data": "other"}, "other clips than"),
    ],
)
def test_a_sweep_of_another_configuration_is_kept(base, swept, tmp_path, no_training, changes, message):
    if "data" in changes:
        changes = {"data": str(tmp_path / "other")}
        shutil.copytree(base.data, changes["data"])
        listed = Path(changes["data"]) / "metadata" / "UrbanSound8K.csv"
        listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-2]))
    before = contents(swept[0])
    with pytest.raises(ConfigurationError, match=message):
        run(dataclasses.replace(base, **changes), swept[0], 9)
    assert contents(swept[0]) == before


@pytest.mark.parametrize(
    ("changes", "trials", "message"),
    [
        ({"valid_fraction": 0.0}, 2, "no mixtures for validation.*valid_fraction"),
        ({"weight_decay": 0.0}, 2, "weight_decay must be positive"),
        ({"devices": 2}, 2, "one process of the sweep per device"),
        ({}, 0, "at least 1, not 0"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_written(
    base, tmp_path, no_training, changes, trials, message
):
    with pytest.raises(ConfigurationError, match=message):
        run(dataclasses.replace(base, **changes), tmp_path / "sweep", trials)
    assert not (tmp_path / "sweep").exists()


def test_a_stored_set_is_refused(base, tmp_path, no_training):
    data = run_data.prepare(base, progress=False)
    storage.write_set(
        tmp_path / "set",
        "mel",
        data.test.cache,
        data.test.plan,
        taxonomy=data.taxonomy,
        recipe=base.recipe,
        mel=base.mel,
    )
    with pytest.raises(ConfigurationError, match="needs a folder of clips"):
        run(dataclasses.replace(base, data=str(tmp_path / "set")), tmp_path / "sweep", 2)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("text", ["no journal\n", '{"a": 1}\n', "[]\n"])
def test_what_is_no_journal_is_named_and_kept(base, tmp_path, no_training, text):
    (tmp_path / "journal.log").write_text(text)
    with pytest.raises(ConfigurationError, match=r"journal\.log: no journal"):
        run(base, tmp_path, 2)
    assert (tmp_path / "journal.log").read_text() == text


@pytest.mark.parametrize("model", ["cnn10", "crnn"])
def test_the_space_is_made_of_options_and_holds_the_base(model):
    base = Config(data="x", model=model, learning_rate=0.5, weight_decay=1e-6, batch_size=24)
    space = sweep.search_space(base)
    assert space["learning_rate"] == (3e-4, 0.5) and space["weight_decay"] == (1e-6, 1e-1)
    assert space["batch_size"] == [16, 32, 64, 24] and 24 not in sweep.SPACE["both"]["batch_size"]
    for name, those in space.items():
        for value in those:
            dataclasses.replace(base, **{name: value})
    assert ("hop_length" in space) == (model == "cnn10") and ("readout" in space) == (model == "crnn")
    default = sweep.search_space(Config(data="x", model=model))
    assert default == {**sweep.SPACE["both"], **sweep.SPACE[model]}


def test_hopeless_trials_are_pruned_after_the_first_half(base, tmp_path, monkeypatch):
    """Those that are behind are kept while there are no four, in the first half, and in the last epoch."""
    good, bad, surprise = [0.5] * 7 + [0.9], [0.1] * 8, [0.1] * 4 + [0.6] * 4
    scores = [good, bad, good, good, [0.2] * 8, surprise]
    pretend(monkeypatch, lambda number, epoch, config: scores[number][epoch - 1])
    found, said = run(dataclasses.replace(base, epochs=8), tmp_path, 6)
    assert [trial["state"] for trial in found["trials"]] == [*["complete"] * 4, "pruned", "complete"]
    assert [trial["epochs"] for trial in found["trials"]] == [8, 8, 8, 8, 5, 8]
    assert found["trials"][4]["history"] == [0.2] * 5 and found["trials"][4]["value"] == 0.2
    assert "trial 0004, pruned after epoch 5 at 0.200; learning_rate" in said[4] and found["best"] == 0


def test_a_trial_that_ends_early_counts_by_its_best_epoch(base, tmp_path, monkeypatch):
    def train(config, folder, data, progress, on_epoch):
        state = training.State(2, 0.4, 1, history=[{"epoch": 1, "valid_mAP": 0.4}, {"epoch": 2, "valid_mAP": 0.3}])
        assert not on_epoch(state)
        return state

    monkeypatch.setattr(training, "train", train)
    (trial,) = run(base, tmp_path, 1)[0]["trials"]
    assert (trial["value"], trial["history"], trial["state"]) == (0.4, [0.4, 0.3], "complete")


def test_importances_are_shares_and_come_when_there_are_enough_trials(base, tmp_path, monkeypatch):
    pretend(monkeypatch, lambda number, epoch, config: 0.9 if config.mixup else 0.1)
    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda *_: False)
    assert run(base, tmp_path, 9)[0]["importances"] == {}
    found = run(base, tmp_path, 14)[0]["importances"]
    assert set(found) == set(sweep.search_space(base)) and sum(found.values()) == pytest.approx(1, abs=1e-3)
    assert max(found, key=found.get) == "mixup"


def test_no_trial_is_begun_that_another_process_is_at_work_on(base, tmp_path, monkeypatch):
    inner = []

    def score(number, epoch, config):
        if (number, epoch) == (0, 1):
            inner.append(run(base, tmp_path, 1))  # all that is asked for is under way
            inner.append(run(base, tmp_path, 2))  # one more
        return 0.5

    pretend(monkeypatch, score)
    found, said = run(base, tmp_path, 2)
    (nothing, why), (one, told) = inner
    assert nothing["trials"] == [] and why == [
        "0 of 1 trials are finished; the rest are running elsewhere, or were left out"
    ]
    assert [trial["number"] for trial in one["trials"]] == [1] and told[0].startswith("1 of 2: trial 0001")
    assert told[1] == "1 of 2 trials are finished; the rest are running elsewhere, or were left out"
    assert [trial["number"] for trial in found["trials"]] == [0, 1] and len(said) == 1


def test_a_process_that_ends_while_it_begins_leaves_a_trial_for_the_next(base, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    pretend(monkeypatch, lambda number, epoch, config: 0.5)
    for what in ("enqueue_trial", "suggest_categorical"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(optuna.Study if what == "enqueue_trial" else optuna.Trial, what, killed)
            run(base, tmp_path, 2)
    found, _ = run(base, tmp_path, 2)
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    assert found["trials"][0]["params"] == {name: getattr(base, name) for name in sweep.search_space(base)}


@pytest.mark.parametrize(("error", "epochs"), [(KeyboardInterrupt, 1), (MemoryError, 1), (MemoryError, 3)])
def test_a_stopped_sweep_goes_on_as_if_nothing_had_been(base, swept, tmp_path, monkeypatch, error, epochs):
    """Ctrl-C, or an error between an epoch and its report, be it the last one."""
    save, saved = training.run.save, []

    def stop(out, *rest, **parts):
        save(out, *rest, **parts)
        saved.append(out.name)
        if saved == ["0000"] * 3 + ["0001"] * epochs:
            raise error

    monkeypatch.setattr(training.run, "save", stop)
    if error is KeyboardInterrupt:
        assert run(base, tmp_path, 2)[0] is None
    else:
        with pytest.raises(error):
            run(base, tmp_path, 2)
    assert [trial["number"] for trial in sweep.read(tmp_path / "sweep.json")["trials"]] == [0]
    found, said = run(base, tmp_path, 2)
    assert said[0] == "trial 0001 was stopped; it goes on from its last finished epoch"
    assert saved == ["0000"] * 3 + ["0001"] * 3 and found["trials"] == swept[1]["trials"][:2]


PROCESS = """
import json, sys, time
from pathlib import Path
from course_utils import sweep, training
from course_utils.configuration import Config

def say(text):
    print(text, flush=True)

config, folder, trials, partners = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
save, draw, train = training.run.save, training.run.examples_of, training.train

def saved(out, *rest, **parts):
    save(out, *rest, **parts)
    say(f"saved {out.name}")

def drawn(batch, config):
    say("batch")
    return draw(batch, config)

def meet(config, out, *rest, **own):
    (folder / f"met-{out.name}").touch()
    while len(list(folder.glob("met-*"))) < partners:
        time.sleep(0.01)
    return train(config, out, *rest, **own)

training.run.save, training.run.examples_of, training.train = saved, drawn, meet
sweep.run_sweep(Config.from_dict(config), folder, trials, command="a command", progress=False, say=say)
"""


def start(base, folder, trials, partners=1):
    arguments = [json.dumps(base.to_dict()), str(folder), str(trials), str(partners)]
    command = [sys.executable, "-c", PROCESS, *arguments]
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_trial_goes_on_and_loses_no_finished_epoch(base, swept, tmp_path, monkeypatch):
    with start(base, tmp_path, 3) as process:
        for line in iter(process.stdout.readline, "saved 0001\n"):
            assert line
        assert process.stdout.readline() == "batch\n"  # in the middle of the second epoch of the second trial
        process.send_signal(signal.SIGKILL)
    left = training.load_checkpoint(tmp_path / "trials" / "0001" / "last.pt")
    assert left["state"]["epoch"] == 1
    save, saved = training.run.save, []
    monkeypatch.setattr(
        training.run, "save", lambda out, *rest, **parts: (save(out, *rest, **parts), saved.append(out.name))
    )
    found, said = run(base, tmp_path, 3)
    assert saved == ["0001"] * 2 + ["0002"] * 3 and said[0].startswith("trial 0001 was stopped")
    assert found["trials"][1]["params"]["learning_rate"] == pytest.approx(left["config"]["learning_rate"], rel=1e-4)
    assert found == swept[1]  # as if nothing had been


def test_two_processes_share_a_sweep(base, tmp_path):
    """Both train at once from the first trial on, and together they run four, each of them once."""
    base = dataclasses.replace(base, epochs=2)
    processes = [start(base, tmp_path, 4, partners=2) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    ran = [re.findall(r"of 4: trial (\d+),", text) for text in said]
    assert sorted(ran[0] + ran[1]) == ["0000", "0001", "0002", "0003"] and all(ran)
    found = sweep.read(tmp_path / "sweep.json")
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2, 3]
    assert len({str(trial["params"]) for trial in found["trials"]}) == 4
    assert found["trials"][0]["params"] == {name: getattr(base, name) for name in sweep.search_space(base)}
    assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == sorted(ran[0] + ran[1])


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"format": 1, "grid": "a", "runs": {}}', '{"format": 0}'])
def test_what_is_no_results_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    for name in ("a.json", "b.json"):
        with pytest.raises(ConfigurationError, match=name):
            sweep.read(tmp_path / name)


def test_the_command_writes_results_and_names_itself(tones, tmp_path, monkeypatch):
    pretend(monkeypatch, lambda number, epoch, config: config.learning_rate)
    command = ["sweep", "--data", str(tones), "--out", str(tmp_path / "narrow"), "--trials", "2"]
    command += ["--test-folds", "3", "--width", "2", "--no-spec-augment", "--slot-seconds", "0.5"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0 and "1 of 2: trial 0000, validation mAP 0.003; learning_rate 0.003" in result.output
    assert re.search(r"^trial +\n\d +complete", result.output, re.MULTILINE), "the table"
    result = CliRunner().invoke(app, [*command, "--json"])
    found = json.loads(result.stdout)
    assert (
        found == sweep.read(tmp_path / "narrow" / "sweep.json")
        and found["trials"][0]["params"]["spec_augment"] is False
    )
    given = "--width 2 --no-spec-augment --test-folds 3 --slot-seconds 0.5"
    assert found["command"] == f"python -m course_utils sweep --data FOLDER --out runs/narrow --trials 2 {given}"
    again = found["command"].replace("FOLDER", str(tones)).replace("runs/", f"{tmp_path}/").split()[3:]
    assert CliRunner().invoke(app, again).exit_code == 0


def test_a_stopped_command_says_that_it_goes_on(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_, **__: training.State(interrupted=True))
    command = ["sweep", "--data", str(tones), "--out", str(tmp_path), "--trials", "2", "--test-folds", "3"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130 and "the same command goes on from there" in result.output
    result = CliRunner().invoke(app, [*command, "--valid-fraction", "0"])
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and "valid_fraction" in result.stderr


def test_what_does_not_come_along_is_named():
    with pytest.raises(ConfigurationError, match=r"nothing\.json"):
        grids.published_sweep("nothing")


@pytest.mark.parametrize("name", SWEPT)
def test_what_a_lesson_loads_was_made_by_a_sweep(name):
    found = grids.published_sweep(name)
    base = Config.from_dict({**found["config"], "data": ""})
    space = sweep.search_space(base)
    assert found["command"].startswith("python -m course_utils sweep --data FOLDER")
    assert found["trials"][0]["params"] == {name: getattr(base, name) for name in space}
    assert [trial["number"] for trial in found["trials"]] == list(range(len(found["trials"])))
    complete = [trial for trial in found["trials"] if trial["state"] == "complete"]
    assert set(found["importances"]) == (set(space) if len(complete) >= sweep._TO_WEIGH else set())
    assert not re.search(r"/(?:root|home|tmp|work|Users)/", json.dumps(found))


def test_a_trial_that_does_not_fit_is_left_out(base, tmp_path, monkeypatch):
    train = training.train

    def full(config, folder, *rest, **own):
        if Path(folder).name == "0001":
            raise RuntimeError("CUDA out of memory")
        return train(config, folder, *rest, **own)

    monkeypatch.setattr(training, "train", full)
    found, said = run(base, tmp_path, 3)
    assert [trial["number"] for trial in found["trials"]] == [0, 2]
    assert any("trial 0001 does not fit" in line for line in said) and "2 of 3" in said[-1]
    assert run(base, tmp_path, 3)[0] == found  # and is not begun again


def test_a_torn_last_line_of_the_journal_costs_no_trial(base, tmp_path):
    found, _ = run(base, tmp_path, 2)
    journal = next(tmp_path.rglob("journal.log"))
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "work')
    after, _ = run(base, tmp_path, 3)
    assert after["trials"][:2] == found["trials"] and len(after["trials"]) == 3
    assert run(base, tmp_path, 3)[0] == after


def test_a_trial_that_was_due_to_be_pruned_when_it_was_killed_is_pruned(base, tmp_path, monkeypatch):
    base = dataclasses.replace(base, epochs=4)
    pretend(monkeypatch, lambda number, epoch, config: 0.5 if number < 4 else 0.1)
    run(base, tmp_path, 4)
    tell = optuna.Study.tell

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "tell", killed)
    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path, 5)
    monkeypatch.setattr(optuna.Study, "tell", tell)
    checkpoint = next(tmp_path.rglob("journal.log")).parent / "trials" / "0004" / "last.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.touch()
    history = [{"epoch": epoch, "valid_mAP": 0.1} for epoch in (1, 2, 3)]
    monkeypatch.setattr(training, "load_checkpoint", lambda _: {"state": {"epoch": 3, "history": history}})
    monkeypatch.setattr(training, "train", None)  # nothing is left to train
    found, _ = run(base, tmp_path, 5)
    assert found["trials"][4]["state"] == "pruned" and found["trials"][4]["epochs"] == 3
