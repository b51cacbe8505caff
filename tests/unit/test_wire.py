"""What crosses the planes survives the crossing, and nothing altered does."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proue.kernel.ids import uuid7
from proue.wire import codec, seal, snapshot, token, usage

KEY = token.token_key("a-secret-of-at-least-thirty-two-characters", token.Session)
SESSION = token.Session(use="u", person="p", ceiling=1, access_scopes=("s",), expires_at=100.0)


def grant(**changes):
    base = snapshot.Grant(
        key_id="k",
        use_id="i",
        use="u",
        institution="0999901A",
        models=("*",),
        data_class=1,
        ceiling=4,
        operations=("chat",),
    )
    return msgspec.structs.replace(base, **changes)


PARTS = {
    snapshot.POLICY: snapshot.PolicyPart(published_at=1.5),
    snapshot.ROUTES: snapshot.RoutesPart(
        (
            snapshot.Model(
                "m", (snapshot.Target("e", "http://x/v1", "m", 2, ("chat",), "FR", "op", secret=b"\x00\xff"),)
            ),
        )
    ),
    **snapshot.grants_parts("0999901A", {b"d" * 32: grant()}, {"u": grant(use="u")}),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back_as_it_left(name):
    assert snapshot.decode_part(name, snapshot.encode_part(name, PARTS[name])) == PARTS[name]


def test_the_snapshot_finds_a_key_whatever_the_institution():
    whole = snapshot.Snapshot(PARTS)
    assert whole.grants.get(b"d" * 32) == grant()
    assert whole.grants.get(b"e" * 32) is None
    assert list(whole.routes) == ["m"]
    assert whole.uses["u"].use == "u"


KEYS = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.builds(
        grant,
        key_id=st.text(max_size=3),
        use=st.sampled_from(["u", "v"]),
        operations=st.sampled_from([("chat",), ("chat", "embeddings")]),
        not_before=st.sampled_from([0.0, 5.0]),
        expires_at=st.sampled_from([None, 9.0]),
        person=st.sampled_from([None, "p"]),
    ),
    max_size=40,
)


@given(KEYS, st.sampled_from([1, 3, 2000]))
def test_every_key_comes_back_whole_from_however_many_parts(keys, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "KEYS_PER_PART", most)
        made = snapshot.grants_parts("0999901A", keys, {"u": grant()})
        assert made == snapshot.grants_parts("0999901A", dict(reversed(keys.items())), {"u": grant()})
    read = {name: snapshot.decode_part(name, snapshot.encode_part(name, part)) for name, part in made.items()}
    whole = snapshot.Snapshot(read)
    assert dict(whole.grants) == keys
    assert len(whole.grants) == len(keys)
    assert whole.uses == {"u": grant()}
    assert (len(made) > 1) == (len(keys) > most)


def test_homes_that_are_newer_than_a_snapshot_give_it_nothing_that_it_does_not_hold():
    whole = snapshot.Snapshot(PARTS, {b"d" * 32: "grants:0999901A", b"e" * 32: "grants:0999901A", b"f" * 32: "gone"})
    assert [whole.grants.get(digest) for digest in (b"d" * 32, b"e" * 32, b"f" * 32)] == [grant(), None, None]


@pytest.mark.parametrize("version", [codec.WIRE_VERSION - 2, codec.WIRE_VERSION + 1, 99])
def test_a_version_that_is_neither_n_nor_its_predecessor_is_refused(version):
    data = codec.encode(snapshot.POLICY, PARTS[snapshot.POLICY], version=version)
    with pytest.raises(codec.UnreadableWire, match="version"):
        snapshot.decode_part(snapshot.POLICY, data)


def test_the_previous_version_is_read_with_the_defaults_of_new_fields():
    # A grant as an older portal wrote it: only the fields that have no default.
    old = {name: getattr(grant(), name) for name in grant().__struct_fields__[:8]}
    old["key_id"] = ""
    body = {"institution": "0999901A", "keys": {}, "bases": [old], "held": {b"d" * 32: [0, "k"]}}
    data = codec.encode("grants:0999901A", body, version=codec.WIRE_VERSION - 1)
    part = snapshot.decode_part("grants:0999901A", data)
    assert snapshot.Snapshot({"grants:0999901A": part}).grants[b"d" * 32] == grant()


def test_a_newer_portal_may_add_fields():
    body = {**msgspec.to_builtins(PARTS[snapshot.POLICY]), "tomorrow": 1}
    assert snapshot.decode_part(snapshot.POLICY, codec.encode(snapshot.POLICY, body)) == PARTS[snapshot.POLICY]


@given(st.binary(max_size=200))
@example(b"\x93\x00\xaa" + bytes(9) + b"\x80")  # a kind that is not UTF-8
def test_random_bytes_are_no_part_and_never_crash(data):
    with pytest.raises(codec.UnreadableWire):
        snapshot.decode_part(snapshot.ROUTES, data)


def test_a_usage_comes_back_as_it_left():
    zero = usage.Range(1, 0, 2)
    one = usage.Usage(
        id=uuid7(), request_id="r", opened_us=1, closed_us=2, institution="0999901A", use_id="u", key_id="k", model="m",
        endpoint="e", operation="chat", data_class=0, outcome=usage.Outcome.DONE,
        impact=usage.Impact(zero, zero, zero, zero, "parametric", "m/1"),
    )  # fmt: skip
    assert usage.decode(usage.encode(one)) == one


@pytest.mark.parametrize("most", [1, 4000])
def test_a_person_s_budgets_are_found_however_many_parts_hold_them(monkeypatch, most):
    monkeypatch.setattr(snapshot, "PERSONS_PER_PART", most)
    bounds = {f"{n:03x}": (snapshot.Budget(uuid7(), "person", "day", (n, None, None, None, None)),) for n in range(600)}
    parts = snapshot.persons_parts(bounds)
    assert len(parts) == (3 if most == 4000 else 38)
    read = {name: snapshot.decode_part(name, snapshot.encode_part(name, part)) for name, part in parts.items()}
    known = snapshot.Snapshot(read)
    for person, own in bounds.items():
        assert known.budgets(grant(person=person)) == own
    assert known.budgets(grant(person="fff")) == known.budgets(grant(person=None)) == ()


def test_a_token_says_what_was_signed_until_it_expires():
    signed = token.sign(KEY, SESSION)
    assert token.verify(KEY, signed, token.Session, now=99.9) == SESSION
    with pytest.raises(token.BadToken, match="expired"):
        token.verify(KEY, signed, token.Session, now=100.0)


@given(st.data())
def test_no_altered_token_is_accepted(data):
    signed = token.sign(KEY, SESSION)
    place = data.draw(st.integers(len(token.SESSION_PREFIX), len(signed) - 2))
    other = data.draw(st.sampled_from("ABCabc019-_").filter(lambda letter: letter != signed[place]))
    with pytest.raises(token.BadToken, match="invalid"):
        token.verify(KEY, signed[:place] + other + signed[place + 1 :], token.Session, now=0)


def test_a_session_is_no_assertion_and_another_secret_verifies_nothing():
    signed = token.sign(KEY, SESSION)
    with pytest.raises(token.BadToken):
        token.verify(KEY, signed, token.Assertion, now=0)
    with pytest.raises(token.BadToken):
        token.verify(token.token_key("another", token.Session), signed, token.Session, now=0)


@given(st.text(max_size=100))
def test_a_sealed_secret_opens_only_for_its_purpose(plain):
    box = seal.seal("secret", "endpoint/a", plain)
    assert seal.unseal("secret", "endpoint/a", box) == plain
    for key, purpose, data in (
        ("secret", "endpoint/b", box),
        ("other", "endpoint/a", box),
        ("secret", "endpoint/a", box[:-1] + bytes([box[-1] ^ 1])),
        ("secret", "endpoint/a", b""),
    ):
        with pytest.raises(seal.Unsealable):
            seal.unseal(key, purpose, data)


def test_a_token_of_another_version_is_read():
    """The key of each kind is derived from its name: gateways and portal are upgraded one after the other."""
    signed = {
        token.Session: "14fa92b96802cc86", token.Assertion: "8f18bcdd9cb26b67", token.Errand: "ed3b47b4f1d9bbbe",
        token.Turn: "1e48c166bd23b09b",
    }  # fmt: skip
    assert {kind: token.token_key("a-secret", kind).hex()[:16] for kind in signed} == signed
