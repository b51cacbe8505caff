"""A laboratory for the tests: an instance's keys, its files, a gateway that has nothing else."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proue.wire import signed, snapshot, token
from proue.wire.codec import WIRE_VERSION
from tests.gateway.world import INSTITUTION, RESTRICTED, Gateway, free_port, grant, target

LAB_KEY = "sk-proue-laboratoire"
AT = "2026-01-01T00:00:00.000000Z"
DAY = 86_400.0


class Instance:
    """Keys, each signed by the one before it."""

    def __init__(self) -> None:
        self.privates: list[Ed25519PrivateKey] = []
        self.keys: list[signed.Key] = []
        self.rotate()

    def rotate(self) -> None:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        named, previous = signed.key_id(public), self.keys[-1].id if self.keys else ""
        signer = self.privates[-1] if self.privates else private
        signature = signer.sign(signed.key_bytes(named, AT, previous)).hex()
        self.keys.append(signed.Key(named, public.hex(), AT, previous, signature))
        self.privates.append(private)

    def sign(self, data: bytes, rank: int = -1) -> tuple[bytes, str]:
        return self.privates[rank].sign(data), self.keys[rank].id

    def file(self, url: str, *, signer: int = -1, parts: dict[str, Any] | None = None, **changes: Any) -> bytes:
        now = time.time()
        fields: dict[str, Any] = {
            "format": signed.FORMAT, "wire": WIRE_VERSION, "institution": INSTITUTION, "number": int(now * 1e6),
            "issued_at": now, "valid_from": now - 60, "valid_until": now + 30 * DAY, "keys": tuple(self.keys),
            "secrets": (), "parts": parts or lab_parts(url),
        } | changes  # fmt: skip
        for name in ("issued_at", "valid_from", "valid_until"):
            fields[name] = datetime.fromtimestamp(fields[name], UTC)
        return signed.write_laboratory(signed.Laboratory(**fields), lambda data: self.sign(data, signer))


def restricted(**changes: Any) -> snapshot.Grant:
    return grant(**{"use": "labo", "data_class": RESTRICTED, "ceiling": RESTRICTED} | changes)


def lab_parts(url: str, base: snapshot.Grant | None = None, **changes: Any) -> dict[str, bytes]:
    made: dict[str, snapshot.Part] = {
        snapshot.POLICY: snapshot.PolicyPart(time.time()),
        snapshot.ROUTES: snapshot.RoutesPart(
            (snapshot.Model("modele", (target(url, **{"endpoint": "labo", "clearance": RESTRICTED} | changes),)),)
        ),
        **snapshot.grants_parts(INSTITUTION, {token.key_digest(LAB_KEY): base or restricted()}, {}),
    }
    return {name: snapshot.encode_part(name, part) for name, part in made.items()}


class LabGateway(Gateway):
    def __init__(self, data: bytes, trust: str, *, limits: dict[str, Any] | None = None, **env: str) -> None:
        super().__init__(None, argv=[sys.executable, "-m", "tests.gateway.serve", json.dumps(limits or {})], **env)
        self.file = self.data_dir / "laboratoire.proue"
        self.file.write_bytes(data)
        self.env |= {"PROUE_SNAPSHOT": str(self.file), "PROUE_SPOOL": str(self.spool), "PROUE_TRUST": trust}
        for name in ("PROUE_SECRET_KEY", "PROUE_PORTAL_SOCKET", "PROUE_DATA_DIR"):
            self.env.pop(name, None)

    def drop(self, data: bytes) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(self.file)

    def again(self) -> "LabGateway":
        self.port = free_port()
        self.env["PROUE_PORT"] = str(self.port)
        return self

    def refusal(self) -> str:
        """What it says when it does not start."""
        self.start(ready=False)
        assert self.process is not None
        assert self.process.wait(30) != 0
        return self.said()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
