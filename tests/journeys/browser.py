"""A real Chromium for the journeys: nothing downloaded, nothing sent elsewhere, what goes wrong is remembered."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright

from proue.config.demo.cast import PASSWORD

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip
OUT = Path(__file__).parent.parent / "out"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


@dataclass
class Tab:
    page: Page
    base: str
    troubles: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def go(self, path: str) -> "Tab":
        self.page.goto(self.base + path)
        return self

    def sign_in(self, email: str) -> "Tab":
        self.go("/compte/connexion/")
        self.page.fill("#id_login", email)
        self.page.fill("#id_password", PASSWORD)
        self.page.click("main button.main")
        self.page.wait_for_url(self.base + "/")
        return self

    def shoot(self, name: str) -> None:
        OUT.mkdir(exist_ok=True)
        self.page.screenshot(path=OUT / f"{name}.png", full_page=True)


@contextmanager
def tab(browser: Browser, base: str, **options: object) -> Iterator[Tab]:
    """A window of its own. What the page logs as an error, and what it asks of another host, is kept."""
    context = browser.new_context(**({"viewport": DESKTOP, "color_scheme": "light", "locale": "fr-FR"} | options))
    page = context.new_page()
    one = Tab(page, base)
    page.on("console", lambda said: one.troubles.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: one.troubles.append(str(error)))
    page.on("request", lambda asked: one.foreign.append(asked.url) if not asked.url.startswith(base) else None)
    try:
        yield one
    finally:
        context.close()
