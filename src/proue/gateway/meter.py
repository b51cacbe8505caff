"""What one request used: tokens told by the engine, or counted; then energy, carbon and water. Pure."""

from typing import Any

import msgspec

from proue.kernel.impact import METHOD, Coefficients, estimate
from proue.wire.usage import Impact, Range

OPAQUE = "opaque"
MAX_TOKENS = 2**31 - 1  # what a column holds; an engine may say anything


class Counts(msgspec.Struct):
    """`estimated` until the engine tells."""

    tokens_in: int
    tokens_in_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0
    estimated: bool = True

    def told(self, usage: dict[str, Any]) -> None:
        """An OpenAI usage object; of a transcription, its tokens have other names. What is no count changes nothing."""
        tokens_in = count(usage.get("prompt_tokens", usage.get("input_tokens")))
        if tokens_in is None:
            return
        self.tokens_in = tokens_in
        self.tokens_out = count(usage.get("completion_tokens", usage.get("output_tokens"))) or 0
        self.tokens_in_cached = min(_detail(usage, "prompt_tokens_details", "cached_tokens"), tokens_in)
        self.tokens_reasoning = min(_detail(usage, "completion_tokens_details", "reasoning_tokens"), self.tokens_out)
        self.estimated = False


def count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, MAX_TOKENS)


def _detail(usage: dict[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    return (count(details.get(name)) or 0) if isinstance(details, dict) else 0


def impact_of(coefficients: Coefficients | None, counts: Counts, seconds: float) -> Impact | None:
    """None when nothing is known of the machine: no figure is better than an invented one."""
    if coefficients is None:
        return None
    return estimate(
        coefficients,
        tokens_in=counts.tokens_in,
        tokens_in_cached=counts.tokens_in_cached,
        tokens_out=counts.tokens_out,
        seconds=seconds,
    )


def impacts_json(impact: Impact | None) -> dict[str, Any]:
    """`usage.impacts`. The tier `opaque` with null figures says that the operator tells us nothing."""
    if impact is None:
        nothing = {"marginal": None, "full": None}
        return {"energy_wh": None, "ghg_mg": nothing, "water_ml": None, "tier": OPAQUE, "method": METHOD}
    return {
        "energy_wh": _scaled(impact.energy_uwh, 1e6),
        "ghg_mg": {"marginal": _scaled(impact.ghg_marginal_ug, 1e3), "full": _scaled(impact.ghg_full_ug, 1e3)},
        "water_ml": _scaled(impact.water_ul, 1e3),
        "tier": impact.tier,
        "method": impact.method,
    }


def _scaled(figure: Range, unit: float) -> dict[str, float]:
    return {"value": figure.value / unit, "low": figure.low / unit, "high": figure.high / unit}


_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])


def usage_in(body: bytes) -> tuple[dict[str, msgspec.Raw], dict[str, Any] | None]:
    """The raw top level of an answer, and its usage. Raises msgspec.MsgspecError when it is no JSON object."""
    fields = _top.decode(body)
    raw = fields.get("usage")
    if raw is None or not bytes(raw).startswith(b"{"):
        return fields, None
    return fields, _object.decode(raw)


def splice(body: bytes, fields: dict[str, msgspec.Raw], usage: dict[str, Any], impacts: dict[str, Any]) -> bytes:
    """The answer with `usage.impacts`: only the usage object is written anew, the other bytes stay."""
    old = bytes(fields["usage"])
    new = msgspec.json.encode({**usage, "impacts": impacts})
    at = body.rfind(old)  # it is near the end
    if at >= 0 and body.find(old) == at:
        return body[:at] + new + body[at + len(old) :]
    return msgspec.json.encode({**fields, "usage": msgspec.Raw(new)})
