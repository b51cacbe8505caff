"""The file that verifies itself, opened from the disk of somebody who has no network: true, changed, forged."""

import json
import re
from base64 import b64encode
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proue.assurance.models import Statement
from proue.assurance.signing import signed_bytes
from proue.ledger import queries as ledger
from proue.portal.proofs.statement_html import SAY, statement_html
from proue.store.access import system
from tests.conftest import require

pytestmark = pytest.mark.browser
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def make(site, key=KEY, published=KEY):
    """Before any browser runs: Django reads no database beside a running loop."""
    with system("doctor"), pytest.MonkeyPatch.context() as patch:
        raw = published.public_key().public_bytes_raw()
        patch.setattr(ledger, "public_keys", lambda: {"cle-1": raw})
        row = Statement.objects.select_related("commitment").get(pk=site.statement.pk)
        if key is not None:
            row.ledger_sequence, row.ledger_hash = 12, "ab" * 32
            head = {"sequence": row.ledger_sequence, "hash": row.ledger_hash}
            row.key_id, row.signature = "cle-1", key.sign(signed_bytes(row.code, row.version, row.digest, head))
        return statement_html(row)


def opened(site):
    """A statement that the demonstration confirmed: signed by the ledger itself."""
    with system("doctor"):
        rows = Statement.objects.select_related("commitment").filter(signature__isnull=False)
        return statement_html(rows.order_by("-month")[0])


@pytest.fixture(scope="module")
def files(site):
    return SimpleNamespace(
        signed=make(site),
        opened=opened(site),
        unsigned=make(site, key=None),
        forged=make(site, key=OTHER),
        code=site.statement.code,
    )


@pytest.fixture(scope="module")
def browser(files):
    require("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    from tests.journeys.browser import launch

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


def read(browser, path, html, *, script=""):
    """(state, sentence, details): what the file says of itself, and that it asked for nothing."""
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(locale="fr-FR", viewport={"width": 360, "height": 740})
    asked, troubles = [], []
    try:
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda one: troubles.append(str(one)))
        page.goto(path.as_uri())
        page.wait_for_function("!document.getElementById('verdict').textContent.startsWith('Contrôle du fichier')")
        state = page.get_attribute("#verdict", "data-state")
        said = (state, page.inner_text("#verdict"), page.locator("#details li").all_inner_texts())
    finally:
        context.close()
    assert asked == [path.as_uri()]
    assert troubles == []
    return said


def test_a_true_file_is_verified_without_a_server(browser, files, tmp_path):
    state, said, details = read(browser, tmp_path / "vrai.html", files.signed)
    assert (state, said, details) == ("kept", SAY["kept"], [])
    assert "Vérifié" in said


def test_a_file_that_the_ledger_signed_is_verified(browser, files, tmp_path):
    state, said, details = read(browser, tmp_path / "ouvert.html", files.opened)
    assert (state, said, details) == ("kept", SAY["kept"], [])


def test_a_head_of_the_ledger_changed_does_not_pass_the_signature(browser, files, tmp_path):
    html = files.signed.replace('"sequence":12', '"sequence":13')
    assert html != files.signed
    state, said, _ = read(browser, tmp_path / "tete.html", html)
    assert (state, said) == ("broken", SAY["signature"])


def test_a_file_without_a_signature_says_so(browser, files, tmp_path):
    state, said, _ = read(browser, tmp_path / "sans.html", files.unsigned)
    assert (state, said) == ("unknown", SAY["unsigned"])
    assert "érifié" not in said


def shown(html, pointer):
    return re.search(rf'data-at="{re.escape(pointer)}"[^>]*>([^<]*)<', html)


def test_one_digit_changed_on_screen_is_named(browser, files, tmp_path):
    found = shown(files.signed, "/counts/conforming")
    other = str((int(found[1][0]) + 1) % 10) + found[1][1:]
    html = files.signed[: found.start(1)] + other + files.signed[found.end(1) :]
    state, said, details = read(browser, tmp_path / "affiche.html", html)
    assert (state, said) == ("broken", SAY["changed"])
    assert any(f"conforme\u00a0: le fichier affiche «\u00a0{other}\u00a0»" in one for one in details), details
    assert not any("érifié" in one for one in [said, *details])


def test_one_digit_changed_in_the_data_is_named(browser, files, tmp_path):
    html = files.signed.replace('"value":0.9991', '"value":0.9992', 1)
    assert html != files.signed
    state, said, details = read(browser, tmp_path / "donnee.html", html)
    assert (state, said) == ("broken", SAY["changed"])
    assert any(one.startswith("disponibilité du mois") for one in details), details


def test_the_same_lie_on_screen_and_in_the_data_is_found(browser, files, tmp_path):
    html = files.signed.replace('"value":0.9991', '"value":0.9992', 1).replace(">0,9991<", ">0,9992<")
    state, said, details = read(browser, tmp_path / "deux.html", html)
    assert (state, said) == ("broken", SAY["changed"])
    assert any("disponibilité" in one for one in details), details


def test_a_lie_whose_digests_were_made_anew_does_not_pass_the_signature(browser, files, tmp_path):
    """The forger writes the figure, the screen, every digest: not the signature."""
    from proue.kernel.canonical import canonical, digest
    from proue.portal.proofs.statement_html import _in_script, _marks

    raw = re.search(r'id="data">(.*?)</script>', files.signed, re.DOTALL)[1]
    data = json.loads(raw.replace("0.9991", "0.9992"))
    data["digest"], data["marks"] = digest(data["body"]), _marks(data["body"])
    html = files.signed.replace(raw, "DATA").replace(">0,9991<", ">0,9992<")
    html = html.replace(json.loads(raw)["digest"], data["digest"])
    data["page"] = page_digest(html)
    html = html.replace("DATA", _in_script(canonical(data).decode()))
    state, said, _ = read(browser, tmp_path / "refait.html", html)
    assert (state, said) == ("broken", SAY["signature"])


def without_row(html, pointer):
    """A row taken off the screen, and the digest of the page made anew; the data and the signature are true."""
    row = next(one for one in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if f'data-at="{pointer}"' in one)
    cut = html.replace(row, "")
    raw = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1]
    return cut.replace(json.loads(raw)["page"], page_digest(cut))


@pytest.mark.parametrize("pointer", ["/findings/0/verdict", "/indicators/0/value"])
def test_a_row_that_is_no_longer_shown_is_named(browser, files, tmp_path, pointer):
    html = without_row(files.signed, pointer)
    state, said, details = read(browser, tmp_path / "rangee.html", html)
    assert (state, said) == ("broken", SAY["changed"])
    assert details, "which row is gone"
    assert all(one.endswith(SAY["gone"].removeprefix("{what}")) for one in details), details


def test_a_row_removed_from_the_data_too_is_found(browser, files, tmp_path):
    data = json.loads(re.search(r'id="data">(.*?)</script>', files.signed, re.DOTALL)[1])
    last = len(data["body"]["findings"]) - 1
    html = without_row(files.signed, f"/findings/{last}/verdict")
    raw = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1]
    data = json.loads(raw)
    gone = data["body"]["findings"].pop()
    html = html.replace(raw, json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))
    state, said, details = read(browser, tmp_path / "constat.html", html)
    assert (state, said) == ("broken", SAY["changed"])
    assert SAY["digest"] in details
    assert gone["check"] not in html.split("<script", 1)[0]


def test_another_statement_s_signature_does_not_fit(browser, files, tmp_path):
    """Signed by the right key, of another month or of another version: the signature names what it covers."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', files.signed, re.DOTALL)[1])
    for code, version in ((f"{files.code}-autre", data["version"]), (files.code, data["version"] + 1)):
        other = b64encode(KEY.sign(signed_bytes(code, version, data["digest"]))).decode()
        html = files.signed.replace(data["signature"], other)
        state, said, _ = read(browser, tmp_path / "rejoue.html", html)
        assert (state, said) == ("broken", SAY["signature"])


def page_digest(html):
    from hashlib import sha256

    from proue.portal.proofs.statement_html import _text

    return sha256(_text(re.search(r"<main>(.*)</main>", html, re.DOTALL)[1]).encode()).hexdigest()


def test_another_key_s_signature_is_refused(browser, files, tmp_path):
    state, said, _ = read(browser, tmp_path / "autre.html", files.forged)
    assert (state, said) == ("broken", SAY["signature"])


def test_a_word_changed_in_the_text_is_seen(browser, files, tmp_path):
    html = files.signed.replace("<h2>Écarts</h2>", "<h2>Rien</h2>")
    state, said, details = read(browser, tmp_path / "mot.html", html)
    assert (state, said, details) == ("broken", SAY["changed"], [SAY["page"]])


@pytest.mark.parametrize("cut", [1, 0.5])
def test_a_damaged_file_says_so(browser, files, tmp_path, cut):
    raw = re.search(r'id="data">(.*?)</script>', files.signed, re.DOTALL)[1]
    html = files.signed.replace(raw, raw[: int(len(raw) * cut) - 1])
    state, said, _ = read(browser, tmp_path / "abime.html", html)
    assert (state, said) == ("broken", SAY["unreadable"])


def test_a_browser_without_ed25519_says_that_it_cannot_tell(browser, files, tmp_path):
    script = """
    const real = crypto.subtle.importKey.bind(crypto.subtle);
    crypto.subtle.importKey = (...given) => given[2].name === "Ed25519"
      ? Promise.reject(new DOMException("no", "NotSupportedError")) : real(...given);
    """
    state, said, _ = read(browser, tmp_path / "vieux.html", files.signed, script=script)
    assert (state, said) == ("unknown", SAY["no_ed25519"])
    assert "érifié" not in said


def test_a_browser_without_digests_says_that_it_cannot_tell(browser, files, tmp_path):
    script = "Object.defineProperty(globalThis, 'crypto', {value: undefined});"
    state, said, _ = read(browser, tmp_path / "tres-vieux.html", files.signed, script=script)
    assert (state, said) == ("unknown", SAY["no_crypto"])


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_changed_script_does_not_run_and_one_that_is_gone_leaves_its_warning(browser, files, tmp_path, how):
    """Its own policy names the digest of its script; the sentence that stands before it ran says what that means."""
    path = tmp_path / "script.html"
    if how == "changed":
        html = files.signed.replace('say("broken", SAY.signature)', 'say("kept", SAY.kept)')
    else:
        html = re.sub(r"<script>.*?</script>", "", files.signed, flags=re.DOTALL)
    assert html != files.signed
    path.write_text(html, encoding="utf-8")
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_timeout(300)
        assert page.inner_text("#verdict").startswith("Contrôle du fichier en cours. Si cette phrase reste")
    finally:
        context.close()


def test_the_file_is_accessible_and_prints(browser, files, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    from tests.journeys.test_browser_pages import RULES

    path = tmp_path / "accessible.html"
    path.write_text(files.signed, encoding="utf-8")
    context = browser.new_context(viewport={"width": 360, "height": 740}, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        found = Axe().run(page, options=RULES).response["violations"]
        assert [one["id"] for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.emulate_media(media="print")
        assert page.is_visible("main table")
    finally:
        context.close()
