"""Parts of the estimate that public measurements cannot hold: empty hours, and requests without an answer."""

import pytest

from proue.kernel import impact
from proue.kernel.impact import Hardware, Site, estimate, gpu_coefficients

SITE = Site(pue=1.0, grid_g_per_kwh=41.44, water_l_per_kwh=3.67, factor_set="test")


def coefficients(load: float = 0.3):
    return gpu_coefficients(Hardware(8, 8, load=load), SITE, tier="parametric", low=0.35, high=4.0)


def test_without_empty_hours_the_pool_is_the_host_alone():
    hardware = Hardware(8, 8, load=1.0)
    step = impact.STEP_ACTIVE_S * 8 + impact.STEP_BATCH_S * hardware.batch + impact.STEP_BASE_S
    assert coefficients(1.0).pool_joules_out == pytest.approx(impact.HOST_W_PER_GPU * step / hardware.batch)


def test_emptier_hours_weigh_more_on_each_answer():
    assert coefficients(0.1).pool_joules_out > coefficients(0.5).pool_joules_out > coefficients(1.0).pool_joules_out


def test_a_short_embedding_costs_something_and_a_short_prompt_is_inside_its_answer():
    def energy(tokens_in: int, tokens_out: int) -> int:
        one = estimate(coefficients(), tokens_in=tokens_in, tokens_in_cached=0, tokens_out=tokens_out, seconds=0)
        return one.energy_uwh.value

    assert energy(100, 0) > 0
    assert energy(100, 50) == energy(0, 50)
    assert energy(400, 50) > energy(0, 50)
