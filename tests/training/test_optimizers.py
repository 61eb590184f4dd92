from __future__ import annotations

import pytest
import torch

from gatework.errors import InputError
from gatework.training import ParameterGroup, TrainingOptions
from gatework.training.optimizers import (
    build_optimizer,
    clip_gradients,
    drop_frozen_gradients,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from tests.tolerances import close_to


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.tensor([[1.0, -2.0]])).square().sum().backward()
    optimizer.step()


def test_decay_is_of_matrices_only() -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = build_optimizer(model, TrainingOptions(weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {id(model.weight): 0.1, id(model.bias): 0.0}


def test_frozen_parameters_are_left_out() -> None:
    model = torch.nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(model, TrainingOptions())
    assert [p is model.weight for group in optimizer.param_groups for p in group["params"]] == [True]
    model.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        build_optimizer(model, TrainingOptions())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_restored_optimizer_goes_on_to_the_bit(name: str) -> None:
    options = TrainingOptions(optimizer=name, momentum=0.9, weight_decay=0.1)  # type: ignore[arg-type]
    model = torch.nn.Linear(2, 3)
    optimizer = build_optimizer(model, options)
    for _ in range(3):
        step(model, optimizer)
    twin = torch.nn.Linear(2, 3)
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, options)
    load_optimizer_tensors(restored, optimizer_tensors(optimizer))
    for _ in range(2):
        step(model, optimizer)
        step(twin, restored)
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_options_reach_the_optimizer() -> None:
    sgd = build_optimizer(
        torch.nn.Linear(2, 3), TrainingOptions(optimizer="sgd", momentum=0.7, weight_decay=0.1)
    )
    assert [(g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [(0.7, 0.1), (0.7, 0.0)]
    adamw = build_optimizer(torch.nn.Linear(2, 3), TrainingOptions(betas=(0.5, 0.6)))
    assert adamw.param_groups[0]["betas"] == (0.5, 0.6)
    set_learning_rate(adamw, 0.125)
    assert [group["lr"] for group in adamw.param_groups] == [0.125]


@pytest.mark.parametrize(("clip_norm", "scale"), [(0.0, 1.0), (100.0, 1.0), (1.0, 0.2)])
def test_clipping_scales_to_the_norm_and_returns_the_one_before(clip_norm: float, scale: float) -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(2, requires_grad=True)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([0.0, -4.0])
    assert clip_gradients([a, b, torch.zeros(1)], clip_norm).item() == pytest.approx(5.0)
    assert a.grad.item() == close_to(3.0 * scale)
    assert b.grad[1].item() == close_to(-4.0 * scale)


# -- groups of parameters


def stack() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))


GROUPS = (ParameterGroup(("0.*",)), ParameterGroup(("1.weight", "1.bias")), ParameterGroup(("2.*",)))


def rules(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, tuple[float, float, float]]:
    found = {
        id(p): (group["factor"], group["frozen_until"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    return {name: found[id(p)] for name, p in model.named_parameters()}


def test_the_rates_fall_towards_the_input_and_groups_thaw_from_the_output() -> None:
    model = stack()
    options = TrainingOptions(layer_rate_decay=2.0, unfreeze_every=1.5, weight_decay=0.1)
    optimizer = build_optimizer(model, options, GROUPS)
    assert rules(optimizer, model) == {
        "0.weight": (0.25, 3.0, 0.1),
        "0.bias": (0.25, 3.0, 0.0),
        "1.weight": (0.5, 1.5, 0.1),
        "1.bias": (0.5, 1.5, 0.0),
        "2.weight": (1.0, 0.0, 0.1),
        "2.bias": (1.0, 0.0, 0.0),
    }
    set_learning_rate(optimizer, 0.1)
    assert {(g["factor"], g["lr"]) for g in optimizer.param_groups} == {
        (0.25, 0.025),
        (0.5, 0.05),
        (1.0, 0.1),
    }


def test_a_problems_own_factor_and_freeze_hold_beside_the_options() -> None:
    model = stack()
    groups = (ParameterGroup(("0.*",), factor=0.1, frozen_until=9.0), ParameterGroup(("*.weight",)))
    optimizer = build_optimizer(model, TrainingOptions(layer_rate_decay=2.0, unfreeze_every=1.0), groups)
    found = rules(optimizer, model)
    assert found["0.weight"] == (0.05, 9.0, 0.0)  # the first group that names it
    assert found["2.weight"] == (1.0, 0.0, 0.0)
    assert found["2.bias"] == (1.0, 0.0, 0.0)  # in no group


def test_parameters_of_the_same_rules_are_one_group_in_the_models_order() -> None:
    model = stack()
    (group,) = build_optimizer(model, TrainingOptions(), GROUPS).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_a_frozen_group_has_no_update_and_no_moments() -> None:
    model = stack()
    optimizer = build_optimizer(model, TrainingOptions(unfreeze_every=1.0), GROUPS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for epochs, moved in ((0.0, {"2"}), (0.99, {"2"}), (1.0, {"1", "2"}), (2.5, {"0", "1", "2"})):
        model(torch.tensor([[1.0, -2.0]])).square().sum().backward()
        drop_frozen_gradients(optimizer, epochs)
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        changed = {name[0] for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
        assert changed == moved
        known = {id(p) for p in optimizer.state}
        assert {name[0] for name, p in model.named_parameters() if id(p) in known} == moved


def test_groups_that_name_nothing_and_options_without_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameter of the model is called '3\.\*'"):
        build_optimizer(stack(), TrainingOptions(), [ParameterGroup(("3.*",))])
    for options in ({"unfreeze_every": 1.0}, {"layer_rate_decay": 2.6}):
        (name,) = options
        with pytest.raises(InputError, match=rf"option {name}: cannot be followed: .* in no groups"):
            build_optimizer(stack(), TrainingOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"0.exp_avg": torch.zeros(2, 2)},
            r"0\.exp_avg is torch\.float32 \(2, 2\), and should be .* \(3, 2\)",
        ),
        ({"0.exp_avg_sq": torch.zeros(3, 2, dtype=torch.float64)}, "is torch.float64"),
        ({"1.step": torch.zeros(3)}, r"1\.step is torch\.float32 \(3,\)"),
        ({"2.exp_avg": torch.zeros(3)}, "of parameter 2, and there are 2"),
        ({"-1.exp_avg": torch.zeros(3)}, "of parameter -1"),
        ({"x.exp_avg": torch.zeros(3)}, "invalid literal"),
    ],
)
def test_moments_that_do_not_fit_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = build_optimizer(model, TrainingOptions())
    step(model, optimizer)
    with pytest.raises(ValueError, match=message):
        load_optimizer_tensors(optimizer, optimizer_tensors(optimizer) | change)
