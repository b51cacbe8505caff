"""The chain, as anyone may check a copy of it: whatever is changed in it is found, and named."""

import json
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from proue.kernel.canonical import canonical
from proue.ledger import rules
from proue.ledger.rules import Fault, Header, Key, Note, Placed, Row, Seal, read_line, verify, written

BATCHES = (4, 1, 6, 3)
AT = "2026-11-23T09:30:00.000000Z"


def private(number):
    return Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))


def public(number):
    return private(number).public_key().public_bytes_raw()


def key(number, previous=0):
    named, before = rules.key_id(public(number)), rules.key_id(public(previous)) if previous else ""
    signature = private(previous or number).sign(rules.key_bytes(named, AT, before)).hex()
    return Key(named, public(number).hex(), AT, before, signature)


def fact(number, /, **body):
    return {
        "id": str(UUID(int=number)), "kind": f"test.kind{number % 3}", "actor": None, "at": AT, "recorded_at": AT,
        "scope": str(UUID(int=7)), "body": {"number": number, "share": 0.25, "words": "é\n", "list": ["b"], **body},
    }  # fmt: skip


def signed(seal, number):
    return msgspec.structs.replace(seal, signature=private(number).sign(rules.seal_bytes(seal)).hex())


def ledger(facts, *, batches=BATCHES, signers=(1, 1, 2, 2), keys=None):
    """Items of a true ledger, sealed in `batches`."""
    keys = keys if keys is not None else [key(1), key(2, previous=1)]
    items, hashed, previous, before = [], rules.GENESIS, None, 0
    for number, (size, signer) in enumerate(zip(batches, signers, strict=True), 1):
        for one in facts[before : before + size]:
            hashed = rules.link(hashed, one)
            items.append(Row(len([i for i in items if isinstance(i, Row)]) + 1, hashed, one))
        digest = rules.seal_digest(previous)
        previous = signed(
            Seal(number, before + 1, before + size, hashed, digest, AT, rules.key_id(public(signer)), ""), signer
        )
        items.append(previous)
        before += size
    return [Header(rules.FORMAT, before, len(batches), len(keys), hashed), *keys, *items]


TRUE = ledger([fact(number) for number in range(1, 15)])
LINES = [written(item) + b"\n" for item in TRUE]
ROWS = [number for number, item in enumerate(TRUE) if isinstance(item, Row)]


def check(lines, **given):
    return verify((read_line(number, raw) for number, raw in enumerate(lines, 1)), **given)


def replaced(place, **values):
    lines = list(LINES)
    lines[place] = written(msgspec.structs.replace(TRUE[place], **values)) + b"\n"
    return lines


def test_a_true_copy_holds():
    report = check(LINES)
    assert (report.holds, report.facts, report.seals, report.last) == (True, 14, 4, 14)
    assert report.head == TRUE[-1].head
    assert report.notes == {}


@settings(max_examples=400)
@given(st.data())
def test_any_byte_changed_is_found_at_its_line(data):
    place = data.draw(st.integers(0, len(LINES) - 1))
    at = data.draw(st.integers(0, len(LINES[place]) - 2))  # not the end: two lines would be one
    byte = data.draw(st.integers(0, 255).filter(lambda one: one not in {LINES[place][at], 10}))
    lines = list(LINES)
    lines[place] = lines[place][:at] + bytes([byte]) + lines[place][at + 1 :]
    report = check(lines)
    assert not report.holds
    assert place + 1 in {one.place for one in report.findings}, report.findings


VALUES = st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=3) | st.floats(0.001, 9)


@given(st.sampled_from(ROWS), st.sampled_from(sorted(fact(1))), VALUES)
def test_any_field_of_a_fact_changed_names_the_fact(place, name, value):
    row = TRUE[place]
    if canonical(row.fact[name]) == canonical(value):
        return
    report = check(replaced(place, fact={**row.fact, name: value}))
    assert [(one.fault, one.place, one.sequence) for one in report.findings] == [
        (Fault.ALTERED, place + 1, row.sequence)
    ]
    if name not in {"id", "kind"}:
        assert (report.findings[0].fact, report.findings[0].kind) == (row.fact["id"], row.fact["kind"])


@pytest.mark.parametrize("place", ROWS)
def test_a_hash_changed_is_told_from_a_fact_changed(place):
    row = TRUE[place]
    report = check(replaced(place, hash="ab" * 32))
    assert [(one.fault, one.place, one.sequence) for one in report.findings] == [(Fault.HASH, place + 1, row.sequence)]


@pytest.mark.parametrize("place", ROWS)
@pytest.mark.parametrize("number", [0, 3, 9, 600])
def test_a_number_changed_is_named(place, number):
    if TRUE[place].sequence == number:
        return
    report = check(replaced(place, sequence=number))
    assert [(one.fault, one.place) for one in report.findings] == [(Fault.ALTERED, place + 1)]


@pytest.mark.parametrize("place", range(len(LINES)))
def test_a_line_removed_is_found(place):
    report = check([*LINES[:place], *LINES[place + 1 :]])
    assert not report.holds
    gone = TRUE[place]
    if isinstance(gone, Row):
        assert (Fault.MISSING, gone.sequence, gone.sequence) in {
            (one.fault, one.sequence, one.last) for one in report.findings
        }
    elif isinstance(gone, Seal) and gone.number < len(BATCHES):
        assert (Fault.SEAL_MISSING, gone.number) in {(one.fault, one.seal) for one in report.findings}


@pytest.mark.parametrize("place", range(len(LINES)))
def test_a_line_repeated_is_found(place):
    report = check([*LINES[: place + 1], LINES[place], *LINES[place + 1 :]])
    assert place + 2 in {one.place for one in report.findings}, report.findings


@given(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES) - 1))
def test_two_lines_swapped_are_found(one, other):
    if one == other:
        return
    lines = list(LINES)
    lines[one], lines[other] = lines[other], lines[one]
    report = check(lines)
    assert {found.place for found in report.findings} & {one + 1, other + 1}, report.findings


@pytest.mark.parametrize("place", ROWS)
def test_a_fact_that_nobody_sealed_is_named_wherever_it_was_slipped_in(place):
    """With a hash that follows, under the number of the next one: the forger wrote all that he could."""
    before = TRUE[place].hash
    forged = fact(99)
    row = Row(TRUE[place].sequence + 1, rules.link(before, forged), forged)
    lines = [*LINES[: place + 1], written(row) + b"\n", *LINES[place + 1 :]]
    report = check(lines)
    assert place + 2 in {one.place for one in report.findings}, report.findings


def test_a_chain_computed_anew_does_not_pass_the_seals():
    """The forger changes a fact, every hash after it, and has no key."""
    facts = [fact(number) for number in range(1, 15)]
    facts[6] = fact(7, number=8)
    forged = ledger(facts)
    lines = [written(new if isinstance(new, Row) else old) + b"\n" for new, old in zip(forged, TRUE, strict=True)]
    report = check(lines)
    assert report.findings[0].fault is Fault.REWRITTEN
    assert (report.findings[0].sequence, report.findings[0].last) == (6, 11), "the batch of the seventh"


def test_whoever_signs_it_all_again_needs_a_key_that_others_know():
    forged = ledger([fact(number) for number in range(2, 16)], signers=(3, 3, 3, 3), keys=[key(3)])
    lines = [written(item) + b"\n" for item in forged]
    assert check(lines).holds, "a copy alone cannot tell: hence the keys and heads noted elsewhere"
    trusted = check(lines, trusted=[rules.key_id(public(1))])
    assert {one.fault for one in trusted.findings} == {Fault.KEY_UNKNOWN}
    witnessed = check(lines, witnesses={5: TRUE[8].hash})
    assert {one.fault for one in witnessed.findings} == {Fault.WITNESS}


def test_a_key_signed_by_one_that_is_trusted_is_trusted():
    assert check(LINES, trusted=[rules.key_id(public(1))]).holds
    assert not check(LINES, trusted=[rules.key_id(public(2))]).holds, "it does not answer for what came before it"


def test_a_later_key_that_stands_alone_is_said():
    alone = key(2)
    report = check([written(item) + b"\n" for item in ledger([fact(n) for n in range(1, 15)], keys=[key(1), alone])])
    assert (report.holds, report.notes) == (True, {Note.KEY_ALONE: alone.id})


def test_a_copy_cut_at_a_seal_is_found_by_a_head_noted_elsewhere():
    cut = ledger([fact(number) for number in range(1, 6)], batches=BATCHES[:2], signers=(1, 1))
    lines = [written(item) + b"\n" for item in cut]
    assert check(lines).holds
    report = check(lines, witnesses={11: TRUE[15].hash, 5: cut[-1].head})
    assert [(one.fault, one.sequence) for one in report.findings] == [(Fault.WITNESS, 11)]


def test_the_same_key_signing_two_chains_is_found():
    """A database put back from a copy, and gone on with: two seals of one number."""
    other = ledger([fact(number) for number in range(1, 15)][:5] + [fact(number) for number in range(20, 29)])
    fork = [item for item in TRUE if not (isinstance(item, Seal) and item.number == 2)]
    odd = next(item for item in other if isinstance(item, Seal) and item.number == 2)
    place = next(number for number, item in enumerate(TRUE) if isinstance(item, Seal) and item.number == 2)
    odd = signed(msgspec.structs.replace(odd, at="2026-11-24T09:30:00.000000Z"), 1)
    fork.insert(place, odd)
    report = check([written(item) + b"\n" for item in fork])
    assert [one.fault for one in report.findings] == [Fault.SEAL_MISMATCH]


@pytest.mark.parametrize("raw", [b"", b"\n", b"{}\n", b"[" * 5000, b"\xff\n", b'{"line":"fact"}\n', b"null\n"])
def test_what_cannot_be_read_is_named(raw):
    lines = [*LINES[:5], raw, *LINES[5:]]
    assert (Fault.UNREADABLE, 6) in {(one.fault, one.place) for one in check(lines).findings}


def test_a_line_written_otherwise_is_found():
    place = ROWS[2]
    lines = list(LINES)
    lines[place] = json.dumps(json.loads(lines[place]), ensure_ascii=False).encode() + b"\n"
    assert [(one.fault, one.place) for one in check(lines).findings] == [(Fault.FORM, place + 1)]


def test_findings_are_bounded():
    lines = [LINES[0], *([b"x\n"] * 300)]
    report = check(lines)
    assert len(report.findings) == rules.MAX_FINDINGS
    assert report.more > 200


@pytest.mark.parametrize("value", [1e-7, 1e300, 2**60, [2**60, {"a": 1e-9}]])
def test_a_number_that_has_no_single_form_does_not_stop_the_sealer(value):
    once = rules.plain({"x": value, "y": True, "z": 0.25})
    assert rules.plain(once) == once
    assert canonical(once)
    assert (once["y"], once["z"]) == (True, 0.25)


def test_the_database_is_read_like_a_copy():
    assert verify(Placed(0, item) for item in TRUE).holds
