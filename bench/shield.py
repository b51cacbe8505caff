"""The shield: megabytes a second of ordinary French, and milliseconds for a prompt of 2 kB. One core.

    python -m bench.shield

The text is the demonstration's corpus: administrative French, numbers and dates included.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from proue.gateway import body as bodies
from proue.gateway.shield import Veil
from proue.kernel.personal import CANDIDATE, find
from proue.kernel.policy import Operation, Shield

CORPUS = Path(__file__).resolve().parents[1] / "src/proue/config/demo/corpus"
BAR_MB_S, BAR_MS = 20.0, 0.3
ROUNDS = 7  # of which the best is kept: what the machine can do when nobody else runs
PROMPT = 2000
VALUES = " Mon adresse est camille@exemple.fr, mon téléphone le 06 39 98 12 34, mon NIR 1 85 05 78 006 084 91."


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


def veiled(text: str) -> Callable[[], object]:
    data = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()
    return lambda: Veil(Shield.MASK, bodies.read(data, Operation.CHAT), limit=1 << 20).look()


def main() -> int:
    text = corpus()
    text = (text * (1 + 4_000_000 // len(text)))[:4_000_000]
    size = len(text.encode()) / 1e6
    rate = size / best(lambda: find(text))
    pass_rate = size / best(lambda: sum(1 for _ in CANDIDATE.finditer(text)))
    prompt = text[1000 : 1000 + PROMPT]
    plain, held = best(veiled(prompt), 200) * 1e3, best(veiled(prompt + VALUES), 200) * 1e3
    print(f"text               {size:.1f} MB, {len(find(text))} found")
    print(f"prefilter alone    {pass_rate:.0f} MB/s")
    print(f"find               {rate:.1f} MB/s   (bar {BAR_MB_S:g})")
    print(f"2 kB prompt        {plain:.3f} ms, with three values masked {held:.3f} ms   (bar {BAR_MS:g})")
    return 0 if rate >= BAR_MB_S and max(plain, held) <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
