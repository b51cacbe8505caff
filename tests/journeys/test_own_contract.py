"""/preuves/proue/ of a real instance: it asks itself over its own port, and its page says what it found."""

import csv
import io
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow


def lines(up):
    """Requirement, or first words of what none asks for → its line."""
    try:
        with urllib.request.urlopen(f"{up.url}/preuves/proue/?format=csv", timeout=20) as answer:
            rows = csv.DictReader(io.StringIO(answer.read().decode("utf-8-sig")), delimiter=";")
            return {row["requirement"] or row["text"]: row for row in rows}
    except (OSError, urllib.error.URLError):
        return {}


def test_an_instance_tells_what_it_keeps_and_what_it_does_not(proue_up):
    deadline = time.monotonic() + 120
    while not (found := lines(proue_up)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    verdicts = {code: row["verdict"] for code, row in found.items()}
    assert verdicts["EX-FON-001"] == "conforming", found["EX-FON-001"]
    assert verdicts["EX-SEC-005"] == "non_conforming", "no TLS on this machine"
    assert verdicts["EX-SEC-004"] == "non_conforming", "no federation yet"
    assert verdicts["EX-SEC-010"] == "undetermined", "nobody audited it"
    assert "propre question a été comptée : 1" in found["EX-GOV-001"]["values"]
    assert "dans les journaux et la file : 0" in found["EX-DCP-003"]["values"]
    assert verdicts["Les pages portent leurs en-têtes de protection."] == "conforming"
    assert verdicts["Les compteurs internes ne répondent pas à un inconnu."] == "conforming"
    assert verdicts["Une page pèse moins de 150 ko, tout compris."] == "conforming"
    assert found["EX-SEC-005"]["clauses"] == "CL-CCTP-SEC-005"
    assert found["EX-SEC-005"]["need"].startswith("BC-")
    said = proue_up.run("doctor").stdout
    assert "propre contrat" in said
    assert "non conformes" in said
