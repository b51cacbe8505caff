"""Counting, and the figures beside the counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proue.gateway import meter
from tests.gateway.world import COEFFICIENTS, WHOLE


def test_only_the_usage_object_changes_in_a_whole_answer():
    fields, usage = meter.usage_in(WHOLE)
    out = meter.splice(WHOLE, fields, usage, {"tier": "t"})
    before, after = WHOLE.split(bytes(fields["usage"]))
    assert out.startswith(before)
    assert out.endswith(after)
    assert json.loads(out)["usage"] == {**json.loads(WHOLE)["usage"], "impacts": {"tier": "t"}}


def test_the_same_object_elsewhere_in_the_answer_is_left_alone():
    body = b'{"choices":[{"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":1}}'
    fields, usage = meter.usage_in(body)
    out = json.loads(meter.splice(body, fields, usage, {}))
    assert out == {"choices": [{"usage": {"prompt_tokens": 1}}], "usage": {"prompt_tokens": 1, "impacts": {}}}


NAMES = ["prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"]
DETAILS = st.dictionaries(st.just("cached_tokens"), st.integers())
TOLD = st.none() | st.booleans() | st.integers() | st.text() | st.floats() | DETAILS


@given(st.dictionaries(st.sampled_from(NAMES), TOLD))
def test_counts_hold_whatever_an_engine_tells(usage):
    counts = meter.Counts(tokens_in=5)
    counts.told(usage)
    assert 0 <= counts.tokens_in_cached <= counts.tokens_in <= meter.MAX_TOKENS
    assert 0 <= counts.tokens_reasoning <= counts.tokens_out <= meter.MAX_TOKENS


def test_counts_are_the_engines_own():
    counts = meter.Counts(tokens_in=5)
    counts.told(json.loads(WHOLE)["usage"])
    assert counts == meter.Counts(9, 3, 4, 2, False)


def test_a_usage_without_counts_leaves_the_estimate():
    counts = meter.Counts(tokens_in=5)
    counts.told({"total_tokens": 3})
    assert counts == meter.Counts(5)


def test_figures_have_their_interval_and_their_unit():
    impact = meter.impact_of(COEFFICIENTS, meter.Counts(100, 0, 50), 1.0)
    figures = meter.impacts_json(impact)
    for figure in (figures["energy_wh"], figures["ghg_mg"]["marginal"], figures["ghg_mg"]["full"], figures["water_ml"]):
        assert 0 < figure["low"] < figure["value"] < figure["high"]
    assert figures["energy_wh"]["value"] == pytest.approx(impact.energy_uwh.value / 1e6)
    assert figures["ghg_mg"]["marginal"]["value"] == pytest.approx(figures["energy_wh"]["value"] * 21.3, rel=1e-3)
    assert figures["tier"] == "parametric"


def test_an_opaque_machine_has_no_figures_and_says_so():
    figures = meter.impacts_json(None)
    assert (figures["tier"], figures["energy_wh"], figures["ghg_mg"]) == (
        "opaque",
        None,
        {"marginal": None, "full": None},
    )
