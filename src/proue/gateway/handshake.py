"""How a node and a gateway know each other: HTTP/1.1 Upgrade, then TLS 1.3 within, each with its own pinned key.

TLS terminates at whatever stands before the gateway (nginx, a load balancer); this one does not: it is between the node
and the gateway, so nothing in the middle reads, alters or replays. Each side announces its certificate in the Upgrade;
the other compares the key with the one it was told beforehand, and trusts that certificate alone for this connection.
"""

import base64
import binascii
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from proue.wire import identity
from proue.wire.identity import BadIdentity

PATH = "/.proue/node"
PROTOCOL = "proue-node/1"
ENDPOINT, NODE, GATEWAY, CERTIFICATE = "x-proue-endpoint", "x-proue-node", "x-proue-gateway", "x-proue-certificate"
CERTIFICATE_MAX = 2048  # as written in a header; ours have 400 characters


class Self:
    """Our key, ready for handshakes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        certificate = identity.certificate(private)
        self.public = identity.public_of(private)
        self.announced = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        self._pem = identity.pem_of(private) + certificate.public_bytes(Encoding.PEM)

    def context(self, peer: bytes, *, server: bool) -> ssl.SSLContext:
        """Trusts this one certificate. `peer` is DER whose key was compared with the one expected."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_TICKET  # no session is resumed: a handshake each time
        if server:
            context.num_tickets = 0
        else:
            context.check_hostname = False  # the key is the name
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=peer)
        with tempfile.NamedTemporaryFile(prefix="proue-", dir=_memory()) as file:  # ssl reads keys from files only
            file.write(self._pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def _memory() -> str | None:
    """Where a file never reaches a disk, when there is such a place. The file is 0600 and lives for a millisecond."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def certificate_of(announced: str, expected: str) -> bytes:
    """DER. Raises BadIdentity: not a certificate, or another key's."""
    if len(announced) > CERTIFICATE_MAX:
        raise BadIdentity("too long")
    try:
        der = base64.b64decode(announced, validate=True)
    except (binascii.Error, ValueError):
        raise BadIdentity("not base64") from None
    if identity.key_in(der) != expected:
        raise BadIdentity("another key")
    return der


def proved(transport: object, peer: bytes) -> bool:
    """Whether whoever is behind this TLS transport is the holder of that certificate's key."""
    found = getattr(transport, "get_extra_info")("ssl_object")  # noqa: B009
    return found is not None and found.getpeercert(binary_form=True) == peer
