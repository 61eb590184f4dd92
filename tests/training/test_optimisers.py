from __future__ import annotations

import pytest
import torch

from gatework.training import TrainingOptions
from gatework.training.optimisers import (
    build_optimiser,
    clip_gradients,
    load_optimiser_tensors,
    optimiser_tensors,
    set_learning_rate,
)


def step(model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    model(torch.tensor([[1.0, -2.0]])).square().sum().backward()
    optimiser.step()


def test_decay_is_of_matrices_only() -> None:
    model = torch.nn.Linear(2, 3)
    optimiser = build_optimiser(model, TrainingOptions(weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {id(model.weight): 0.1, id(model.bias): 0.0}


def test_frozen_parameters_are_left_out() -> None:
    model = torch.nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    optimiser = build_optimiser(model, TrainingOptions())
    assert [p is model.weight for group in optimiser.param_groups for p in group["params"]] == [True]
    model.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        build_optimiser(model, TrainingOptions())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_restored_optimiser_goes_on_to_the_bit(name: str) -> None:
    options = TrainingOptions(optimizer=name, momentum=0.9, weight_decay=0.1)  # type: ignore[arg-type]
    model = torch.nn.Linear(2, 3)
    optimiser = build_optimiser(model, options)
    for _ in range(3):
        step(model, optimiser)
    twin = torch.nn.Linear(2, 3)
    twin.load_state_dict(model.state_dict())
    restored = build_optimiser(twin, options)
    load_optimiser_tensors(restored, optimiser_tensors(optimiser))
    for _ in range(2):
        step(model, optimiser)
        step(twin, restored)
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_options_reach_the_optimiser() -> None:
    sgd = build_optimiser(
        torch.nn.Linear(2, 3), TrainingOptions(optimizer="sgd", momentum=0.7, weight_decay=0.1)
    )
    assert [(g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [(0.7, 0.1), (0.7, 0.0)]
    adamw = build_optimiser(torch.nn.Linear(2, 3), TrainingOptions(betas=(0.5, 0.6)))
    assert adamw.param_groups[0]["betas"] == (0.5, 0.6)
    set_learning_rate(adamw, 0.125)
    assert [group["lr"] for group in adamw.param_groups] == [0.125]


@pytest.mark.parametrize(("clip_norm", "scale"), [(0.0, 1.0), (100.0, 1.0), (1.0, 0.2)])
def test_clipping_scales_to_the_norm_and_returns_the_one_before(clip_norm: float, scale: float) -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(2, requires_grad=True)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([0.0, -4.0])
    assert clip_gradients([a, b, torch.zeros(1)], clip_norm).item() == pytest.approx(5.0)
    assert a.grad.item() == pytest.approx(3.0 * scale, rel=1e-5)
    assert b.grad[1].item() == pytest.approx(-4.0 * scale, rel=1e-5)
