"""Sign in, ask, read the cited passage: by mouse, by keyboard alone, and without script."""

import json
import re
import time

import pytest

from tests.conftest import require
from tests.journeys.browser import DESKTOP, PHONE, launch, tab

pytestmark = pytest.mark.browser

QUESTION = "Comment demander une année de césure aux Deux-Rives ?"
STUDENT = "etudiante@deux-rives.example"


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


def ask(one, question: str = QUESTION) -> None:
    one.page.fill("#id_question", question)
    one.page.click("#send")
    expect(one.page.locator("#said")).to_have_text("Réponse complète.", timeout=20_000)


def test_sign_in_ask_and_read_the_cited_passage(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT)
        one.go("/assistant/")
        expect(one.page.locator("#where")).to_contain_text("France, sous droit français")
        ask(one)
        answer = one.page.locator(".exchange").first
        expect(answer.locator("h2")).to_have_text(QUESTION)
        quote = answer.locator(".cited blockquote").first.inner_text()
        expect(answer.locator("[data-part=energy]")).to_have_text(re.compile(r"\d.*\s(µ|m)?Wh \(de .+ à .+\) estimé"))
        expect(answer.locator("[data-part=model]")).to_have_text("proue-citations")
        expect(answer.locator("[data-part=endpoint]")).to_have_text("proue-extractif")
        one.shoot("assistant-answer")
        answer.locator(".reference").first.click()
        expect(one.page.locator("h1")).to_have_text("Passage cité")
        marked = one.page.locator("mark").inner_text()
        assert words(marked) in words(quote)
        one.shoot("assistant-passage")
        one.page.get_by_role("link", name="Lire le texte entier").click()
        expect(one.page.locator("h1")).to_have_text("La période de césure")
        one.page.go_back()
        one.page.go_back()
        expect(one.page.locator(".exchange h2")).to_have_text(QUESTION)
        assert one.troubles == []
        assert one.foreign == []


def words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def test_by_keyboard_alone(browser, proue_up):
    """Tab and Enter only, from the home page to the passage; the focus is to be seen, and never moves by itself."""
    with tab(browser, proue_up.url) as one:
        one.go("/")
        one.page.keyboard.press("Tab")
        assert focused(one) == "Aller au contenu"
        reach(one, "Se connecter")
        one.page.keyboard.press("Enter")
        one.page.wait_for_url("**/compte/connexion/**")
        reach(one, "", selector="#id_login")
        one.page.keyboard.type(STUDENT)
        reach(one, "", selector="#id_password")
        one.page.keyboard.type("proue-demonstration")
        one.page.keyboard.press("Enter")
        one.page.wait_for_url(one.base + "/")
        reach(one, "Assistant")
        one.page.keyboard.press("Enter")
        one.page.wait_for_url("**/assistant/")
        reach(one, "", selector="#id_question")
        one.page.keyboard.type(QUESTION)
        reach(one, "Demander")
        one.page.keyboard.press("Enter")
        expect(one.page.locator("#said")).to_have_text("Réponse complète.", timeout=20_000)
        assert one.page.evaluate("document.activeElement.id") == "send", "the focus must not move by itself"
        reach(one, "[1]")
        assert one.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        one.page.keyboard.press("Enter")
        expect(one.page.locator("h1")).to_have_text("Passage cité")


def focused(one) -> str:
    return one.page.evaluate("document.activeElement.textContent.trim()")


def reach(one, name: str, *, selector: str = "", most: int = 60) -> None:
    for _ in range(most):
        one.page.keyboard.press("Tab")
        here = one.page.evaluate("s => s ? document.activeElement.matches(s) : false", selector)
        if here or (name and focused(one) == name):
            return
    raise AssertionError(f"{name or selector} was not reached with {most} Tabs")


def test_without_script(browser, proue_up):
    with tab(browser, proue_up.url, java_script_enabled=False, viewport=PHONE, color_scheme="dark") as one:
        one.sign_in(STUDENT)
        one.go("/assistant/")
        one.page.get_by_role("link", name="Comment demander une année de césure").click()
        one.page.click("#send")
        expect(one.page.locator(".exchange h2")).to_have_text(QUESTION)
        expect(one.page.locator(".cost")).to_contain_text("proue-extractif")
        one.shoot("assistant-without-script")
        one.page.locator(".exchange .reference").first.click()
        expect(one.page.locator("mark")).to_be_visible()


def test_a_visitor_gets_public_documents_only(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/assistant/")
        ask(one, "Combien de jours de télétravail par semaine ?")
        assert "Note de service" not in one.page.locator(".exchange").inner_text()
        ask(one)
        expect(one.page.locator(".exchange").first.locator(".reference").first).to_be_visible()


def test_a_class_that_no_machine_may_receive_is_said_and_not_sent(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT).go("/assistant/")
        sent: list[str] = []
        one.page.on("request", lambda request: sent.append(request.url) if "/v1/" in request.url else None)
        one.page.fill("#id_question", "Un résultat de zone protégée")
        one.page.check("#class-restricted")
        expect(one.page.locator("#where")).to_contain_text("rien ne partira")
        expect(one.page.locator("#send")).to_be_disabled()
        one.page.locator("#id_question").press("Control+Enter")
        one.page.check("#class-internal")
        expect(one.page.locator("#send")).to_be_enabled()
        assert sent == []


def test_all_at_once_is_remembered_and_streams_nothing(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        bodies: list[dict] = []
        one.page.on("request", lambda request: bodies.append(request.post_data_json) if "/v1/" in request.url else None)
        one.go("/assistant/")
        one.page.check("#whole")
        one.go("/assistant/")
        expect(one.page.locator("#whole")).to_be_checked()
        ask(one)
        assert "stream" not in bodies[-1]
        expect(one.page.locator(".reference").first).to_be_visible()
        expect(one.page.locator("[data-part=energy]")).to_contain_text("estimé")


def test_what_is_read_aloud(browser, proue_up):
    """Streamed text stays out of any live region; the polite one only ever receives a sentence."""
    with tab(browser, proue_up.url) as one:
        one.go("/assistant/")
        ask(one)
        answer = one.page.locator(".exchange .said")
        assert answer.evaluate("node => node.closest('[aria-live], [role=status], [role=alert], [role=log]')") is None
        assert one.page.locator("#said").get_attribute("role") == "status"
        assert len(one.page.locator("#said").inner_text()) < 40


def sse(*chunks: dict | str) -> str:
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in chunks)


def piece(content: str) -> dict:
    return {"model": "m", "choices": [{"index": 0, "delta": {"content": content}}]}


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, sse(piece("Un début"), {"error": {"message": "La machine s’est arrêtée."}}), "La machine s’est arrêtée."),
        (200, sse(piece("Un début")), "La réponse s’est interrompue avant la fin"),
        (200, sse(piece(""), "[DONE]"), "Le modèle n’a rien répondu"),
        (403, json.dumps({"error": {"message": "Rien n’a été transmis <i>.", "code": "x"}}), "transmis <i>."),
        (502, "<html>", "La passerelle ne répond pas"),
    ],
)
def test_what_goes_wrong_is_said_and_can_be_tried_again(browser, proue_up, status, body, sentence):
    """The wire's faults are played in the browser's own network layer: the page under test is the real one."""
    with tab(browser, proue_up.url) as one:
        one.go("/assistant/")
        one.page.route("**/v1/chat/completions", lambda route: route.fulfill(
            status=status, content_type="text/event-stream" if status == 200 else "application/json", body=body,
        ))  # fmt: skip
        one.page.fill("#id_question", QUESTION)
        one.page.click("#send")
        notice = one.page.locator(".exchange .notice")
        expect(notice).to_contain_text(sentence)
        expect(one.page.locator("#said")).to_contain_text(sentence)
        assert one.page.locator("#id_question").input_value() == QUESTION, "the question is not lost"
        one.page.unroute("**/v1/chat/completions")
        notice.get_by_role("button", name="Réessayer").click()
        expect(one.page.locator("#said")).to_have_text("Réponse complète.", timeout=20_000)
        expect(one.page.locator(".exchange")).to_have_count(1)


def test_a_hostile_answer_stays_text(browser, proue_up):
    hostile = (
        "<img src=x onerror=alert(1)> **<b>gras</b>** [x](javascript:alert(1)) [y](https://evil.example/c/1) "
        "https://evil.example/c/2\n\n- <script>alert(2)</script>\n\n« <svg onload=alert(3)> » [1]\nT"
    )
    cited = [{"url": "javascript:alert(4)", "title": "faux"}, {"url": "/c/<script>", "title": "<script>vrai</script>"}]
    body = sse(piece(hostile), {"choices": [{"delta": {"content": "", "citations": cited}}]}, "[DONE]")
    with tab(browser, proue_up.url) as one:
        dialogs: list[str] = []
        one.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        one.go("/assistant/")
        one.page.route("**/v1/chat/completions", lambda route: route.fulfill(
            status=200, content_type="text/event-stream", headers={"x-proue-endpoint": "e"}, body=body,
        ))  # fmt: skip
        ask(one)
        answer = one.page.locator(".exchange")
        assert answer.locator("img, script, svg[onload], b").count() == 0
        hrefs = answer.locator(".said a, .sources a").evaluate_all(
            "links => links.map(one => one.getAttribute('href'))"
        )
        assert hrefs
        assert all(href.startswith("/c/") for href in hrefs), hrefs
        assert dialogs == []


def test_stop_is_always_within_reach(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/assistant/")
        one.page.route("**/v1/chat/completions", lambda _route: None)  # an engine that never begins
        one.page.fill("#id_question", QUESTION)
        one.page.click("#send")
        expect(one.page.get_by_role("button", name="Arrêter")).to_be_visible()
        one.page.get_by_role("button", name="Arrêter").click()
        expect(one.page.locator("#said")).to_have_text("Réponse arrêtée.")
        assert one.page.evaluate("document.activeElement.id") == "stop", "the focus stays where the person put it"
        one.page.keyboard.press("Tab")
        expect(one.page.get_by_role("button", name="Arrêter")).to_be_hidden()
        expect(one.page.locator("#send")).to_be_enabled()


def test_the_tab_forgets_when_someone_else_sits_down(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT).go("/assistant/")
        ask(one, "Combien de jours de télétravail par semaine ?")
        one.go("/assistant/")
        expect(one.page.locator(".exchange")).to_have_count(1)
        one.page.get_by_role("button", name="Se déconnecter").first.click()
        one.page.wait_for_url(f"{one.base}/")
        one.page.go_back()
        expect(one.page.locator(".exchange .cited")).to_have_count(0)
        one.go("/assistant/")
        expect(one.page.locator(".exchange")).to_have_count(0)


def test_signing_out_in_another_tab_ends_the_assistant_here(browser, proue_up):
    """What a member's tab may read ends with the session, in every tab and at once."""
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT).go("/assistant/")
        ask(one, "Combien de jours de télétravail par semaine ?")
        other = one.page.context.new_page()
        other.goto(f"{proue_up.url}/assistant/")
        other.get_by_role("button", name="Se déconnecter").first.click()
        expect(one.page.locator("#said")).to_contain_text("Votre session a expiré")
        expect(one.page.locator(".exchange .cited")).to_have_count(0)
        one.page.fill("#id_question", "Et les congés ?")
        one.page.click("#send")
        one.page.wait_for_timeout(500)
        expect(one.page.locator(".exchange .cited")).to_have_count(0)
        expect(one.page.locator("#id_question")).to_have_value("Et les congés ?")


def test_an_expired_session_says_so_and_keeps_the_question(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT).go("/assistant/")
        one.page.context.clear_cookies()
        one.page.fill("#id_question", QUESTION)
        one.page.click("#send")
        notice = one.page.locator(".exchange .notice")
        expect(notice).to_contain_text("Votre session a expiré")
        expect(notice.get_by_role("link", name="Se connecter")).to_be_visible()
        expect(one.page.locator("#id_question")).to_have_value(QUESTION)


SLOW = """(() => {
  const real = window.fetch;
  window.fetch = (url, options) => {
    if (!String(url).includes("/v1/")) return real(url, options);
    const piece = { model: "m", choices: [{ delta: { content: "Un début" } }] };
    const body = new ReadableStream({ start(out) {
      out.enqueue(new TextEncoder().encode("data: " + JSON.stringify(piece) + "\\n\\n"));
      options.signal.addEventListener("abort", () => out.error(options.signal.reason));
    } });
    return Promise.resolve(new Response(body, { status: 200 }));
  };
})()"""


def test_a_stopped_answer_is_remembered_with_its_mark_and_a_new_conversation_forgets(browser, proue_up):
    """An engine that begins and never ends: stopped once, left once."""
    with tab(browser, proue_up.url) as one:
        one.page.add_init_script(SLOW)
        one.go("/assistant/")
        for question in ("La première ?", "La seconde ?"):
            one.page.fill("#id_question", question)
            one.page.click("#send")
            expect(one.page.locator(".exchange").first).to_contain_text("Un début")
            if question == "La première ?":
                one.page.get_by_role("button", name="Arrêter").click()
                expect(one.page.locator("#said")).to_have_text("Réponse arrêtée.")
        one.page.reload()
        expect(one.page.locator(".exchange")).to_have_count(2)
        expect(one.page.locator(".exchange").nth(1)).to_contain_text("Réponse arrêtée.")
        expect(one.page.locator(".exchange").nth(0)).to_contain_text("La réponse s’est interrompue avant la fin")
        one.page.get_by_role("button", name="Nouvelle conversation").click()
        expect(one.page.locator(".exchange")).to_have_count(0)
        one.page.reload()
        expect(one.page.locator(".exchange")).to_have_count(0)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_answer_is_seen_where_it_is_written(browser, proue_up, viewport):
    with tab(browser, proue_up.url, viewport=viewport) as one:
        one.sign_in(STUDENT).go("/assistant/")
        for question in (QUESTION, "Combien de jours de télétravail par semaine ?"):
            ask(one, question)
            one.page.wait_for_timeout(800)  # a scroll that is smooth
            seen = one.page.evaluate(
                "[...document.querySelectorAll('.exchange:first-child > h2, .exchange:first-child .said > *')]"
                ".slice(0, 2).map(node => node.getBoundingClientRect().top)"
            )
            assert len(seen) == 2
            assert all(0 <= top < viewport["height"] - 60 for top in seen), seen
            assert one.page.evaluate("document.activeElement.id") == "send", "the focus must not move by itself"
        one.shoot(f"assistant-seen-{viewport['width']}")


def test_a_long_question_is_counted_and_its_heading_is_kept_short(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.go("/assistant/")
        expect(one.page.locator("#count")).to_be_hidden()
        one.page.fill("#id_question", "césure " * 571)
        expect(one.page.locator("#count")).to_contain_text(re.compile(r"3.997 signes sur 4.000"))
        one.page.click("#send")
        heading = one.page.locator(".exchange h2")
        assert heading.bounding_box()["height"] < 160
        assert heading.get_attribute("tabindex") == "0", "what scrolls is reached by keyboard"


def test_wide_places_stay_within_the_window(browser, proue_up):
    """At 1280: the list of keys with its last column, and a passage with its long source."""
    with tab(browser, proue_up.url) as one:
        one.sign_in("enseignant@deux-rives.example").go("/etablissement/cles/nouvelle/")
        one.page.fill("#id_name", "un nom de clé assez long pour prendre de la place dans sa colonne")
        one.page.click("main button.main")
        expect(one.page.locator("#secret")).to_be_visible()
        one.go("/etablissement/cles/")
        one.shoot("keys")
        assert one.page.locator(".scroll").evaluate("node => node.scrollWidth - node.clientWidth") <= 0
        one.go("/assistant/")
        ask(one)
        one.page.locator(".reference").first.click()
        expect(one.page.locator("h1")).to_have_text("Passage cité")
        root = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert one.page.evaluate(root) <= 0
        assert one.page.locator(".reading aside").evaluate("node => node.scrollWidth - node.clientWidth") <= 0


def test_a_member_asks_what_is_nobody_s_secret_as_a_visitor_would(browser, proue_up):
    with tab(browser, proue_up.url) as one:
        one.sign_in(STUDENT).go("/assistant/")
        one.page.get_by_text("rien de personnel").first.click()
        ask(one, "Combien de jours de télétravail par semaine aux Deux-Rives ?")
        assert "télétravail" not in " ".join(one.page.locator(".sources a").all_inner_texts()).lower()


def test_a_key_made_in_the_browser_opens_the_gateway(browser, proue_up):
    """Create, copy, call with the real client, revoke, be refused."""
    from openai import AuthenticationError, OpenAI

    with tab(browser, proue_up.url) as one:
        one.sign_in("enseignant@deux-rives.example").go("/etablissement/cles/nouvelle/")
        one.page.fill("#id_name", "essai du navigateur")
        one.page.click("main button.main")
        secret = one.page.locator("#secret").inner_text()
        one.shoot("key-created")
        client = OpenAI(base_url=f"{proue_up.url}/v1", api_key=secret, max_retries=0)
        eventually(lambda: not refused(client, AuthenticationError))
        one.go("/etablissement/cles/?q=essai")
        one.page.get_by_role("link", name="Révoquer essai du navigateur").first.click()
        one.page.get_by_role("button", name="Révoquer la clé").click()
        expect(one.page.locator(".notice.kept")).to_contain_text("n’ouvre plus rien")
        eventually(lambda: refused(client, AuthenticationError))


def refused(client, kind) -> bool:
    try:
        client.models.list()
    except kind:
        return True
    return False


def eventually(works, *, seconds: float = 15) -> None:
    """The snapshot reaches the gateway within seconds of the click."""
    deadline = time.monotonic() + seconds
    while not works():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
