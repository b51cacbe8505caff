"""Energy, greenhouse gases and water of one request: a parametric estimate with its interval and tier.

Source: shared/reference/frugality.md §3.2 (fit on ML.ENERGY v3 H100 chat, vLLM 0.11: 177 rows, leave-one-model-out
98 % within a factor 2) and §1.5 (idle, host and manufacture at partial load). Two figures, always: *marginal* (what
this request adds) and *full* (with its share of idle hours, host and manufacture). Integers: µWh, µg, µL.
"""

from dataclasses import dataclass

import msgspec

METHOD = "proue-parametric/1"
JOULES_PER_WH = 3600.0

# Chat fit, KV term dropped (§3.2): J/GB, J, J, J per billion active, J.
K, S, M, C1, C0 = 0.203, 1.886, 0.035, 0.0032, 0.048
C_IN_J_PER_B = 0.0035  # per uncached input token; the weakest constant, 2 to 8 mJ in the literature
CHAT_FIT_INPUT_TOKENS = 200  # prompts of about this length are already inside the chat fit

# Time per decoding step and per billion active parameters (EcoLogits 0.11.3, H100).
STEP_ACTIVE_S, STEP_BATCH_S, STEP_BASE_S = 6.785e-4, 3.119e-4, 0.019474

IDLE_W_PER_GPU = 100.0  # CUDA context loaded
HOST_W_PER_GPU = 150.0  # 600 W for half a node of four
EMBODIED_KG_PER_GPU = 273.0 + 5700.0 / 8  # board, and an eighth of its server
SECONDS_PER_YEAR = 365 * 86400


class Coefficients(msgspec.Struct, frozen=True):
    """What an estimate needs to know of one model on one endpoint; compiled into the snapshot."""

    tier: str  # parametric | opaque
    pue: float
    grid_g_per_kwh: float
    water_l_per_kwh: float
    factor_set: str  # name and version of the grid, water and manufacture factors
    joules_out: float  # GPU joules per output token
    joules_in: float  # GPU joules per uncached input token beyond CHAT_FIT_INPUT_TOKENS
    watts_busy: float = 0.0  # engines without GPU: electrical power while they answer
    pool_joules_out: float = 0.0  # idle and host share per output token, at the assumed load
    embodied_ug_out: float = 0.0  # manufacture share per output token, at the assumed load
    embodied_ug_s: float = 0.0  # the same per second, for engines without GPU
    low: float = 0.35  # multiply the value: tier P with unknown batch, §3.1
    high: float = 4.0


@dataclass(frozen=True, slots=True)
class Hardware:
    params_total_b: float
    params_active_b: float
    precision_bits: int = 16
    gpus: int = 1
    experts: int = 0
    experts_active: int = 0
    batch: float = 16.0  # mean number of running requests; assumed when nobody measures it
    load: float = 0.3  # share of hours with a request in flight; assumed
    lifetime_years: float = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    pue: float
    grid_g_per_kwh: float
    water_l_per_kwh: float
    factor_set: str


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """An integer quantity: µWh, µg or µL."""

    value: int
    low: int
    high: int


class Estimate(msgspec.Struct, frozen=True, array_like=True):
    energy_uwh: Interval
    ghg_marginal_ug: Interval
    ghg_full_ug: Interval
    water_ul: Interval
    tier: str
    method: str


def weights_gb_per_step(hardware: Hardware) -> float:
    """GB of weights touched by one decoding step: all of them when dense, the experts that B requests wake if not."""
    size = hardware.precision_bits / 8
    if not hardware.experts or not hardware.experts_active:
        return hardware.params_total_b * size
    share = hardware.experts_active / hardware.experts
    experts = (hardware.params_total_b - hardware.params_active_b) / (1 - share)
    dense = hardware.params_total_b - experts
    woken = 1.0 - float((1.0 - share) ** hardware.batch)
    return size * (dense + experts * woken)


def joules_per_output_token(hardware: Hardware) -> float:
    batch, others = max(hardware.batch, 1.0), max(hardware.gpus - 1, 0)
    read = K * weights_gb_per_step(hardware) / batch
    return read + S * others / batch + M * others + C1 * hardware.params_active_b + C0


def gpu_coefficients(hardware: Hardware, site: Site, *, tier: str, low: float, high: float) -> Coefficients:
    batch = max(hardware.batch, 1.0)
    step_s = STEP_ACTIVE_S * hardware.params_active_b + STEP_BATCH_S * batch + STEP_BASE_S
    slot_s = step_s / batch / hardware.load  # reserved seconds that one output token answers for
    embodied_ug_s = EMBODIED_KG_PER_GPU * hardware.gpus * 1e9 / (hardware.lifetime_years * SECONDS_PER_YEAR)
    return Coefficients(
        tier=tier,
        pue=site.pue,
        grid_g_per_kwh=site.grid_g_per_kwh,
        water_l_per_kwh=site.water_l_per_kwh,
        factor_set=site.factor_set,
        joules_out=joules_per_output_token(hardware),
        joules_in=C_IN_J_PER_B * hardware.params_active_b,
        # The fit already holds the idle power of busy hours: only the empty ones are added, and the host for all.
        pool_joules_out=(IDLE_W_PER_GPU * (1 - hardware.load) + HOST_W_PER_GPU) * hardware.gpus * slot_s,
        embodied_ug_out=embodied_ug_s * slot_s,
        low=low,
        high=high,
    )


def cpu_coefficients(site: Site, *, watts: float, machine_kg: float, years: float, load: float) -> Coefficients:
    """An engine without GPU: power while it answers, and a share of the machine's manufacture."""
    return Coefficients(
        tier="parametric",
        pue=site.pue,
        grid_g_per_kwh=site.grid_g_per_kwh,
        water_l_per_kwh=site.water_l_per_kwh,
        factor_set=site.factor_set,
        joules_out=0.0,
        joules_in=0.0,
        watts_busy=watts,
        embodied_ug_s=machine_kg * 1e9 / (years * SECONDS_PER_YEAR) / load,
    )


def estimate(c: Coefficients, *, tokens_in: int, tokens_in_cached: int, tokens_out: int, seconds: float) -> Estimate:
    """About 2 µs: six multiplications, on the gateway's closing path. `method` names the factors' version too."""
    uncached = max(tokens_in - tokens_in_cached, 0)
    answer = tokens_out * c.joules_out
    # The fit of an answer already holds a short prompt, and never more than the answer's own energy: an embedding has
    # no answer to hold it, and one token more never costs less.
    held = min(min(uncached, CHAT_FIT_INPUT_TOKENS) * c.joules_in, answer)
    joules = answer + uncached * c.joules_in - held + seconds * c.watts_busy
    pool_joules = tokens_out * c.pool_joules_out
    energy_uwh = joules * c.pue * 1e6 / JOULES_PER_WH
    pool_uwh = pool_joules * c.pue * 1e6 / JOULES_PER_WH
    marginal_ug = energy_uwh * c.grid_g_per_kwh / 1e3
    embodied_ug = tokens_out * c.embodied_ug_out + seconds * c.embodied_ug_s
    full_ug = (energy_uwh + pool_uwh) * c.grid_g_per_kwh / 1e3 + embodied_ug
    water_ul = energy_uwh * c.water_l_per_kwh / 1e3
    return Estimate(
        _interval(energy_uwh, c),
        _interval(marginal_ug, c),
        _interval(full_ug, c),
        _interval(water_ul, c),
        c.tier,
        f"{METHOD} {c.factor_set}",
    )


def _interval(value: float, c: Coefficients) -> Interval:
    return Interval(round(value), round(value * c.low), round(value * c.high))
