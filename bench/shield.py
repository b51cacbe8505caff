"""The shield: megabytes a second of ordinary French, and milliseconds for a prompt of 2 kB. One core.

    python -m bench.shield

The text is the demonstration's corpus: administrative French, numbers and dates included. The bars are for what every
shield does; names are looked for where a use asks, and told beside.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proue.gateway import body as bodies
from proue.gateway.shield import Veil
from proue.kernel.personal import CANDIDATE, find
from proue.kernel.personal.names import Names
from proue.kernel.policy import Operation, Shield

CORPUS = Path(__file__).resolve().parents[1] / "src/proue/config/demo/corpus"
BAR_MB_S, BAR_MS = 20.0, 0.3
ROUNDS = 7  # of which the best is kept: what the machine can do when nobody else runs
PROMPT = 2000
VALUES = " Mon adresse est camille@exemple.fr, mon téléphone le 06 39 98 12 34, mon NIR 1 85 05 78 006 084 91."
NAMES = " Je m’appelle Camille Durand et j’écris à Mme Dupont."


def best(work: Callable[[], object], times: int = 1) -> float:
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - begun) / times)
    return min(found)


def corpus() -> str:
    files = sorted(path for path in CORPUS.rglob("*") if path.suffix in {".md", ".txt", ".jsonl", ".json", ".yaml"})
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def veiled(text: str, *, names: bool = False) -> Callable[[], object]:
    data = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()
    return lambda: Veil(Shield.MASK, bodies.read(data, Operation.CHAT), limit=1 << 20, names=names).look()


def named(text: str) -> object:
    names = Names()
    names.learn(text)
    return find(text, names=names)


@dataclass(frozen=True, slots=True)
class Speed:
    size_mb: float
    found: int
    prefilter_mb_s: float
    find_mb_s: float
    plain_ms: float
    held_ms: float
    named_mb_s: float  # with names, which a use asks for
    named_ms: float
    named_held_ms: float


def measure() -> Speed:
    text = corpus()
    text = (text * (1 + 4_000_000 // len(text)))[:4_000_000]
    size = len(text.encode()) / 1e6
    prompt = text[1000 : 1000 + PROMPT]
    return Speed(
        size,
        len(find(text)),
        size / best(lambda: sum(1 for _ in CANDIDATE.finditer(text))),
        size / best(lambda: find(text)),
        best(veiled(prompt), 200) * 1e3,
        best(veiled(prompt + VALUES), 200) * 1e3,
        size / best(lambda: named(text)),
        best(veiled(prompt, names=True), 200) * 1e3,
        best(veiled(prompt + VALUES + NAMES, names=True), 200) * 1e3,
    )


def main() -> int:
    speed = measure()
    print(f"text               {speed.size_mb:.1f} MB, {speed.found} found")
    print(f"prefilter alone    {speed.prefilter_mb_s:.0f} MB/s")
    print(f"find               {speed.find_mb_s:.1f} MB/s   (bar {BAR_MB_S:g})")
    print(f"2 kB prompt        {speed.plain_ms:.3f} ms, three values masked {speed.held_ms:.3f} ms   (bar {BAR_MS:g})")
    print(
        f"with names         {speed.named_mb_s:.1f} MB/s; {speed.named_ms:.3f} ms, "
        f"five values masked {speed.named_held_ms:.3f} ms"
    )
    return 0 if speed.find_mb_s >= BAR_MB_S and max(speed.plain_ms, speed.held_ms) <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
