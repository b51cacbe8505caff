"""The visit, in order: where a sensitive question goes, why, what an expiry changes, and what it leads back to."""

import pytest

from tests.conftest import require
from tests.journeys.browser import launch, tab

pytestmark = pytest.mark.browser

CLAUSE, NEED = "CL-CCTP-SOV-006", "BC-028"


@pytest.fixture(scope="module")
def browser():
    require("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


def expect(locator):
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(locator)


def ask(one):
    one.go("/visite/")
    one.page.get_by_role("button", name="Poser la question sensible").click()
    return one.page.locator("#incident .notice[role=status]")


def play(one, button: str, open_ways: int) -> None:
    one.go("/visite/")
    one.page.get_by_role("button", name=button).click()
    expect(one.page.locator("#incident .badge.kept")).to_have_count(open_ways, timeout=20_000)


def test_the_visit_in_order(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/")
        expect(one.page.locator(".strip li.live")).to_have_count(6)
        one.page.get_by_role("link", name="Faire la visite en cinq minutes").click()
        one.shoot("visit")

        expect(ask(one)).to_contain_text("Servie par estuaire-nantes.")
        one.page.get_by_role("link", name="Pourquoi là", exact=False).last.click()
        expect(one.page.locator("h1")).to_contain_text("Pourquoi là")
        expect(one.page.locator("main")).to_contain_text(CLAUSE)
        expect(one.page.locator("main")).to_contain_text(NEED)
        one.shoot("visit-why")
        one.page.get_by_role("link", name="CK-EX-SOV-006-a").last.click()
        expect(one.page.locator("main")).to_contain_text("p.snc_status")

        play(one, "Laisser expirer la suivante", 1)
        expect(ask(one)).to_contain_text("Servie par armor-rennes.")
        play(one, "Laisser expirer la suivante", 0)
        refused = ask(one)
        expect(refused).to_contain_text("rien n’a été transmis")
        one.shoot("visit-refused")
        refused.get_by_role("link", name=CLAUSE).first.click()
        expect(one.page.locator("h1")).to_contain_text(CLAUSE)
        one.page.go_back()
        one.page.locator("#incident").get_by_role("link", name=NEED).first.click()
        expect(one.page.locator("main")).to_contain_text("Ce qu’il est devenu")

        play(one, "Tout renouveler", 2)
        expect(ask(one)).to_contain_text("Servie par estuaire-nantes.")

        one.go("/preuves/PV-AC-2026-01-2026-09/")
        expect(one.page.locator("main")).to_contain_text("CK-EX-SLA-002-a")
        one.shoot("visit-statement")
        assert one.troubles == []
        assert one.foreign == []
