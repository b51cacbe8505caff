"""`proue shield scan`: the same places whatever the size of the pieces, and no value in what it writes."""

import io
import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from proue.config.cli import cli
from proue.config.shield import scan
from proue.kernel.personal import OVERLAP, Found, Kind, find
from proue.kernel.personal.names import Names

MAIL, PHONE, NIR = "camille@exemple.fr", "06 39 98 12 34", "1 85 05 78 006 084 91"
WORDS = st.sampled_from(
    [
        MAIL,
        PHONE,
        NIR,
        "un mot ",
        "MM. Dupont, Jean de La Tour",
        "Cordialement,\nLéa Bernard\n",
        "nom : dupont",
        "IBAN FR76 9999 9000 0112 3456 7890 152 ",
        "\n",
        "é" * 300,
        " le ",
    ]
)


@given(st.lists(WORDS, max_size=40), st.integers(1, 2000))
@settings(deadline=None)
def test_pieces_change_nothing(words, piece):
    text = " ; ".join(words)
    assert list(scan(io.StringIO(text), piece=piece)) == find(text)
    assert list(scan(io.StringIO(text), piece=piece, names=True)) == find(text, names=Names())


def test_a_file_of_any_size_takes_a_piece_of_memory():
    class Endless(io.TextIOBase):
        largest = left = 0

        def read(self, size: int = -1) -> str:
            self.largest = max(self.largest, size)
            self.left -= 1
            return f"{'mot ' * 500}{MAIL} " if self.left >= 0 else ""

    source = Endless()
    source.left = 500
    assert sum(1 for _ in scan(source, piece=3000)) == 500
    assert source.largest == 3000
    assert OVERLAP < 3000


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_lines_are_read_as_what_they_mean(ascii_only):
    said = f'été\n{PHONE.replace(" ", chr(0xA0))}\n"{MAIL}"'
    line = json.dumps({"a": said}, ensure_ascii=ascii_only)
    text = "\n".join([line] * 3)
    found = list(scan(io.StringIO(text), name="x.jsonl", piece=40))
    assert [one.kind for one in found] == [Kind.PHONE, Kind.EMAIL] * 3
    for one in found:
        assert json.loads(f'"{text[one.start : one.end]}"') in {MAIL, PHONE.replace(" ", "\u00a0")}


def run(*args: str, data: bytes = b""):
    return CliRunner().invoke(cli, ["shield", "scan", *args], input=data)


def test_the_command_says_kinds_and_places_and_never_a_value(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(f"é {MAIL}\r\n{PHONE}".encode())
    told = run(str(path), "--json")
    assert told.exit_code == 0
    assert json.loads(told.output) == [
        {"kind": "EMAIL", "start": 2, "end": 20},
        {"kind": "PHONE", "start": 22, "end": 36},
    ]
    plain = run("-", data=path.read_bytes())
    assert plain.output == "EMAIL\t2\t20\nPHONE\t22\t36\n"
    for one in (told, plain):
        assert MAIL not in one.output
        assert PHONE not in one.output


def test_names_for_those_who_ask(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"t": f"Cordialement,\nLéa Bernard\n{MAIL}"}), encoding="utf-8")
    assert [line.split("\t")[0] for line in run(str(path)).output.splitlines()] == ["EMAIL"]
    told = run(str(path), "--names", "--json")
    first = json.loads(told.output)[0]
    assert json.loads(f'"{path.read_text()[first["start"] : first["end"]]}"') == "Léa Bernard"
    assert first["kind"] == "NAME"
    assert "Bernard" not in told.output


def test_exit_codes(tmp_path):
    empty, bad = tmp_path / "empty", tmp_path / "bad"
    empty.write_text("rien")
    bad.write_bytes(MAIL.encode() + b" \xff")
    assert (run(str(empty), "--json").output, run(str(empty), "--check").exit_code) == ("[]\n", 0)
    assert run("-", "--check", data=MAIL.encode()).exit_code == 1
    for path in (bad, tmp_path / "absent", tmp_path):
        told = run(str(path))
        assert told.exit_code == 2
        assert MAIL not in told.output


def test_found_is_what_the_kernel_finds():
    assert list(scan(io.StringIO(MAIL))) == [Found(Kind.EMAIL, 0, len(MAIL))]
