"""Tests of onnxcomp.training.schedule."""

from __future__ import annotations

import math
import warnings

import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.schedule import SHAPES, Constant, Cosine, Linear, OneCycle, Step, parse


def rates(schedule, total):
    return [schedule.lr(step, total) for step in range(total)]


def test_cosine_rises_linearly_then_falls_as_half_a_cosine():
    found = rates(Cosine(peak=0.2, warmup=0.1), 100)
    assert found[:3] == pytest.approx([0.2 / 11, 0.4 / 11, 0.6 / 11], rel=1e-12)
    assert found[10] == 0.2 == max(found)
    assert found[55] == pytest.approx(0.1, rel=1e-12)
    assert found[11:] == sorted(found[11:], reverse=True)
    assert 0 < found[99] < 1e-3


def test_cosine_by_hand():
    # Half a cosine at 0, 60, 90 and 120 degrees: 1, 3/4, 1/2, 1/4; a floor of 1/5 takes the rest of it.
    assert [Cosine(peak=1.0).lr(step, 6) for step in (0, 2, 3, 4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    floored = Cosine(peak=10.0, floor=0.2)
    assert [floored.lr(step, 6) for step in (0, 2, 3, 4)] == pytest.approx([10, 8, 6, 4], rel=1e-12)


def test_linear_by_hand():
    assert rates(Linear(peak=1.0), 4) == [1, 0.75, 0.5, 0.25]
    assert rates(Linear(peak=2.0, floor=0.5), 4) == [2, 1.75, 1.5, 1.25]
    assert rates(Linear(peak=4.0, warmup=3), 7) == [1, 2, 3, 4, 3, 2, 1]


def test_step_by_hand():
    found = rates(Step(peak=1.0, milestones=(0.5, 0.75), gamma=0.5), 8)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates(Step(peak=1.0, warmup=1, milestones=(0.5,), gamma=0.5), 4) == [0.5, 1, 0.5, 0.5]


def test_constant_by_hand():
    assert rates(Constant(peak=3.0), 3) == [3, 3, 3]
    assert rates(Constant(peak=3.0, warmup=2), 4) == [1, 2, 3, 3]


def test_onecycle_by_hand():
    # 0.4 * 10 - 1 = 3 steps up, 6 down; half-way up and down are the means of the ends.
    cycle = OneCycle(peak=1.0, pct_start=0.4, div_factor=4, final_div_factor=10)
    assert [cycle.lr(step, 10) for step in (0, 3, 6, 9)] == pytest.approx([0.25, 1, (1 + 0.025) / 2, 0.025])
    assert cycle.lr(1, 10) == pytest.approx(0.25 + 0.75 * 0.25, rel=1e-12)  # 60 degrees
    found = [cycle.momentum(step, 10) for step in (0, 1, 3, 6, 9)]
    assert found == pytest.approx([0.95, 0.925, 0.85, 0.9, 0.95], rel=1e-12)


def test_only_onecycle_moves_the_momentum():
    for name in SHAPES:
        moves = parse(name, peak=1.0).momentum(3, 10) is not None
        assert moves == (name == "onecycle")
    assert OneCycle(peak=1.0, cycle_momentum=False).momentum(3, 10) is None


@pytest.mark.parametrize("total", [1, 2, 3, 10])
@pytest.mark.parametrize("name", SHAPES)
def test_the_shortest_runs_move(name, total):
    for warmup in (0.0, 0.5, 2) if name != "onecycle" else (0.0,):
        assert all(0 < rate <= 1 for rate in rates(parse(name, peak=1.0, warmup=warmup), total))


def test_warmup_is_a_share_or_a_number_of_steps():
    assert Cosine(peak=1.0, warmup=0.05).rising(200) == 10
    assert Cosine(peak=1.0, warmup=10).rising(200) == 10
    assert Cosine(peak=1.0, warmup=1).rising(200) == 1
    assert Cosine(peak=0.3).lr(0, 10) == 0.3


def test_parse_reads_names_and_options():
    assert parse("cosine", peak=0.1) == Cosine(peak=0.1, warmup=0.05)
    assert parse("cosine{}", peak=0.1, warmup=0) == Cosine(peak=0.1)
    expected = Step(peak=0.1, warmup=5, milestones=(0.3, 0.6, 0.8), gamma=0.2)
    assert parse(" step{milestones=[0.3, 0.6,0.8] gamma=0.2 } ", peak=0.1, warmup=5) == expected
    found = parse("onecycle{pct_start=0.2 cycle_momentum=false div_factor=10}", peak=0.1)
    assert found == OneCycle(peak=0.1, pct_start=0.2, cycle_momentum=False, div_factor=10.0)


@pytest.mark.parametrize(
    "schedule",
    [
        Cosine(peak=0.1, warmup=0.2),
        Cosine(peak=0.1, floor=0.01),
        Linear(peak=0.1, floor=0.5),
        Constant(peak=0.1),
        Step(peak=0.1, milestones=(0.1, 0.9), gamma=0.3),
        OneCycle(peak=0.1, cycle_momentum=False, final_div_factor=1e3),
    ],
)
def test_text_round_trips(schedule):
    assert parse(str(schedule), peak=0.1, warmup=schedule.warmup) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", r"--schedule: 'cosin' is no schedule; did you mean cosine\?"),
        ("x", "--schedule: 'x' is no schedule; choose one of cosine, step, onecycle, linear, constant"),
        ("step{gamma 0.1}", "--schedule: .* is malformed; write it as step{milestones="),
        ("step[gamma=1]", "is no schedule"),
        ("step{floor=0.1}", "--schedule: step has no option floor; its options are milestones, gamma"),
        ("constant{floor=0.1}", "constant has no option floor; it has none"),
        ("step{milestones=0.5}", r"milestones 0.5 of step is of the wrong kind; give one like \[0.5, 0.75\]"),
        ("step{gamma=low}", "gamma low of step is of the wrong kind"),
        ("cosine{floor=true}", "floor true of cosine is of the wrong kind"),
        ("onecycle{cycle_momentum=1}", "of the wrong kind; give one like true"),
        ("step{milestones=[0.5,0.5]}", "milestones .* of step is out of range; give increasing shares"),
        ("step{milestones=[30,60]}", "milestones .* is out of range"),
        ("step{milestones=[]}", "milestones .* is out of range"),
        ("step{gamma=0}", "gamma 0.0 of step is out of range; give above 0 to 1"),
        ("cosine{floor=1.5}", "floor 1.5 of cosine is out of range; give 0 to 1"),
        ("linear{floor=-1}", "floor -1.0 of linear is out of range"),
        ("linear{floor=NaN}", "floor nan of linear is out of range"),
        ("onecycle{pct_start=1}", "pct_start 1.0 of onecycle is out of range"),
        ("onecycle{div_factor=0.5}", "div_factor"),
        ("onecycle{final_div_factor=Infinity}", "final_div_factor"),
        ("onecycle{max_momentum=1}", "max_momentum"),
        ("onecycle{base_momentum=0.96}", "base_momentum 0.96 of onecycle is out of range"),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    with pytest.raises(TrainingError, match=message):
        parse(text, peak=0.1)


@pytest.mark.parametrize("peak", [0.0, -1.0, math.inf, math.nan])
def test_peak_out_of_range(peak):
    with pytest.raises(TrainingError, match=r"--lr: .* is out of range; give a number above 0"):
        Cosine(peak=peak)


@pytest.mark.parametrize("warmup", [-0.1, 1.5, math.inf, math.nan])
def test_warmup_out_of_range(warmup):
    with pytest.raises(TrainingError, match=r"--warmup: .* is out of range; give a share of the run"):
        Cosine(peak=0.1, warmup=warmup)


def test_onecycle_takes_no_warmup():
    with pytest.raises(TrainingError, match="--warmup: onecycle rises by itself"):
        parse("onecycle", peak=0.1, warmup=0.05)


def torch_rates(torch, make, total, momentum=False):
    """Learning rate and momentum of each step, as torch's schedulers set them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    found = []
    with warnings.catch_warnings():
        # SequentialLR steps its schedulers when it is made, and gives them an epoch.
        warnings.simplefilter("ignore", UserWarning)
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        for step in range(total):
            group = optimizer.param_groups[0]
            found.append(group["momentum"] if momentum else group["lr"])
            optimizer.step()
            if step + 1 < total:
                scheduler.step()
    return found


def warmed(rising, make):
    """``make`` behind a linear warm-up of ``rising`` steps."""

    def both(kinds, optimizer):
        if rising == 0:
            return make(kinds, optimizer)
        warm = kinds.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
        return kinds.SequentialLR(optimizer, [warm, make(kinds, optimizer)], milestones=[rising])

    return both


@pytest.mark.parametrize("rising", [0, 1, 7])
@pytest.mark.parametrize("total", [10, 97, 200])
def test_agrees_with_torch(total, rising):
    torch = pytest.importorskip("torch")
    rest = total - rising
    marks = [round(total * share) - rising for share in (0.5, 0.8)]
    for schedule, make in (
        (Cosine(0.1, rising), lambda k, o: k.CosineAnnealingLR(o, rest)),
        (Cosine(0.1, rising, floor=0.02), lambda k, o: k.CosineAnnealingLR(o, rest, eta_min=0.002)),
        (Linear(0.1, rising), lambda k, o: k.LinearLR(o, 1.0, 0.0, rest)),
        (Linear(0.1, rising, floor=0.3), lambda k, o: k.LinearLR(o, 1.0, 0.3, rest)),
        (Step(0.1, rising, (0.5, 0.8), 0.2), lambda k, o: k.MultiStepLR(o, marks, gamma=0.2)),
        (Constant(0.1, rising), lambda k, o: k.ConstantLR(o, 1.0)),
    ):
        expected = torch_rates(torch, warmed(rising, make), total)
        # torch computes a rate from the one before it, and its errors add up.
        assert rates(schedule, total) == pytest.approx(expected, rel=1e-12), schedule


@pytest.mark.parametrize("total", [2, 3, 7, 100, 333])
@pytest.mark.parametrize("options", [{}, {"pct_start": 0.45, "div_factor": 10.0, "final_div_factor": 100.0}])
def test_onecycle_agrees_with_torch(total, options):
    torch = pytest.importorskip("torch")
    schedule = OneCycle(peak=0.1, **options)

    def make(kinds, optimizer):
        return kinds.OneCycleLR(optimizer, 0.1, total_steps=total, **options)

    assert rates(schedule, total) == pytest.approx(torch_rates(torch, make, total), rel=1e-12)
    momenta = [schedule.momentum(step, total) for step in range(total)]
    assert momenta == pytest.approx(torch_rates(torch, make, total, momentum=True), rel=1e-12)
