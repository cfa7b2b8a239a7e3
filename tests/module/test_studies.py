"""The studies as they are written down: consistent, and each run fit to be made. Nothing is trained here."""

import re
from dataclasses import replace

import pytest
import torch

from focalbook import experiments
from focalbook.anchors import make_anchors
from focalbook.experiments import plan_of, runs
from focalbook.intervals import FEWEST, detectable
from focalbook.matching import BACKGROUND, IGNORED, Matches, match
from focalbook.records import RECORDS, path_of
from focalbook.scenes import TEST, TRAIN, VALIDATION, render
from focalbook.studies import CLAIMS, FIRST, FOLDS, LADDER, MAP, PLATELET_RIVALS, RIVALS, SECOND, STUDIES, VERSIONS
from focalbook.training import LOSSES, TrainSettings, class_losses

ARMS = [(study, arm) for study, plan in STUDIES.items() for arm in plan.arms]
CHOOSING = ("choice", "choice at batch 4", "settings", "difficulty", "platelet settings")
OTHERS = [study for study in STUDIES if study not in CHOOSING]


@pytest.fixture(params=[0, -1], ids=["first chosen", "last chosen"])
def choice(monkeypatch, request):
    """The first, or the last, of the versions, of the rates and of the rungs as if they had been chosen."""

    def chosen(family, study="choice"):
        plan = STUDIES[study]
        arms = [(arm, spec.lrs or plan.lrs) for arm, spec in plan.arms.items() if spec.like == family]
        return arms[request.param][0], arms[request.param][1][request.param]

    rung = dict(scenes=list(LADDER.values())[request.param], steps=(2400, 4800)[request.param])
    monkeypatch.setattr(experiments, "chosen", chosen)
    monkeypatch.setattr(experiments, "chosen_rung", lambda study: rung)


# ---- choosing ----


@pytest.mark.parametrize("study, families", [("choice", VERSIONS), ("settings", RIVALS)])
def test_each_version_of_each_family_is_an_arm_of_the_choice_with_its_loss(study, families):
    arms = {version: (arm.like, arm.loss) for version, arm in STUDIES[study].arms.items()}
    assert arms == {
        version: (family, loss) for family, versions in families.items() for version, loss in versions.items()
    }
    assert len(arms) == sum(map(len, families.values()))  # no name twice


def test_every_loss_chooses_from_as_many_settings_by_as_many_runs():
    candidates = dict.fromkeys(RIVALS, 0)
    for arm in STUDIES["settings"].arms.values():
        candidates[arm.like] += len(arm.lrs)
    assert set(candidates.values()) == {6} and len(STUDIES["settings"].seeds) >= 4


def test_on_platelets_too_and_the_fold_that_is_reported_takes_no_part():
    candidates = dict.fromkeys(PLATELET_RIVALS, 0)
    for arm in STUDIES["platelet settings"].arms.values():
        family, _, fold = arm.like.rpartition(", fold ")
        candidates[family] += len(arm.lrs)
        scenes = arm.changes["scenes"]
        assert scenes.omit == int(fold) != scenes.judge
    assert set(candidates.values()) == {4 * FOLDS} and set(PLATELET_RIVALS) == set(RIVALS)
    for arm in STUDIES["platelets"].arms.values():
        assert arm.changes["scenes"].judge == int(arm.like.rpartition(", fold ")[2])
        assert arm.changes["scenes"].omit is None


@pytest.mark.parametrize(
    "edition, choice, verdict", [(FIRST, "choice", "verdict"), (SECOND, "settings", "focus or scale")]
)
def test_the_choice_is_made_first_and_with_all_else_as_in_the_verdict(edition, choice, verdict):
    assert next(iter(edition)) == choice
    assert STUDIES[choice].settings == STUDIES[verdict].settings
    assert not any(arm.changes for arm in STUDIES[choice].arms.values())


def test_the_second_edition_reports_on_seeds_that_the_first_has_not_used():
    used = {seed for plan in FIRST.values() for seed in plan.seeds}
    assert not used & {seed for name, plan in SECOND.items() if name not in CHOOSING for seed in plan.seeds}


def test_a_primary_claim_compares_two_arms_of_its_study_over_enough_seeds():
    for claim in CLAIMS:
        plan = STUDIES[claim.study]
        arms = {arm.partition(", fold ")[0] for arm in plan.arms}
        assert {claim.ours, claim.rival} <= arms and claim.ours != claim.rival and plan.collection == TEST
        in_folds = len(arms) < len(plan.arms)
        assert FOLDS >= FEWEST if in_folds else len(plan.seeds) >= 8 and plan.spread
        assert claim.expected and (claim.margin is None or claim.margin > 0)


def test_a_study_with_a_primary_claim_can_resolve_what_is_claimed_and_the_verdict_one_hundredth():
    assert all(detectable(plan.spread, len(plan.seeds)) <= 0.021 for plan in SECOND.values() if plan.spread)
    assert detectable(SECOND["focus or scale"].spread, len(SECOND["focus or scale"].seeds)) <= 0.01


def test_the_choice_is_made_on_validation_scenes_and_all_others_report_on_test_scenes():
    assert {study: plan.collection for study, plan in STUDIES.items()} == {
        study: VALIDATION if study in CHOOSING else TEST for study in STUDIES
    }


def test_a_study_takes_its_rates_from_one_that_chooses_with_its_batch():
    for study, plan in STUDIES.items():
        if not plan.lrs and not all(arm.lrs for arm in plan.arms.values()):
            assert plan.rates_from in CHOOSING and plan.settings == STUDIES[plan.rates_from].settings, study
            assert list(STUDIES).index(plan.rates_from) < list(STUDIES).index(study)


def scenes_of(study):
    """The training scenes of each run of a study, as half-open ranges of their indices."""
    plan = STUDIES[study]
    for arm in plan.arms.values():
        settings = replace(plan.settings, **arm.changes)
        for seed in plan.seeds:
            yield seed * settings.steps * settings.batch, (seed + 1) * settings.steps * settings.batch


@pytest.mark.parametrize("study", OTHERS)
@pytest.mark.parametrize("choosing", CHOOSING)
def test_the_seeds_of_the_choice_are_used_by_no_other_study_and_its_training_scenes_neither(study, choosing):
    assert not set(STUDIES[choosing].seeds) & set(STUDIES[study].seeds)
    chosen_on = set(scenes_of(choosing))
    assert all(end <= first or last <= start for start, end in set(scenes_of(study)) for first, last in chosen_on)


def test_the_named_losses_are_families():
    assert set(LOSSES) <= set(VERSIONS)


@pytest.mark.parametrize("study", OTHERS)
def test_every_arm_is_like_a_family(study):
    families = {arm.like for arm in STUDIES[STUDIES[study].rates_from].arms.values()}
    assert {arm.like for arm in STUDIES[study].arms.values()} <= families


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_a_question_arms_and_seeds_that_differ(study):
    plan = STUDIES[study]
    assert plan.question.endswith("?") or re.search(r"\? \(.*\)$", plan.question)
    assert plan.arms and plan.seeds and len(set(plan.seeds)) == len(plan.seeds)
    assert len(set(plan.lrs)) == len(plan.lrs) and plan.dtype in ("float32", "float64") and plan.scenes >= 0
    assert plan.drawn <= plan.scenes and (plan.scenes or plan.reader)


@pytest.mark.parametrize("study", STUDIES)
def test_a_factor_is_not_set_where_the_rates_are_given(study):
    assert not STUDIES[study].lrs or all(arm.factor == 1 for arm in STUDIES[study].arms.values())


# ---- each run is fit to be made ----


def tiny_batch():
    """Two images: two positives, an ignored anchor and background in the first, background alone in the second."""
    labels = torch.full((2, 8), BACKGROUND)
    labels[0, :3] = torch.tensor([0, 2, IGNORED])
    return torch.linspace(-4, 4, 48, dtype=torch.float64).view(2, 8, 3), Matches(labels, torch.zeros(2, 8, 4))


@pytest.mark.parametrize("study, arm", ARMS)
def test_every_arm_has_valid_settings_and_a_loss_that_is_finite(choice, study, arm):
    lr = next(lr for name, lr, _ in runs(study) if name == arm)
    loss, settings = plan_of(study, arm, lr)
    assert isinstance(settings, TrainSettings) and settings.lr == lr > 0
    assert all(getattr(settings, name) == value for name, value in STUDIES[study].arms[arm].changes.items())
    logits, matches = tiny_batch()
    losses = class_losses(logits.requires_grad_(), matches, **loss)
    losses.sum().backward()
    assert losses.isfinite().all() and losses.sum() > 0 and logits.grad.isfinite().all()
    assert (losses[0, 2] == 0).all()  # ignored


def test_no_two_arms_of_a_study_are_the_same_run(choice):
    for study, plan in STUDIES.items():
        made = [repr(plan_of(study, arm, lr)) for arm, lr, seed in runs(study) if seed == plan.seeds[0]]
        assert len(set(made)) == len(made), study


def test_every_run_of_every_study_has_its_own_place(choice):
    places = [str(path_of(study, *run).relative_to(RECORDS)) for study in STUDIES for run in runs(study)]
    assert len({place.casefold() for place in places}) == len(places)  # on Windows and macOS too
    rates = [(plan, arm.lrs or plan.lrs or (None,)) for plan in STUDIES.values() for arm in plan.arms.values()]
    assert len(places) == sum(len(plan.seeds) * len(lrs) for plan, lrs in rates)
    for place in places:
        assert re.fullmatch(r"[\w-]+/[\w.%-]+\.json", place.replace("\\", "/"))


# ---- the map ----


def imbalance(scenes, count):
    """Negatives for each positive on the first training scenes."""
    _, boxes, labels = render(range(count), TRAIN, scenes)
    labels = match(make_anchors(scenes.size), boxes, labels).labels
    return ((labels == BACKGROUND).sum() / (labels >= 0).sum()).item()


def test_the_map_goes_from_mild_to_severe_imbalance():
    points = [imbalance(scenes, 4 if scenes.size > 200 else 16) for scenes in MAP.values()]
    assert points == sorted(points) and points[0] < 50 and points[-1] > 2000


def test_the_map_holds_each_point_with_each_of_the_three_losses():
    arms = STUDIES["map"].arms.values()
    found = [(arm.like, arm.changes["scenes"]) for arm in arms]
    assert sorted(map(repr, found)) == sorted(repr((name, scenes)) for name in LOSSES for scenes in MAP.values())
