"""Label sets of any size, from table to report: other people's tables, mixtures of one to four clips, splits, heads."""

import dataclasses
import json
from functools import partial

import layouts
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk
from typer.testing import CliRunner

from conftest import make_dataset
from course_utils import audio, datasets, evaluation, inference, mixing, page, splits, storage, training
from course_utils import data as run_data
from course_utils.__main__ import app
from course_utils.configuration import Config, ConfigurationError, Recipe, names_of_columns
from course_utils.datasets import ClipCache, DatasetError, open_folder
from course_utils.mixing import LazyMixtures, collate, members_of, pair, plan_of, sets_of
from course_utils.splits import SplitError
from course_utils.taxonomy import Taxonomy

HALF = Recipe(joint="slots", slot_seconds=0.5)
ONE = dataclasses.replace(HALF, n_clips=1)
THREE = dataclasses.replace(HALF, n_clips=3)
SMALL = {"width": 2, "n_mels": 16, "hop_length": 1024, "epochs": 2, "batch_size": 8, "accelerator": "cpu"}
ABC = Taxonomy(("a", "b", "c"))
# Of each layout: how it is made, how it is split, and whether its table names recordings.
LAYOUTS = {
    "esc50": (layouts.esc50, {"test_folds": (5,)}, True),
    "fsdkaggle2019": (layouts.fsdkaggle2019, {"split": "stratified"}, False),
    "fsd50k": (layouts.fsd50k, {"test_folds": (2,)}, False),
    "urban_sed": (layouts.urban_sed, {"test_folds": (1,)}, False),
    "row_per_label": (layouts.row_per_label, {"split": "stratified"}, None),
}


def in_one_line(columns):
    return ",".join(f"{name}={column}" for name, column in columns.items())


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request, tmp_path_factory):
    """A folder in somebody else's layout: its root, table, columns, and the configuration of a run on it."""
    make, split, are_known = LAYOUTS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    table, columns = make(root)
    config = Config(
        str(root),
        table=table or "",
        columns=in_one_line(columns or {}),
        recipe=HALF,
        **split,
        **SMALL,
        valid_fraction=0.2,
    )
    return root, table, columns, config, are_known


@pytest.fixture
def several(tmp_path):
    """Twenty clips of four recordings, with no, one, two or three of three labels, and their decoded copy."""
    names = ["a", "b", "c", "a, b", "b, c", "a, b, c", "a", ""]
    rows, rng = [], np.random.default_rng(0)
    for number in range(40):
        audio.write(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(11_025))
        labels = names[number % len(names)]
        rows.append({"file": f"{number}.wav", "recording": number // 2, "fold": number // 2 % 3, "labels": labels})
    pd.DataFrame(rows).to_csv(tmp_path / "clips.csv", index=False)
    return open_folder(tmp_path)


# --- other people's tables, from Python and at the command line -------------------------------------------------------


def test_any_layout_is_opened_mixed_trained_on_scored_reported_and_predicted(layout, tmp_path):
    root, table, columns, config, are_known = layout
    data = run_data.prepare(config, progress=False)
    sets = sets_of(data.test.plan, data.taxonomy)
    assert np.array_equal(
        sets, open_folder(root, table=table, columns=columns).label_sets[members_of(data.test.plan)].max(axis=1)
    )
    if are_known is not None:
        assert data.recordings_are_known == are_known
    state = training.train(config, tmp_path / "run", data, progress=False)
    assert state.epoch == 2 and np.isfinite(state.history[-1]["valid_exact_match"])
    result = inference.evaluate(tmp_path / "run", progress=False)
    assert np.array_equal(result.scores.multi_hot, sets)
    truth, scores = result.scores.multi_hot, result.scores.label_scores
    assert result.report["ranking"]["lrap"] == pytest.approx(sk.label_ranking_average_precision_score(truth, scores))
    assert result.report["intervals_over"] == ("recordings" if data.recordings_are_known else "clips")
    low, high = result.report["intervals"]["mAP"]
    assert 0 <= low <= high <= 1
    page.write_html(result, tmp_path / "report.html", "Somebody's clips")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in html for name in data.taxonomy.classes)
    heard = inference.predict(tmp_path / "run", root / data.test.cache.clips["path"][0], progress=False)
    assert set(heard.probabilities) == set(data.taxonomy.classes)


def test_any_layout_works_at_the_command_line_mixed_stored_and_unmixed(layout, tmp_path):
    root, table, columns, config, _ = layout
    where = ["--data", root]
    where += ["--table", table] if table else []
    where += ["--columns", in_one_line(columns)] if columns else []
    split = ["--split", config.split, "--valid-fraction", "0.2"]
    split += ["--test-folds", config.test_folds[0]] if config.split == "official" else []
    mel = ["--n-mels", 16, "--hop-length", 1024]
    tiny = ["--width", 2, "--epochs", 1, "--batch-size", 8, "--accelerator", "cpu"]
    call("mix", *where, *split, *mel, "--slot-seconds", 0.5, "--n-clips", 3, "--out", tmp_path / "set")
    call("train", "--data", tmp_path / "set", "--out", tmp_path / "stored", *tiny)
    found = json.loads(
        call("evaluate", "--run", tmp_path / "stored", "--json", "--report", tmp_path / "set.html").stdout
    )
    assert "worst mixtures" in (tmp_path / "set.html").read_text(encoding="utf-8")
    assert 0 < found["mAP"] <= 1 and "combinations" not in found and found["ranking"]["coverage_error"] >= 0
    call("train", *where, *split, *mel, "--n-clips", 1, "--slot-seconds", 0.5, "--out", tmp_path / "unmixed", *tiny)
    said = call("evaluate", "--run", tmp_path / "unmixed", "--report", tmp_path / "report.html").output
    assert "clips, not mixed: train" in said and "lrap" in said
    assert ("recordings are not known" in said.lower()) == (found["intervals_over"] == "clips")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    sound = next(path for path in sorted(root.rglob("*.wav")))
    assert call("predict", "--run", tmp_path / "unmixed", sound).output.startswith(str(sound))


def test_the_columns_are_given_once_and_may_be_others_for_other_clips(tmp_path):
    """`evaluate` takes table and columns from the run, unless it is told others."""
    table, columns = layouts.fsdkaggle2019(tmp_path / "mine")
    config = Config(
        str(tmp_path / "mine"), table=table, columns=in_one_line(columns), split="stratified", recipe=ONE, **SMALL
    )
    training.train(config, tmp_path / "run", progress=False)
    own = inference.evaluate(tmp_path / "run", progress=False).report
    (tmp_path / "mine").rename(tmp_path / "moved")
    found = inference.evaluate(tmp_path / "run", data=str(tmp_path / "moved"), progress=False).report
    assert found == own  # the same clips, which have moved
    clips = pd.read_csv(tmp_path / "moved" / table).rename(columns={"fname": "sound", "labels": "tags"})
    (tmp_path / "moved" / table).unlink()
    clips.to_csv(tmp_path / "moved" / "other.csv", index=False)
    told = {"table": "other.csv", "columns": "file=sound,labels=tags"}
    assert inference.evaluate(tmp_path / "run", data=str(tmp_path / "moved"), **told, progress=False).report == own
    with pytest.raises(
        DatasetError, match=r"no table train_curated.csv. .*\. Table and columns are those of the run; if"
    ):
        inference.evaluate(tmp_path / "run", data=str(tmp_path / "moved"), progress=False)


@pytest.mark.parametrize("text", ["file", "file=", "=a", "file=a,file=b", "file=a,,labels=b"])
def test_columns_that_cannot_be_read_say_how_to_write_them(text):
    with pytest.raises(
        ConfigurationError, match=r"^columns: .* is not name=column, or repeats a name; write file=fname,labels=tags$"
    ):
        Config("mini", columns=text)
    assert (
        names_of_columns(" file = a b , labels=c=d ") == {"file": "a b", "labels": "c=d"} and names_of_columns("") == {}
    )


def test_other_clips_may_lack_some_of_the_classes_and_have_none_besides(tmp_path):
    for name, classes in (
        ("all", ("dog", "rain", "siren", "wind")),
        ("some", ("dog", "siren")),
        ("else", ("cat", "dog")),
    ):
        table, columns = layouts.esc50(tmp_path / name, classes)
    where = {"table": table, "columns": in_one_line(columns)}
    config = Config(str(tmp_path / "all"), **where, test_folds=(5,), recipe=HALF, **SMALL)
    training.train(config, tmp_path / "run", progress=False)
    result = inference.evaluate(tmp_path / "run", data=str(tmp_path / "some"), progress=False)
    truth = result.scores.multi_hot
    assert truth.shape[1] == 4 and truth.any(axis=0).tolist() == [True, False, True, False]
    assert result.report["without_positives"]["labels"] == ["rain", "wind"]
    with pytest.raises(
        DatasetError, match=r"has classes that the network does not know \(cat\); it knows dog, rain, siren"
    ):
        inference.evaluate(tmp_path / "run", data=str(tmp_path / "else"), progress=False)


def test_with_other_folds_in_the_table_the_audit_says_nothing_of_the_training(tmp_path):
    table, columns = layouts.esc50(tmp_path / "mine")
    config = Config(
        str(tmp_path / "mine"), table=table, columns=in_one_line(columns), test_folds=(5,), recipe=HALF, **SMALL
    )
    training.train(config, tmp_path / "run", progress=False)
    same = inference.evaluate(tmp_path / "run", folds=(5,), progress=False)
    assert same.notes[-1] == "audit: none of 12 test items shares a recording with training"
    clips = pd.read_csv(tmp_path / "mine" / table)
    clips.assign(fold=clips["fold"] % 5 + 1).to_csv(tmp_path / "mine" / "other.csv", index=False)
    other = inference.evaluate(tmp_path / "run", table="other.csv", folds=(5,), progress=False)
    assert other.notes[-1] == "audit: what these clips share with the training of this run is not known"


def test_a_page_of_many_classes_shows_the_best_and_the_worst(tmp_path):
    names = tuple(f"class number {i} with a long name" for i in range(40))
    make_dataset(tmp_path / "many", folds=2, recordings=2, slices=1, classes=names)
    config = Config(str(tmp_path / "many"), test_folds=(2,), recipe=ONE, **SMALL | {"epochs": 1})
    training.train(config, tmp_path / "run", progress=False)
    result = inference.evaluate(tmp_path / "run", progress=False)
    page.write_html(result, tmp_path / "report.html", "Forty classes")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The pictures show 30 of 40 classes" in html and "worst clips" in html and "begins at the left" not in html
    ranked = sorted(result.report["per_class"].items(), key=lambda item: item[1]["average_precision"])
    shown = html.split("Bars, average precision: ")[1].split('"')[0]
    assert ranked[0][0] in shown and ranked[-1][0] in shown and shown.count("class number") == 30


# --- label sets and combinations --------------------------------------------------------------------------------------


def with_labels(cache):
    """The same decoded clips, their classes given as label sets."""
    return dataclasses.replace(cache, clips=cache.clips.assign(labels=cache.clips["class"]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("joint", ["concatenate", "slots", "overlay"])
def test_label_sets_of_at_most_two_give_the_batches_that_combinations_give(cache, joint, seed):
    taxonomy, recipe = Taxonomy(), dataclasses.replace(HALF, joint=joint)
    batches = []
    for clips in (cache, with_labels(cache)):
        plan = pair(clips.clips, np.arange(len(cache)), taxonomy, recipe, rng=np.random.default_rng(seed))
        part = LazyMixtures(clips, plan, taxonomy, recipe, fresh_rows=np.arange(len(cache)), seed=seed)
        part.set_epoch(2)
        batches.append(collate([part[row] for row in range(40)], taxonomy))
        if clips is cache:
            ids = collate([(part[row][0], int(part.plan["combination"][row])) for row in range(40)], taxonomy)
            assert part.plan["combination"][:40].tolist() == batches[0].combination.tolist()
    assert "combination" not in part.plan
    for other in (batches[1], ids):
        assert all(torch.equal(one, two) for one, two in zip(batches[0], other, strict=True))
        assert torch.equal(batches[0].combination, other.combination)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10, 23])
def test_every_combination_comes_back_from_its_label_set(n_classes):
    taxonomy = Taxonomy(tuple(f"class {i}" for i in range(n_classes)))
    everything = np.arange(taxonomy.n_combinations)
    sets = taxonomy.multi_hot(everything)
    batch = mixing.Batch(torch.zeros(len(sets), 1), torch.ones(len(sets)), torch.from_numpy(sets))
    assert batch.combination.tolist() == everything.tolist() == taxonomy.from_multi_hot(sets).tolist()
    assert np.array_equal(taxonomy.from_set_names(map(taxonomy.set_name, sets)), sets)


def test_label_sets_of_at_most_two_train_and_score_as_combinations_do(tones, tmp_path, monkeypatch):
    config = Config(str(tones), test_folds=(3,), recipe=HALF, **SMALL)
    known = run_data.prepare(config, progress=False)
    classic = training.train(config, tmp_path / "classic", known, progress=False)
    as_clips = inference.evaluate_on(tmp_path / "classic", known, progress=False)
    monkeypatch.setattr(run_data, "open_clips", lambda *_: (open_folder(tones), with_labels(known.test.cache)))
    split = partial(splits.official, known.test.cache.clips, (3,), seed=0)
    monkeypatch.setattr(
        run_data, "clip_split", lambda *_: split()
    )  # label sets stratify their validation part otherwise
    data = run_data.prepare(config, progress=False)
    assert data.are_coded is False or not data.are_pairs
    other = training.train(config, tmp_path / "sets", data, progress=False)
    for one, two in zip(classic.history, other.history, strict=True):
        assert {k: one[k] for k in ("train_loss", "valid_loss", "valid_mAP")} == {
            k: two[k] for k in ("train_loss", "valid_loss", "valid_mAP")
        }
    as_sets = inference.evaluate_on(tmp_path / "sets", data, progress=False)
    assert np.array_equal(as_clips.scores.label_scores, as_sets.scores.label_scores)
    for name in ("mAP", "labels", "ranking", "per_class", "threshold"):
        assert as_clips.report[name] == as_sets.report[name]
    assert as_clips.report["intervals"]["mAP"] == as_sets.report["intervals"]["mAP"]


def test_a_label_set_of_none_or_three_has_no_combination():
    for row in ([0, 0, 0], [1, 1, 1]):
        batch = collate([(torch.ones(2), torch.tensor(row))], ABC)
        with pytest.raises(ValueError, match=r"^some label sets hold no class, or more than two"):
            _ = batch.combination


def test_the_head_of_combinations_is_for_sets_of_one_or_two_classes(several, tones, tmp_path):
    config = Config(str(several.root), split="stratified", recipe=ONE, head="combinations", **SMALL)
    with pytest.raises(ConfigurationError, match="the head `combinations` is for label sets of one or two classes"):
        run_data.prepare(config, progress=False)
    triples = Config(str(tones), test_folds=(3,), recipe=THREE, head="combinations", **SMALL)
    with pytest.raises(ConfigurationError, match="use the head `labels`"):
        training.train(triples, tmp_path / "triples", progress=False)
    assert not (tmp_path / "triples" / "last.pt").exists()
    unmixed = dataclasses.replace(triples, recipe=ONE)
    training.train(unmixed, tmp_path / "unmixed", progress=False)
    report = inference.evaluate(tmp_path / "unmixed", progress=False).report
    assert report["mixtures"] == 40 and "combinations" in report


# --- mixtures of one to four clips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_clips", [1, 2, 3, 4])
@pytest.mark.parametrize("joint", ["concatenate", "slots", "overlay"])
def test_a_mixture_has_the_union_of_the_labels_of_its_clips_and_their_sounds(several, n_clips, joint):
    if (n_clips, joint) == (1, "overlay"):
        pytest.skip("there is nothing to lay over one clip")
    cache, recipe = ClipCache.open(several, progress=False), dataclasses.replace(HALF, n_clips=n_clips, joint=joint)
    plan = pair(cache.clips, np.arange(40), several.taxonomy, recipe, rng=np.random.default_rng(1))
    assert len(plan) == (40 if n_clips == 1 else 120 // n_clips)
    part, members = LazyMixtures(cache, plan, several.taxonomy, recipe), members_of(plan)
    assert members.shape == (len(plan), n_clips) and list(plan.columns[:n_clips]) == list(mixing.SIDES[:n_clips])
    lengths = mixing.lengths_of(cache, plan, recipe)
    for row in range(0, len(plan), 7):
        sound, multi_hot = part[row]
        assert np.array_equal(multi_hot, several.label_sets[members[row]].max(axis=0))
        assert plan["labels"][row] == several.taxonomy.set_name(multi_hot)
        clips = [cache[clip] for clip in members[row]]
        assert len(sound) == lengths[row]
        if joint != "overlay":
            assert np.array_equal(sound, np.concatenate(clips))


def test_a_clip_that_is_not_mixed_occurs_once_whatever_the_replicas(cache):
    plan = pair(cache.clips, np.arange(len(cache)), Taxonomy(), ONE, rng=np.random.default_rng(0))
    assert (
        plan["first"].tolist() == list(range(len(cache))) and plan["labels"].tolist() == cache.clips["class"].tolist()
    )


def test_clips_that_are_not_mixed_are_cut_to_a_slot_and_said_to_be_or_taken_whole(several):
    recipe = dataclasses.replace(ONE, slot_seconds=0.3)
    config = Config(str(several.root), split="stratified", recipe=recipe, **SMALL)
    cut = run_data.prepare(config, progress=False)
    says = (
        "40 of 40 clips are longer than a slot of 0.3 s and are cut; to keep them whole, choose joint concatenate, or make "
        "the slots longer (slot_seconds)"
    )
    assert says in cut.notes and len(cut.test[0][0]) == round(0.3 * 22_050)
    whole = run_data.prepare(
        dataclasses.replace(config, recipe=dataclasses.replace(recipe, joint="concatenate")), progress=False
    )
    assert len(whole.test[0][0]) == 11_025 and not any("cut" in note for note in whole.notes)
    assert not any(
        "cut" in note for note in run_data.prepare(dataclasses.replace(config, recipe=ONE), progress=False).notes
    )


def test_clips_laid_over_the_first_have_their_own_snr_over_it_and_onset():
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (2000, 1000, 500)]
    recipe = Recipe(joint="overlay", n_clips=3)
    mixture = mixing.join(clips, recipe, levels=[(6.0, 0.01), (-3.0, 0.05)], sample_rate=10_000)
    rest = mixture - audio.fit_length(clips[0], len(mixture))
    power = [float(np.mean(np.square(clip, dtype=np.float64))) for clip in clips]
    for start, number, snr in ((100, 1, 6.0), (500, 2, -3.0)):
        gain = np.sqrt(power[0] / power[number]) * 10 ** (-snr / 20)
        rest[start : start + len(clips[number])] -= np.float32(gain) * clips[number]
    assert np.abs(rest).max() < 1e-6
    two = mixing.overlay(clips[0], clips[1], 6.0, 0.01, 10_000)
    assert np.array_equal(two, mixing.join(clips[:2], recipe, levels=[(6.0, 0.01)], sample_rate=10_000))


def test_three_clips_get_the_same_energy():
    clips = [np.full(n, level, np.float32) for n, level in ((4, 0.1), (9, 0.3), (2, 0.7))]
    energies = [float(np.square(clip, dtype=np.float64).sum()) for clip in clips]
    scaled = mixing.equalize_energy(*clips)
    assert [float((clip**2).sum()) for clip in scaled] == pytest.approx([np.mean(energies)] * 3)


@pytest.mark.parametrize("members", [[0, 1], [[0, 1, 2, 3, 4]], [[0, 40]], [[-1]], np.zeros((2, 0), int)])
def test_mixtures_of_no_clip_or_of_clips_that_are_not_there_are_refused(several, members):
    with pytest.raises(ValueError, match=r"^the clips of mixtures are \[N, 1\] to \[N, 4\], rows from 0 to 39; got"):
        plan_of(np.array(members), several.clips, several.taxonomy)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_clips": 0}, "n_clips must be at least 1 and at most 4, not 0"),
        ({"n_clips": 5}, "n_clips must be at least 1 and at most 4, not 5"),
        ({"n_clips": 3, "balanced": True}, "balanced draws pairs of classes, for n_clips 2, not 3"),
        ({"n_clips": 1, "joint": "overlay"}, "an overlay is of two clips or more"),
    ],
)
def test_recipes_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigurationError, match=f"^{says}"):
        Recipe(**options)


def test_label_sets_are_not_drawn_in_balanced_pairs(several):
    with pytest.raises(ConfigurationError, match=r"^balanced draws pairs of classes, and some clips carry no label"):
        pair(several.clips, np.arange(40), several.taxonomy, Recipe(balanced=True), rng=np.random.default_rng(0))


def test_triples_are_trained_on_and_scored(tones, tmp_path):
    """Three tones in turn: after some epochs the network names them far better than chance."""
    config = Config(
        str(tones),
        test_folds=(3,),
        recipe=THREE,
        **SMALL | {"width": 8, "epochs": 20, "n_mels": 64, "hop_length": 512, "learning_rate": 0.01},
        spec_augment=False,
    )
    data = run_data.prepare(config, progress=False)
    assert not data.are_coded and not data.are_pairs and data.test_recordings.shape == (40, 3)
    training.train(config, tmp_path, data, progress=False)
    result = inference.evaluate_on(tmp_path, data, progress=False)
    report = result.report
    assert report["mAP"] > report["baselines"]["chance"]["mAP"] + 0.2
    assert result.scores.combination is None and "combinations" not in report
    named = result.scores.label_scores >= report["threshold"]
    assert report["exact_match"] == np.mean((named == result.scores.multi_hot.astype(bool)).all(axis=1))


@pytest.mark.parametrize("form", ["mel", "wav"])
@pytest.mark.parametrize("joint", ["slots", "overlay"])
def test_a_stored_set_of_label_sets_gives_back_what_was_mixed(several, tmp_path, form, joint):
    recipe = dataclasses.replace(THREE, joint=joint)
    cache, taxonomy = ClipCache.open(several, progress=False), several.taxonomy
    plan = pair(cache.clips, np.arange(40), taxonomy, recipe, rng=np.random.default_rng(0), split="train")
    plan.loc[30:, "split"] = "test"
    storage.write_set(tmp_path / "set", form, cache, plan, taxonomy=taxonomy, recipe=recipe, progress=False)
    stored = storage.StoredMixtures(tmp_path / "set")
    lazy = LazyMixtures(cache, plan, taxonomy, recipe)
    for row in range(len(plan)):
        assert torch.equal(stored[row][1], lazy[row][1])
        if form == "wav":
            expected = lazy[row][0] / max(1.0, float(lazy[row][0].abs().max()))
            assert (stored[row][0] - expected).abs().max() < 1e-4
    assert storage.audit(stored.plan) == splits.audit(cache.clips, members_of(plan)[:30], members_of(plan)[30:])
    recordings, are_known = storage.recordings_of(stored.plan)
    assert are_known and np.array_equal(recordings, cache.clips["fsID"].to_numpy()[members_of(plan)])


def test_labels_and_files_with_names_that_look_like_numbers_or_nothing_are_stored_as_they_are(tmp_path):
    rows = [("007", "NaN"), ("08", "1, NaN"), ("9", ""), ("10", "1"), ("11", "NA"), ("12", "1")]
    for name, _ in rows:
        audio.write(tmp_path / "clips" / f"{name}.wav", np.full(11_025, 0.1))
    pd.DataFrame(rows, columns=["file", "labels"]).to_csv(tmp_path / "clips" / "t.csv", index=False)
    data = open_folder(tmp_path / "clips")
    cache, recipe = ClipCache.open(data, progress=False), dataclasses.replace(HALF, shuffle=False, replicas=1)
    plan = pair(cache.clips, np.arange(6), data.taxonomy, recipe, rng=np.random.default_rng(0), split="test")
    storage.write_set(tmp_path / "set", "wav", cache, plan, taxonomy=data.taxonomy, recipe=recipe, progress=False)
    stored = storage.StoredMixtures(tmp_path / "set")
    assert data.taxonomy.classes == ("1", "NA", "NaN") and stored.plan["labels"].tolist() == ["1 + NaN", "1", "1 + NA"]
    assert stored.plan["first_slice_file_name"].tolist() == ["007", "9", "11"]
    assert stored.plan["first_class"].tolist() == ["NaN", "", "NA"]
    assert all(torch.equal(stored[row][1], torch.from_numpy(sets_of(plan, data.taxonomy)[row])) for row in range(3))


# --- what was made before ---------------------------------------------------------------------------------------------


def test_a_stored_set_from_before_there_were_label_sets_is_read_and_finished(tones, tmp_path):
    config = Config(str(tones), test_folds=(3,), recipe=HALF, **SMALL)
    data = run_data.prepare(config, progress=False)
    plan = pd.concat([data.train.plan, data.test.plan], ignore_index=True)
    write = partial(
        storage.write_set,
        tmp_path / "set",
        "mel",
        data.test.cache,
        plan,
        taxonomy=data.taxonomy,
        recipe=HALF,
        progress=False,
    )
    write()
    made = json.loads((tmp_path / "set" / "set.json").read_text())
    del made["recipe"]["n_clips"]
    (tmp_path / "set" / "set.json").write_text(json.dumps(made))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    write()
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    stored = run_data.prepare(Config(str(tmp_path / "set"), recipe=HALF), progress=False)
    assert stored.are_pairs and stored.are_coded and stored.recordings_are_known
    with pytest.raises(DatasetError, match=r"mixtures of 2 clips, 3 asked for \(n_clips\)"):
        run_data.prepare(Config(str(tmp_path / "set"), recipe=THREE), progress=False)


def test_a_run_from_before_there_were_label_sets_goes_on(tones, tmp_path):
    config = Config(str(tones), test_folds=(3,), recipe=HALF, **SMALL)
    training.train(config, tmp_path, progress=False, on_epoch=lambda state: True)
    for name in ("last.pt", "best.pt"):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        for new in ("table", "columns"):
            del checkpoint["config"][new]
        del checkpoint["config"]["recipe"]["n_clips"]
        torch.save(checkpoint, tmp_path / name)
    assert training.train(config, tmp_path, progress=False).epoch == 2
    assert inference.evaluate(tmp_path, progress=False).report["mixtures"] == 60


# --- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_recording", [1, 4])
def test_a_stratified_split_gives_every_class_its_share_and_keeps_recordings_together(seed, per_recording):
    rng, n = np.random.default_rng(seed), 600
    rare_to_frequent = rng.random((n, 5)) < np.array([0.04, 0.1, 0.2, 0.4, 0.7])
    sets = rare_to_frequent[np.arange(n) // per_recording * per_recording]  # one recording: one label set
    taxonomy = Taxonomy(tuple("abcde"))
    clips = pd.DataFrame({"fsID": np.arange(n) // per_recording, "labels": [taxonomy.set_name(row) for row in sets]})
    split = splits.stratified(clips, seed, valid_fraction=0.25)
    for role, share in zip(splits.ROLES, (0.6, 0.2, 0.2), strict=True):
        rows = split.rows(role)
        assert len(rows) == pytest.approx(share * n, abs=2 * per_recording)
        assert sets[rows].sum(axis=0) == pytest.approx(share * sets.sum(axis=0), abs=2 * per_recording)
    parts = clips.assign(role=split.roles).groupby("fsID")["role"].nunique()
    assert parts.max() == 1
    assert np.array_equal(split.roles, splits.stratified(clips, seed, valid_fraction=0.25).roles)
    assert not np.array_equal(split.roles, splits.stratified(clips, seed + 1, valid_fraction=0.25).roles)


def test_a_stratified_split_without_recordings_takes_every_clip_for_its_own():
    clips = pd.DataFrame({"fsID": np.nan, "fold": np.nan, "labels": ["a", "b", "a + b", ""] * 25})
    split = splits.stratified(clips, 0)
    assert [len(split.rows(role)) for role in splits.ROLES] == [72, 8, 20]
    found = splits.audit(clips, split.rows("train"), split.rows("test"))
    assert found.recording is None and not found.is_clean and found.recordings == ()
    assert found.describe().endswith("a clip 0 (0.0%), all clips 0 (0.0%); how many share a recording is not known")
    with pytest.raises(
        SplitError, match=r"^the table has no folds; use --split stratified or --split clips, or name the column"
    ):
        splits.official(clips, [1])
    with pytest.raises(SplitError, match="nothing is left for test"):
        splits.stratified(clips, 0, test_fraction=0.0)


def test_the_validation_part_of_label_sets_has_every_class(several):
    split = splits.official(several.clips, [2], valid_fraction=0.25)
    recording = several.clips["fsID"].to_numpy()
    assert not set(recording[split.rows("train")]) & set(recording[split.rows("valid")])
    assert several.label_sets[split.rows("valid")].any(axis=0).all()


@pytest.mark.parametrize("n", [6, 22, 60])
@pytest.mark.parametrize("seed", range(5))
def test_every_part_of_label_sets_has_a_clip_of_every_class_that_can_be_spared(n, seed):
    """Of a class of which training has two recordings, one validates, unless another class would lose its last."""
    rng = np.random.default_rng(seed)
    taxonomy = Taxonomy(tuple("abcdef"))
    sets = rng.random((n, 6)) < 0.3
    clips = pd.DataFrame({"fsID": range(n), "fold": 1, "labels": [taxonomy.set_name(row) for row in sets]})
    clips = pd.concat([clips, clips.assign(fold=2, fsID=clips["fsID"] + n)], ignore_index=True)
    split = splits.official(clips, [2])
    train, valid = sets[split.rows("train")], sets[split.rows("valid")]
    assert len(valid) >= 1 and train.any(axis=0).tolist() == sets.any(axis=0).tolist()
    for column in np.flatnonzero(~valid.any(axis=0)):
        for row in np.flatnonzero(train[:, column]):
            assert (train[:, train[row]].sum(axis=0) < 2).any()


def test_parts_in_which_nothing_has_a_label_are_refused(several):
    table = pd.read_csv(several.root / "clips.csv", keep_default_na=False)
    config = Config(str(several.root), valid_folds=(1,), test_folds=(2,), recipe=ONE, **SMALL)
    for fold, role in ((1, "valid"), (2, "test")):
        table.assign(labels=table["labels"].where(table["fold"] != fold, "")).to_csv(
            several.root / "clips.csv", index=False
        )
        with pytest.raises(DatasetError, match=f"no clip for {role} has a label; choose other folds, or another split"):
            run_data.prepare(config, progress=False)


def test_a_share_of_clips_with_many_labels_is_hardly_more_than_the_share():
    rng, taxonomy = np.random.default_rng(0), Taxonomy(tuple(f"class{i}" for i in range(20)))
    sets = np.argsort(rng.random((400, 20)), axis=1) < 5
    clips = pd.DataFrame({"fsID": range(400), "labels": [taxonomy.set_name(row) for row in sets]})
    whole = splits.ClipSplit(np.array(["train"] * 400, dtype=object), clips.iloc[:0])
    for share in (0.05, 0.25, 0.5):
        rows = splits.thin(whole, clips, share, seed=0).rows("train")
        assert 400 * share <= len(rows) <= 400 * share + 2 and sets[rows].any(axis=0).all()


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_share_of_label_sets_is_part_of_a_larger_share(several, share):
    clips, whole = several.clips, splits.official(several.clips, [2])
    some = splits.thin(whole, clips, share, seed=1)
    more = splits.thin(whole, clips, min(1.0, share + 0.2), seed=1)
    assert set(some.rows("train")) <= set(more.rows("train")) and len(some.rows("train"))
    assert np.array_equal(some.rows("test"), whole.rows("test"))


def test_a_part_with_too_few_clips_to_mix_is_refused(several):
    few = several.clips.iloc[:8][["slice_file_name", "labels"]].assign(fold=[1] * 6 + [2] * 2)
    few.to_csv(several.root / "clips.csv", index=False)
    config = Config(str(several.root), test_folds=(2,), recipe=dataclasses.replace(THREE, replicas=1), **SMALL)
    with pytest.raises(DatasetError, match="too few clips for test: a mixture takes 3"):
        run_data.prepare(config, progress=False)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--n-clips", 1, "--replicas", 2], "--replicas is for mixtures; with --n-clips 1 nothing is mixed"),
        (["--n-clips", 1, "--equalize-energy"], "--equalize-energy is for mixtures"),
        (["--n-clips", 7], "n_clips must be at least 1 and at most 4, not 7"),
        (
            ["--n-clips", 3, "--head", "combinations", "--test-folds", 3],
            "the head `combinations` is for label sets of one or two classes",
        ),
        (["--split", "stratified", "--test-folds", 3], "--split stratified takes no folds"),
        (["--columns", "file"], "write file=fname,labels=tags"),
        (["--table", "none.csv"], "none.csv"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_sentence(tones, tmp_path, options, says):
    result = call("train", "--data", tones, "--out", tmp_path / "run", *options, code=2)
    assert says in result.output and not (tmp_path / "run" / "last.pt").exists()


def test_a_stored_set_takes_no_table(tones, tmp_path):
    out = tmp_path / "set"
    call("mix", "--data", tones, "--out", out, "--test-folds", 3, "--slot-seconds", 0.5, "--n-mels", 16)
    assert (
        "leave table and columns out"
        in call("train", "--data", out, "--out", tmp_path, "--table", "a.csv", code=2).output
    )


# --- real clips -------------------------------------------------------------------------------------------------------


def test_real_clips_are_mixed_by_threes_and_stratified(real_root):
    data = datasets.load(real_root)
    split = splits.stratified(data.clips, 0)
    recording = data.clips["fsID"].to_numpy()
    assert not set(recording[split.rows("test")]) & set(recording[split.rows("train")])
    counts = data.label_sets[split.rows("test")].sum(axis=0) / data.label_sets.sum(axis=0)
    assert (counts > 0.1).all() and (counts < 0.3).all()
    plan = pair(data.clips, split.rows("train"), data.taxonomy, THREE, rng=np.random.default_rng(0), split="train")
    sets = sets_of(plan, data.taxonomy)
    assert np.array_equal(sets, data.label_sets[members_of(plan)].max(axis=1)) and sets.sum(axis=1).max() == 3
    found = evaluation.report(sets, None, sets * 0.9, None, taxonomy=data.taxonomy, threshold=0.5)
    assert found["exact_match"] == found["mAP"] == found["ranking"]["lrap"] == 1.0
