"""Small pure parts: figures, Markdown, charts, cells. No database."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.template import engines
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Because, Gate
from proue.portal import figures, words
from proue.portal.assistant import routes
from proue.portal.institution.charts import BASE, bars
from proue.portal.markdown import Links, blocks
from proue.portal.templatetags.proue import typeset
from proue.wire.snapshot import Target

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
OURS = Links({1: "/c/one"}, ("https://proue.example",))


def rendered(text: str) -> str:
    template = engines["django"].from_string('{% include "parts/blocks.html" with headings=1 %}')
    return template.render({"blocks": blocks(text, OURS)})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0\u202fWh"),
        (7, "7,0\u202fµWh"),
        (960, "960\u202fµWh"),
        (1_234, "1,2\u202fmWh"),
        (12_340_000, "12\u202fWh"),
        (123_400_000, "120\u202fWh"),
        (9_960_000, "10\u202fWh"),
        (5_000_000_000, "5,0\u202fkWh"),
    ],
)
def test_energy_has_two_digits_and_a_unit(value, said):
    with translation.override("fr"):
        assert figures.quantity(value, figures.ENERGY) == said


@pytest.mark.parametrize(("value", "said"), [(1_250_000_000, "1,25 kWh"), (525_000_000, "525 Wh"), (0, "0 Wh")])
def test_a_limit_is_said_as_it_was_declared(value, said):
    assert figures.exactly(value, figures.ENERGY).replace("\u202f", " ") == said


@pytest.mark.parametrize(("value", "said"), [("1.5", "1,50 €"), ("200", "200 €"), ("0.012", "0,012 €"), ("0", "0 €")])
def test_euros_are_said_to_the_cent(value, said):
    assert figures.euros(Decimal(value)).replace("\u00a0", " ") == said


def test_an_interval_is_in_the_unit_of_its_value():
    with translation.override("fr"):
        assert figures.interval(1_200, 400, 4_800, figures.ENERGY) == "1,2\u202fmWh (de 0,40 à 4,8)"
    with translation.override("en"):
        assert figures.interval(1_200, 400, 4_800, figures.ENERGY) == "1.2\u202fmWh (0.40 to 4.8)"


def test_nothing_used_has_no_interval():
    with translation.override("fr"):
        assert figures.interval(0, 0, 0, figures.ENERGY) == "0\u202fWh"
        assert figures.bounds(0, 0, 0, figures.ENERGY) == ""
        assert figures.bounds(0, 0, 4_800, figures.ENERGY) == "entre 0 et 4,8\u202fmWh"


@given(st.integers(1, 10**15))
def test_two_digits_are_within_five_percent(value):
    with translation.override("en"):
        number, unit = figures.quantity(value, figures.ENERGY).split("\u202f")
    size = dict(figures.ENERGY)[unit]
    assert abs(float(number.replace(",", "")) * size - value) <= 0.051 * value


def test_dates_in_words():
    with translation.override("fr"):
        assert figures.day(date(2026, 11, 23)) == "23 novembre 2026"
        assert figures.day(date(2026, 12, 1)) == "1er décembre 2026"
        assert figures.day(date(2026, 12, 11)) == "11 décembre 2026"
        assert figures.moment(datetime(2026, 11, 30, 23, 30, tzinfo=UTC)) == "1er décembre 2026, 00:30"
        assert typeset("L'UE : « oui ; non » d'abord ?") == "L’UE\u00a0: «\u00a0oui\u00a0; non\u00a0» d’abord\u00a0?"
    with translation.override("en"):
        assert figures.day(date(2026, 12, 1)) == "1 December 2026"
        assert figures.moment(datetime(2026, 11, 30, 23, 30, tzinfo=UTC)) == "1 December 2026, 00:30"


@given(st.text(max_size=400))
def test_nothing_that_a_text_says_becomes_markup(text):
    html = rendered(text)
    tags = set(re.findall(r"</?([a-z][a-z0-9]*)", html))
    allowed = "p ul ol li blockquote strong code a br h2 h3 h4 div table thead tbody tr th td figure figcaption"
    assert tags <= set(allowed.split())
    assert all(href.startswith("/c/") for href in re.findall(r'href="([^"]*)"', html))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](https://evil.example/c/1)",
        "[x](//evil.example/c/1)",
        "https://proue.example@evil.example/c/1",
        "[x](https://proue.example/compte/)",
        "**<img src=x onerror=y>**",
        "[x](data:text/html,x)",
        "`<b>`",
        "| <b> |\n|---|\n| <i> |",
        "# <h1>",
    ],
)
def test_hostile_text_stays_text(text):
    html = rendered(text)
    assert "href" not in html
    assert not re.search(r"<(script|img|b>|i>|h1)", html)


def test_what_the_grammar_knows():
    html = rendered(
        "# Un\n## Deux\nUn **gras** et `code`.\nSuite [1]\n- a\n- b\n\n1. un\n2. deux\n\n> mot\n\n"
        "| A | B |\n|---|---|\n| 1 | 2 |\n\n« Dit » [1]\nTitre, lieu\n\nhttps://proue.example/c/two"
    )
    for part in (
        "<h2>Un</h2>",
        "<h2>Deux</h2>",
        "<strong>gras</strong>",
        "<code>code</code>",
        '<a href="/c/one" class="reference">[1]</a>',
        "<ul><li>a</li><li>b</li></ul>",
        "<ol><li>un</li><li>deux</li></ol>",
        "<blockquote><p>mot</p></blockquote>",
        '<th scope="col">A</th>',
        "<td>2</td>",
        '<figure class="cited">',
        "<figcaption>Titre, lieu",
        '<a href="/c/two">',
    ):
        assert part in html, part


def test_bars_fill_the_month():
    drawn = bars(date(2026, 11, 1), date(2026, 11, 30), {date(2026, 11, 3): 10, date(2026, 11, 4): 5})
    assert len(drawn) == 30
    assert [bar.value for bar in drawn[2:4]] == [10, 5]
    assert drawn[2].height == 2 * drawn[3].height
    assert all(bar.y >= 0 and bar.y + bar.height <= BASE + 0.2 for bar in drawn)
    assert all(bar.height > 0 for bar in bars(date(2026, 11, 1), date(2026, 11, 1), {}))


def machine(endpoint: str, clearance: DataClass, **changes) -> Target:
    given = {
        "base_url": "http://127.0.0.1:1/v1",
        "served_as": "m",
        "operations": ("chat",),
        "country": "FR",
        "operator": "Deux-Rives",
        "hq_country": "FR",
    }
    return Target(endpoint=endpoint, clearance=clearance, **given | changes)


@given(
    st.sampled_from(DataClass), st.lists(st.sampled_from(DataClass), min_size=1, max_size=4), st.sampled_from(DataClass)
)
def test_what_the_page_says_never_goes_above_a_clearance(base, clearances, asked):
    grant = routes.Grant(("*",), base, DataClass.RESTRICTED)
    table = routes.routes_of({"m": [machine(f"e{n}", one) for n, one in enumerate(clearances)]}, grant)
    target = routes.destination(table, grant, "m", asked, at=NOW)
    wanted = max(base, asked)
    assert (target is None) == all(one < wanted for one in clearances)
    assert target is None or target.clearance >= wanted


def test_models_that_do_not_chat_are_not_offered_to_the_assistant():
    grant = routes.Grant(("a", "b"), DataClass.PUBLIC, DataClass.PUBLIC)
    published = {
        "a": [machine("x", DataClass.PUBLIC)],
        "b": [machine("x", DataClass.PUBLIC, operations=("embeddings",))],
        "c": [machine("x", DataClass.PUBLIC)],
    }
    assert list(routes.routes_of(published, grant)) == ["a"]


def test_a_model_that_is_shut_is_not_the_first_to_be_offered():
    grant = routes.Grant(("*",), DataClass.INTERNAL, DataClass.RESTRICTED)
    published = {
        "connected": [machine("x", DataClass.PUBLIC)],
        "b": [machine("y", DataClass.PERSONAL)],
        "a": [machine("z", DataClass.INTERNAL)],
    }
    assert list(routes.open_first(published, grant, at=NOW)) == ["b", "a", "connected"]


def test_the_page_says_closed_when_the_gateway_would():
    grant = routes.Grant(("*",), DataClass.PUBLIC, DataClass.RESTRICTED)
    gate = Gate(DataClass.PERSONAL, until=NOW.timestamp() + 1)
    table = {"m": [machine("x", DataClass.RESTRICTED, gates=(gate,))]}
    assert routes.destination(table, grant, "m", DataClass.PERSONAL, at=NOW).endpoint == "x"
    shut = Gate(DataClass.PERSONAL, closed_by=(Because("CK-1", "EX-1", "undetermined", "missing"),))
    table = {"m": [machine("x", DataClass.RESTRICTED, gates=(shut,))]}
    assert routes.destination(table, grant, "m", DataClass.PERSONAL, at=NOW) is None


@pytest.mark.parametrize(
    ("country", "words_said"),
    [
        ("FR", "droit français"),
        ("DE", "Allemagne"),
        ("NO", "Espace économique européen"),
        ("US", "hors de l’Union"),
        ("ZZ", "non déclaré"),
    ],
)
def test_the_law_is_that_of_the_head_office(country, words_said):
    with translation.override("fr"):
        assert words_said in words.law(country)


def test_a_country_that_nobody_declared_is_said_to_be_so():
    with translation.override("fr"):
        assert words.country("ZZ") == "pays non déclaré"
