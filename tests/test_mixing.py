import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils import mixing, splits
from course_utils.configuration import Recipe
from course_utils.datasets import read_metadata
from course_utils.mixing import LazyMixtures, collate, overlay, pair, render
from course_utils.taxonomy import Taxonomy

TEN = Taxonomy()


def plan_of(cache, recipe=None, seed=0):
    return pair(
        cache.clips, np.arange(len(cache)), TEN, recipe or Recipe(), rng=np.random.default_rng(seed), split="train"
    )


def test_the_reports_recipe_makes_13098_mixtures_of_55_combinations(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    plan = pair(clips, np.arange(len(clips)), TEN, Recipe(), rng=np.random.default_rng(0))
    assert len(plan) == 13_098 and plan["combination"].nunique() == 55
    uses = Counter(plan["first"]) + Counter(plan["second"])
    assert set(uses.values()) == {3} and len(uses) == 8_732
    assert np.array_equal(TEN.combination_id(plan["first_class"], plan["second_class"]), plan["combination"])
    assert (plan["first_class"] == clips["classID"].to_numpy()[plan["first"]]).all()
    same = (plan["first_class"] == plan["second_class"]).mean()
    assert same == pytest.approx(0.107, abs=0.01)


def test_without_the_shuffle_neighbours_join(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    plan = pair(clips, np.arange(len(clips)), TEN, Recipe(shuffle=False), rng=np.random.default_rng(0))
    assert (plan["second"] - plan["first"] == 1).mean() > 0.99
    recording = clips["fsID"].to_numpy()
    assert (recording[plan["first"]] == recording[plan["second"]]).mean() > 0.5


ABC = Taxonomy(("a", "b", "c"))
FIVE = pd.DataFrame({"classID": [0, 0, 1, 2, 1]})
COLUMNS = ["first", "second", "first_class", "second_class", "combination", "split"]


def test_a_plan_by_hand():
    plan = mixing.plan_of(np.array([[4, 0], [3, 3], [0, 3]]), FIVE, ABC, "valid")
    assert plan.columns.tolist() == COLUMNS
    assert plan.to_numpy().tolist() == [
        [4, 0, 1, 0, 1, "valid"],
        [3, 3, 2, 2, 5, "valid"],
        [0, 3, 0, 2, 2, "valid"],
    ]
    assert set(mixing.plan_of(np.array([[4, 0]]), FIVE, ABC)["split"]) == {""}
    assert set(pair(FIVE, np.arange(5), ABC, Recipe(), rng=np.random.default_rng(0))["split"]) == {""}


@pytest.mark.parametrize(
    ("recipe", "pairs"),
    [
        (Recipe(), [[0, 2], [2, 4], [4, 2], [0, 4]]),  # three clips three times are nine: one is left over
        (Recipe(replicas=1), [[2, 4]]),
        (Recipe(replicas=2, shuffle=False), [[4, 0], [2, 4], [0, 2]]),
        (Recipe(balanced=True), [[2, 4], [0, 0], [0, 4], [2, 4]]),  # a + b, a + a and b + b, and one of them again
    ],
    ids=["three replicas", "one", "not shuffled", "balanced"],
)
def test_pairs_of_a_seed_are_the_same_on_every_machine(recipe, pairs):
    plan = pair(FIVE, np.array([4, 0, 2]), ABC, recipe, rng=np.random.default_rng(0), split="test")
    assert plan[["first", "second"]].to_numpy().tolist() == pairs
    assert plan.columns.tolist() == COLUMNS and set(plan["split"]) == {"test"}


def test_levels_and_onsets_of_a_seed_are_the_same_on_every_machine():
    recipe = Recipe(joint="overlay", snr_range=6, max_onset=1.5)
    plan = pair(FIVE, np.array([4, 0, 2]), ABC, recipe, rng=np.random.default_rng(0), split="test")
    assert plan.columns.tolist() == [*COLUMNS, "snr", "onset"]
    assert plan["snr"].tolist() == [1.28, 2.75, 0.52, 5.22]
    assert plan["onset"].tolist() == [1.224, 0.004, 1.286, 0.05]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(balanced=True)])
@pytest.mark.parametrize("rows", [[], [3]])
def test_too_few_clips_make_an_empty_plan(recipe, rows):
    recipe = dataclasses.replace(recipe, replicas=1)
    plan = pair(FIVE, np.array(rows), ABC, recipe, rng=np.random.default_rng(0))
    assert len(plan) == 0 and plan.columns.tolist() == COLUMNS
    assert plan["first"].dtype == np.int64


def test_each_part_has_random_numbers_of_its_own(cache):
    split = splits.official(cache.clips, [3])
    plan = mixing.plan_by_clips(cache.clips, split, TEN, Recipe(balanced=True), seed=7)
    expected = [
        pair(
            cache.clips,
            split.rows(role),
            TEN,
            Recipe(balanced=role == "train"),
            rng=np.random.default_rng([7, n]),
            split=role,
        )
        for n, role in enumerate(["train", "valid", "test"])
    ]
    pd.testing.assert_frame_equal(plan, pd.concat(expected).reset_index(drop=True))
    assert plan.index.tolist() == list(range(len(plan)))


def test_an_odd_clip_is_left_over(cache):
    plan = pair(cache.clips, np.arange(5), TEN, Recipe(replicas=1), rng=np.random.default_rng(0))
    assert len(plan) == 2


def test_splitting_first_keeps_the_parts_apart(cache):
    split = splits.official(cache.clips, [3])
    plan = mixing.plan_by_clips(cache.clips, split, TEN, Recipe(), seed=0)
    for role in splits.ROLES:
        part = plan[plan["split"] == role]
        assert set(part["first"]) | set(part["second"]) == set(split.rows(role))


def test_a_butt_joint_is_both_clips(cache):
    mixture = render(cache, 3, 50, Recipe(joint="concatenate"))
    assert np.array_equal(mixture, np.concatenate([cache[3], cache[50]]))


def test_slots_have_their_length(cache):
    mixture = render(cache, 3, 50, Recipe(joint="slots", slot_seconds=0.75))
    slot = round(0.75 * 22_050)
    assert len(mixture) == 2 * slot
    assert np.array_equal(mixture[: len(cache[3])], cache[3]) and not mixture[len(cache[3]) : slot].any()
    assert np.array_equal(mixture[slot : slot + len(cache[50])], cache[50])
    cut = render(cache, 3, 50, Recipe(joint="slots", slot_seconds=0.1))
    assert np.array_equal(cut[:2205], cache[3][:2205]) and len(cut) == 4410


def test_equal_energies():
    rng = np.random.default_rng(0)
    loud, soft = rng.standard_normal(1000).astype(np.float32), 0.01 * rng.standard_normal(300).astype(np.float32)
    scaled = mixing.equalize_energy(loud, soft)
    energies = [float((x.astype(np.float64) ** 2).sum()) for x in scaled]
    assert energies[0] == pytest.approx(energies[1], rel=1e-5)
    assert sum(energies) == pytest.approx(float((loud**2).sum() + (soft**2).sum()), rel=1e-4)
    silent = np.zeros(10, np.float32)
    assert mixing.equalize_energy(loud, silent)[0] is loud


def test_equal_energies_by_hand():
    """Energies of 25 and 9 become 17, their mean: amplitudes by √(17 / 25) and √(17 / 9)."""
    scaled = mixing.equalize_energy(np.float32([3, 4]), np.float32([-2, 2, 1]))
    assert [x.dtype for x in scaled] == [np.float32, np.float32]
    assert scaled[0] == pytest.approx(np.array([3, 4]) * (17 / 25) ** 0.5, rel=1e-6)
    assert scaled[1] == pytest.approx(np.array([-2, 2, 1]) * (17 / 9) ** 0.5, rel=1e-6)


def test_a_mixture_is_equalized_only_on_request(cache):
    plain, equal = (render(cache, 3, 50, Recipe(equalize_energy=wanted)) for wanted in (False, True))
    n = len(cache[3])
    assert np.array_equal(plain, np.concatenate([cache[3], cache[50]]))
    assert np.array_equal(equal, np.concatenate(mixing.equalize_energy(cache[3], cache[50])))
    assert power(equal[:n]) == pytest.approx(power(equal[n:]), rel=1e-5)


WRONG_RECIPES = [
    {"replicas": 0},
    {"joint": "glue"},
    {"slot_seconds": 0.0},
    {"slot_seconds": float("inf")},
    {"snr_range": -1.0},
    {"max_onset": float("inf")},
    {"max_onset": float("nan")},
    {"balanced": True, "shuffle": False},
    {"equalize_energy": True, "joint": "overlay"},
]


@pytest.mark.parametrize("wrong", WRONG_RECIPES, ids=str)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_a_recipe_knows_how_long_its_mixtures_get():
    assert Recipe(slot_seconds=3.0).seconds == 6.0
    assert Recipe(joint="overlay", slot_seconds=4.0, max_onset=1.5).seconds == 5.5


# --- overlays ---------------------------------------------------------------------------------------------------------


def power(samples):
    return float(np.mean(samples.astype(np.float64) ** 2))


@settings(deadline=None)
@given(
    lengths=st.tuples(st.integers(1, 4_000), st.integers(1, 4_000)),
    levels=st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)),
    snr=st.floats(-40, 40),
    onset=st.floats(0, 0.2),
    seed=st.integers(0, 99),
)
def test_an_overlay_has_its_snr_and_its_onset(lengths, levels, snr, onset, seed):
    rng = np.random.default_rng(seed)
    first, second = (
        np.float32(level) * rng.choice([-1, 1], n).astype(np.float32) for level, n in zip(levels, lengths, strict=True)
    )
    mixture, start = overlay(first, second, snr, onset), round(onset * 22_050)
    assert mixture.dtype == np.float32 and len(mixture) == max(len(first), start + len(second))
    added = mixture.astype(np.float64)
    added[: len(first)] -= first
    assert not added[:start].any() and not added[start + len(second) :].any()
    added = added[start : start + len(second)]
    assert 10 * np.log10(power(first) / power(added)) == pytest.approx(snr, abs=0.1)
    scale = added @ second.astype(np.float64) / (second.astype(np.float64) @ second)
    assert np.allclose(added, scale * second, atol=1e-5)


def test_an_overlay_by_hand():
    """The first has power 1, the second 1/4: at 0 dB it is doubled, at 20 log10(2) = 6.02 dB it stays."""
    first, second, onset = np.ones(4, np.float32), np.float32([0.5, -0.5]), 3 / 22_050
    assert overlay(first, second, 0.0, 0.0) == pytest.approx([2, 0, 1, 1])
    assert overlay(first, second, 20 * np.log10(2), onset) == pytest.approx([1, 1, 1, 1.5, -0.5])
    assert overlay(second, first, -20 * np.log10(2), 1 / 22_050) == pytest.approx([0.5, 0.5, 1, 1, 1])


def test_silence_begins_100_decibels_below_full_scale():
    """Amplitudes of 0.99e-5 and 1.01e-5 have powers just below and just above 1e-10."""
    loud, silent, soft = (np.full(4, level, np.float32) for level in (0.5, 0.99e-5, 1.01e-5))
    for joined in (overlay(loud, silent, 0.0, 0.0), overlay(silent, loud, 0.0, 0.0)):
        assert joined == pytest.approx(np.full(4, 0.5 + 0.99e-5), rel=1e-6)
    assert overlay(loud, soft, 0.0, 0.0) == pytest.approx(np.ones(4))
    assert overlay(soft, loud, 0.0, 0.0) == pytest.approx(np.full(4, 2.02e-5))
    assert mixing.equalize_energy(loud, silent)[1] is silent
    scaled = mixing.equalize_energy(loud, soft)
    assert power(scaled[0]) == pytest.approx(power(scaled[1])) and power(scaled[1]) == pytest.approx(1 / 8)


def test_without_levels_an_overlay_begins_at_once_and_is_equally_loud(cache):
    mixture = render(cache, 3, 50, Recipe(joint="overlay"))
    assert np.array_equal(mixture, overlay(cache[3], cache[50], 0.0, 0.0))


@pytest.mark.parametrize("silent", [np.zeros(50), np.full(50, 1e-9), np.full(50, 1e-42), np.zeros(0)])
def test_what_is_next_to_silent_is_not_scaled(silent):
    noise, silent = np.random.default_rng(0).standard_normal(100).astype(np.float32), silent.astype(np.float32)
    assert np.allclose(overlay(noise, silent, 10.0, 0.0), noise, atol=1e-8)
    assert np.allclose(overlay(silent, noise, 10.0, 0.0), noise, atol=1e-8)
    for pair_of_clips in ((noise, silent), (silent, noise)):
        assert all(map(np.array_equal, mixing.equalize_energy(*pair_of_clips), pair_of_clips))


def test_clips_are_not_written_to():
    noise = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    kept = noise.copy()
    overlay(noise, noise, 0.0, 0.0)
    assert np.array_equal(noise, kept)  # the cache's clips are not written to


def test_overlays_of_real_clips_have_their_snr(real_root):
    from course_utils.datasets import ClipCache, load

    cache = ClipCache.open(load(real_root), progress=False)
    plan = pair(cache.clips, np.arange(60), TEN, Recipe(joint="overlay", replicas=1), rng=np.random.default_rng(0))
    for row in plan.itertuples():
        mixture = render(cache, row.first, row.second, Recipe(joint="overlay"), snr=row.snr, onset=row.onset)
        first, start = cache[row.first], round(row.onset * 22_050)
        mixture[: len(first)] -= first
        added = mixture[start : start + len(cache[row.second])]
        assert 10 * np.log10(power(first) / power(added)) == pytest.approx(row.snr, abs=0.1)


def test_snr_and_onset_are_drawn_evenly_from_their_ranges(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    recipe = Recipe(joint="overlay", snr_range=6.0, max_onset=3.0)
    plan = pair(clips, np.arange(len(clips)), TEN, recipe, rng=np.random.default_rng(0))
    for values, low, high in ((plan["snr"], -6.0, 6.0), (plan["onset"], 0.0, 3.0)):
        assert values.between(low, high).all()
        counts, _ = np.histogram(values, bins=4, range=(low, high))
        assert counts == pytest.approx(len(plan) / 4, rel=0.05)
    assert not {"snr", "onset"} & set(pair(clips, np.arange(9), TEN, Recipe(), rng=np.random.default_rng(0)))


@pytest.mark.parametrize("joint", ["concatenate", "slots", "overlay"])
def test_the_length_of_a_mixture_is_known_before(cache, joint):
    recipe = Recipe(joint=joint, slot_seconds=0.3, max_onset=0.4)
    mixtures = LazyMixtures(cache, plan_of(cache, recipe), TEN, recipe)
    rendered = [len(mixtures[row][0]) for row in range(len(mixtures))]
    lengths = mixing.lengths_of(cache, mixtures.plan, recipe)
    assert lengths.dtype == np.int64 and lengths.tolist() == rendered


def test_what_to_render_is_the_clips_and_the_levels():
    plan = pd.DataFrame({"snr": [3, -1], "onset": [1, 0], "second": [4, 5], "first": [2, 0]})
    pairs, levels = mixing.what_to_render(plan)
    assert pairs.tolist() == [[2, 4], [0, 5]]
    assert levels.dtype == np.float64 and levels.tolist() == [[[3.0, 1.0]], [[-1.0, 0.0]]]
    joined = mixing.what_to_render(plan[["first", "second"]])[1]
    assert joined.dtype == np.float64 and joined.tolist() == [[[0, 0]], [[0, 0]]]


def test_the_lazy_form_renders_overlays(cache):
    recipe = Recipe(joint="overlay", max_onset=0.3)
    mixtures = LazyMixtures(cache, plan_of(cache, recipe), TEN, recipe)
    row = mixtures.plan.iloc[7]
    expected = overlay(cache[row["first"]], cache[row["second"]], row["snr"], row["onset"])
    assert np.array_equal(mixtures[7][0].numpy(), expected)
    assert expected.shape[0] <= round(0.8 * 22_050)


# --- balanced pairs ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(0, 30), min_size=2, max_size=10).filter(lambda sizes: sum(sizes) > 1),
    replicas=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_balanced_pairs_are_flat_in_combinations_and_in_clips(sizes, replicas, seed):
    taxonomy = Taxonomy(tuple(f"class {i}" for i in range(len(sizes))))
    clips = pd.DataFrame({"classID": np.repeat(np.arange(len(sizes)), sizes)})
    recipe = Recipe(balanced=True, replicas=replicas)
    plan = pair(clips, np.arange(len(clips)), taxonomy, recipe, rng=np.random.default_rng(seed))
    assert len(plan) == len(clips) * replicas // 2
    present = [combination for combination, (a, b) in enumerate(taxonomy.pairs) if sizes[a] and sizes[b]]
    counts = plan["combination"].value_counts().reindex(present, fill_value=0)
    assert counts.sum() == len(plan) and counts.max() - counts.min() <= 1
    uses = Counter(plan["first"]) + Counter(plan["second"])
    for label in range(len(sizes)):
        of_class = [uses[row] for row in np.flatnonzero(clips["classID"] == label)]
        assert not of_class or max(of_class) - min(of_class) <= 1
    labels = clips["classID"].to_numpy()
    assert np.array_equal(taxonomy.combination_id(labels[plan["first"]], labels[plan["second"]]), plan["combination"])


def test_balanced_pairs_of_the_full_set_are_238_or_239_of_each_combination_in_both_orders(real_root):
    clips = read_metadata(real_root / "metadata" / "UrbanSound8K.csv")
    plan = pair(clips, np.arange(len(clips)), TEN, Recipe(balanced=True), rng=np.random.default_rng(0))
    assert set(plan["combination"].value_counts()) == {238, 239} and len(plan) == 13_098
    unlike = plan[plan["first_class"] != plan["second_class"]]
    assert (unlike["first_class"] < unlike["second_class"]).mean() == pytest.approx(0.5, abs=0.02)
    replicated = pair(clips, np.arange(len(clips)), TEN, Recipe(), rng=np.random.default_rng(0))
    counts = replicated["combination"].value_counts()
    assert counts.max() / counts.min() > 8  # what there was to balance


def test_only_the_training_part_is_balanced(cache):
    split = splits.official(cache.clips, [3])
    plain, balanced = (
        mixing.plan_by_clips(cache.clips, split, TEN, recipe, seed=0) for recipe in (Recipe(), Recipe(balanced=True))
    )
    for role in ("valid", "test"):
        pd.testing.assert_frame_equal(plain[plain["split"] == role], balanced[balanced["split"] == role])
    counts = balanced[balanced["split"] == "train"]["combination"].value_counts()
    assert counts.max() - counts.min() <= 1 and len(counts) == 55


# --- batches and the lazy form ----------------------------------------------------------------------------------------


def test_batches_are_filled_up_and_carry_lengths_and_labels():
    items = [(torch.ones(5), 0), (torch.ones(3), 1), (torch.ones(4), 54)]
    batch = collate(items, TEN)
    assert batch.audio.shape == (3, 5) and batch.lengths.tolist() == [5, 3, 4]
    assert batch.audio.sum(dim=1).tolist() == [5, 3, 4]
    assert batch.multi_hot.sum(dim=1).tolist() == [1, 2, 1] and batch.combination.tolist() == [0, 1, 54]
    assert collate(items, TEN, at_least=9).audio.shape == (3, 9)
    mels = collate([(torch.zeros(64, 4), 3), (torch.zeros(64, 2), 3)], TEN)
    assert mels.audio.shape == (2, 64, 4) and (mels.audio[1, :, 2:] == -100).all() and mels.lengths.tolist() == [4, 2]


def test_a_batch_of_one_and_an_empty_sound():
    batch = collate([(torch.zeros(64, 3), 9)], TEN, at_least=5)
    assert batch.audio.shape == (1, 64, 5) and batch.audio[0, 0].tolist() == [0, 0, 0, -100, -100]
    assert batch.lengths.tolist() == [3] and batch.multi_hot[0].nonzero()[:, 0].tolist() == [0, 9]
    assert collate([(torch.ones(2), 0)], TEN, at_least=1).audio.tolist() == [[1, 1]]
    assert collate([(torch.ones(0), 0)], TEN).audio.shape == (1, 0)
    kinds = [part.dtype for part in batch]
    assert kinds == [torch.float32, torch.int64, torch.float32]


def test_the_lengths_of_a_batch_stay_where_they_are():
    batch = collate([(torch.ones(2), 0), (torch.ones(3), 1)], TEN)
    moved = batch.to(torch.device("meta"))
    assert [part.device.type for part in moved] == ["meta", "cpu", "meta"]
    assert [part.shape for part in moved] == [part.shape for part in batch] and moved.lengths is batch.lengths


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (5, 0), (5, 2)])
def test_fresh_pairs_depend_on_the_seed_and_the_epoch(cache, seed, epoch):
    rows = np.arange(10, 70)
    mixtures = LazyMixtures(
        cache, plan_of(cache).assign(split="train").iloc[:1], TEN, Recipe(), fresh_rows=rows, seed=seed
    )
    mixtures.set_epoch(epoch)
    rng = np.random.default_rng([seed, epoch, 3])  # the seed of the run, the epoch, and the number of this use
    pd.testing.assert_frame_equal(mixtures.plan, pair(cache.clips, rows, TEN, Recipe(), rng=rng, split="train"))
    assert len(mixtures) == 90 and set(mixtures.plan["split"]) == {"train"}
    unlike = LazyMixtures(cache, plan_of(cache), TEN, Recipe(), fresh_rows=rows, seed=seed + 1)
    unlike.set_epoch(epoch)
    assert not mixtures.plan.equals(unlike.plan)
    if seed == 0:
        default = LazyMixtures(cache, plan_of(cache), TEN, Recipe(), fresh_rows=rows)
        default.set_epoch(epoch)
        pd.testing.assert_frame_equal(default.plan, mixtures.plan)


def test_fresh_pairs_differ_by_epoch_and_are_the_same_for_the_same_epoch(cache):
    mixtures = LazyMixtures(cache, plan_of(cache), TEN, Recipe(), fresh_rows=np.arange(len(cache)), seed=5)
    plans = []
    for epoch in (0, 1, 0):
        mixtures.set_epoch(epoch)
        plans.append(mixtures.plan[["first", "second"]].to_numpy())
    assert np.array_equal(plans[0], plans[2]) and not np.array_equal(plans[0], plans[1])
    assert sorted(plans[0].ravel()) == sorted(plans[1].ravel())
    sound, multi_hot = mixtures[3]
    assert TEN.from_multi_hot(multi_hot) == mixtures.plan["combination"][3]
    assert np.array_equal(sound.numpy(), render(cache, *plans[2][3], Recipe()))


def test_fixed_pairs_stay(cache):
    mixtures = LazyMixtures(cache, plan_of(cache), TEN, Recipe())
    before = mixtures.plan
    mixtures.set_epoch(7)
    assert mixtures.plan is before


@pytest.mark.parametrize(("snr", "onset"), [(np.nan, 0.0), (np.inf, 0.0), (0.0, -0.1), (0.0, np.nan), (0.0, np.inf)])
def test_an_overlay_that_cannot_be_is_refused(snr, onset):
    with pytest.raises(ValueError, match="snr must be a number of dB, and onset 0 or more seconds"):
        overlay(np.ones(4, np.float32), np.ones(4, np.float32), snr, onset)


@pytest.mark.parametrize("mix", [lambda *two: overlay(*two, 0.0, 0.0), mixing.equalize_energy])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sounds_that_are_not_finite_are_not_mixed(mix, value):
    good, bad = np.ones(4, np.float32), np.array([0, value, 0], np.float32)
    for two in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="NaN or infinite"):
            mix(*two)


@pytest.mark.parametrize("pairs", [[1, 2, 3], [[-1, 0]], [[0, 4]], [[0, 1, 2, 3, 0]]])
def test_pairs_of_rows_that_are_not_there_are_refused(pairs):
    clips = pd.DataFrame({"classID": [3, 8, 3, 8]})
    with pytest.raises(ValueError, match=r"the clips of mixtures are \[N, 1\] to \[N, 4\], rows from 0 to 3; got"):
        mixing.plan_of(np.array(pairs), clips, TEN)
