"""The command `proue`. Django is loaded only by the commands that need it."""

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proue.config import environment as env

if TYPE_CHECKING:
    from proue.kernel.personal import Shape

EXAMPLE = "docs/how-to/apply.md"


class Main(click.Group):
    """Prints what is unavailable as one sentence, and no trace."""

    def invoke(self, ctx: click.Context) -> object:
        from proue.config.postgres import PostgresUnavailable
        from proue.config.postgres.trouble import from_driver
        from proue.kernel.refusal import Refusal

        try:
            return super().invoke(ctx)
        except PostgresUnavailable as error:
            raise click.ClickException(str(error)) from error
        except Refusal as refusal:
            raise click.ClickException(_say(refusal)) from refusal
        except Exception as error:
            unavailable = from_driver(error)
            if unavailable is None:
                raise
            raise click.ClickException(str(unavailable)) from error

    def main(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        click.exceptions.ClickException.show = _show  # type: ignore[method-assign]
        return super().main(*args, **kwargs)  # type: ignore[call-overload]


def _show(self: click.ClickException, file: object = None) -> None:
    click.echo(self.format_message(), err=True)


def _say(refusal: object) -> str:
    from proue.portal.messages import say

    return str(say(refusal))  # type: ignore[arg-type]


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="proue")
def cli() -> None:
    """Proue: the generative-AI platform that universities share."""


@cli.command()
@click.option("--host", default=lambda: env.text("PROUE_HOST", "127.0.0.1"), help="Address to listen on.")
@click.option(
    "--port", default=lambda: env.integer("PROUE_PORT", 8400, low=1, high=65535), type=click.IntRange(1, 65535)
)
@click.option("--data-dir", default=None, type=click.Path(path_type=Path))
@click.option("--no-demo", is_flag=True, help="Without the demonstration world.")
def up(host: str, port: int, data_dir: Path | None, no_demo: bool) -> None:
    """Everything in one process tree; embedded PostgreSQL unless DATABASE_URL is set."""
    from proue.config import up as tree

    options = tree.Options(host=host, port=port, data_dir=(data_dir or env.data_dir()).absolute(), demo=not no_demo)
    os.environ["PROUE_DATA_DIR"] = str(options.data_dir)
    sys.exit(tree.up(options))


@cli.command()
@click.option("--workers", default=1, type=click.IntRange(1, 64))
@click.option("--snapshot", default=None, type=click.Path(), help="A laboratory's signed file: no database, no portal.")
@click.option(
    "--spool", default=None, type=click.Path(), help="Directory where a laboratory's gateway keeps its counts."
)
@click.option("--trust", default=None, help="Public key of the instance that signs the file, or a file that holds it.")
def gateway(workers: int, snapshot: str | None, spool: str | None, trust: str | None) -> None:
    """The gateway alone (data plane)."""
    from proue.gateway.main import main as serve

    for name, value in (("PROUE_SNAPSHOT", snapshot), ("PROUE_SPOOL", spool), ("PROUE_TRUST", trust)):
        if value is not None:
            os.environ[name] = value  # workers read it there too
    serve(workers=workers)


@cli.group(invoke_without_command=True)
@click.option("--connect", metavar="URL", help="The gateway, as https://ia.alliance.fr.")
@click.option("--endpoint", metavar="CODE", help="The endpoint that this node serves, as it is declared there.")
@click.option("--engine", metavar="URL", help="The engine beside this node, as http://127.0.0.1:8000/v1.")
@click.option("--identity", type=click.Path(path_type=Path), help="The file that `proue node key` made.")
@click.option("--gateway-key", metavar="KEY", help="What `proue node gateway-key` prints at the centre.")
@click.option("--api-key-env", metavar="NAME", help="Variable that holds the engine's key, which then stays here.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Authorities of the gateway's certificate.")
@click.option("--plain", is_flag=True, help="Allow http:// to another machine.")
@click.pass_context
def node(ctx: click.Context, /, api_key_env: str | None, **given: Any) -> None:
    """Beside an engine: one outbound connection to the gateway, and no inbound port."""
    if ctx.invoked_subcommand is not None:
        return
    missing = [name for name in ("connect", "endpoint", "engine", "identity", "gateway_key") if not given[name]]
    if missing:
        raise click.UsageError(f"Il manque --{missing[0].replace('_', '-')}.")
    key = env.text(api_key_env) if api_key_env else ""
    if api_key_env and not key:
        raise env.BadSetting(f"La variable {api_key_env} est vide : elle devait contenir la clé du moteur.")
    from proue.gateway.node import NodeSettings, run

    level = (env.text("PROUE_LOG_LEVEL") or "info").lower()
    sys.exit(run(NodeSettings(engine_key=key, log_level=level, **given)))


@node.command("key")
@click.argument("file", type=click.Path(path_type=Path))
def node_key(file: Path) -> None:
    """Make the node's key in FILE, unless it is there, and print its public half: `node_key` of the endpoint."""
    from proue.wire import identity

    try:
        private = identity.read(file) if file.exists() else identity.create(file)
    except (OSError, identity.BadIdentity) as error:
        raise click.ClickException(f"{file} ne peut pas servir de clé : {error}.") from None
    click.echo(identity.public_of(private))


@node.command("gateway-key")
def node_gateway_key() -> None:
    """At the centre: print the public key by which nodes know the gateways of this instance."""
    from proue.wire import identity

    click.echo(identity.public_of(identity.of_gateway(env.secret_key(env.data_dir()))))


@cli.group()
def snapshot() -> None:
    """What gateways without a database are given."""


@snapshot.command("export")
@click.option("--institution", "uai", required=True, help="UAI code of the laboratory's institution.")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--days", default=30, type=click.IntRange(1, 90), help="How long the file is valid.")
@click.option(
    "--endpoint", "endpoints", multiple=True, help="Code of the laboratory's engine; else all those it may use."
)
@click.option("--use", "uses", multiple=True, help="Code of a restricted use; else all of them.")
def snapshot_export(uai: str, target: Path, days: int, endpoints: tuple[str, ...], uses: tuple[str, ...]) -> None:
    """Write the signed file of a laboratory's gateway: its institution's restricted uses, and nothing of others."""
    from proue.config.connect import database

    with database():
        from proue.config.laboratory import export_snapshot

        click.echo(export_snapshot(uai, target, days=days, endpoints=endpoints, uses=uses))


@cli.group()
def usage() -> None:
    """Counts of a laboratory's gateway: what leaves it, and what comes in."""


@usage.command("export")
@click.option("--spool", required=True, type=click.Path(path_type=Path), help="The gateway's directory.")
@click.option("--to", "target", default=None, type=click.Path(path_type=Path), help="File to write (JSON Lines).")
@click.option("--show", is_flag=True, help="Say what it holds; without --to, what it would hold, and nothing moves.")
def usage_export(spool: Path, target: Path | None, show: bool) -> None:
    """Write the counts that wait, signed: no prompt, no answer, no person. No database."""
    from proue.config.laboratory import export_usage

    click.echo(export_usage(spool, target, show=show))


@usage.command("show")
@click.argument("file", type=click.Path(path_type=Path))
def usage_show(file: Path) -> None:
    """Check a file of counts and say what it holds. No database."""
    from proue.config.laboratory import show_usage

    click.echo(show_usage(file))


@usage.command("key")
@click.option("--spool", required=True, type=click.Path(path_type=Path), help="The gateway's directory.")
def usage_key(spool: Path) -> None:
    """The laboratory's public key: give it, by another way than the file, to whoever imports its counts."""
    from proue.gateway.outbox import public_key

    click.echo(public_key(spool))


@usage.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust", default=None, help="The laboratory's public key, the first time.")
def usage_import(file: Path, trust: str | None) -> None:
    """Count what a laboratory exported; twice the same file counts once."""
    from proue.config.connect import database

    with database():
        from proue.config.laboratory import import_usage

        click.echo(import_usage(file, trust=trust))


@cli.command()
@click.option("--workers", default=1, type=click.IntRange(1, 16))
def portal(workers: int) -> None:
    """The portal and the management API, on a unix socket."""
    from proue.config.serve import serve

    serve("portal", workers=workers)


@cli.command()
def worker() -> None:
    """The jobs."""
    from proue.config.connect import database

    with database():
        from proue.config.worker import run

        run()


@cli.command()
def migrate() -> None:
    """Bring the tables up to date (an advisory lock makes others wait)."""
    from proue.config.connect import database

    with database():
        from proue.config.database import migrate as run

        run(verbosity=1)
        from proue.config.statics import collect

        collect()


@cli.command(hidden=True)
@click.option("--demo", is_flag=True)
def prepare(demo: bool) -> None:
    """What `proue up` runs before it opens: tables, our own engine, the demonstration world."""
    from proue.config.connect import database

    with database():
        from proue.config.prepare import prepare as run

        run(demo=demo)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def apply(files: tuple[Path, ...], dry_run: bool) -> None:
    """Declare institutions, providers, endpoints, models, uses, budgets and keys from YAML."""
    from proue.config.connect import database

    with database():
        from proue.config.apply import BadDeclaration
        from proue.config.apply import apply as run
        from proue.institutions.access import Job
        from proue.kernel.clock import utc_now

        try:
            report = run(files, actor=Job(), at=utc_now(), dry_run=dry_run, wait=True)
        except BadDeclaration as error:
            raise click.ClickException(str(error)) from error
        click.echo(str(report))


@cli.group()
def key() -> None:
    """Keys of declared uses."""


@key.command("create")
@click.option("--use", "use_code", required=True, help="Code of the declared use.")
@click.option("--name", default="ligne de commande")
@click.option("--json", "as_json", is_flag=True)
def key_create(use_code: str, name: str, as_json: bool) -> None:
    """Print a new key, once: only its digest is kept."""
    from proue.config.connect import database

    with database():
        from proue.config.keys import create

        made = create(use_code=use_code, name=name)
        click.echo(json.dumps(made, ensure_ascii=False) if as_json else made["key"])


@cli.group()
def person() -> None:
    """Accounts."""


@person.command("create")
@click.option("--email", required=True)
@click.option("--name", required=True)
@click.option("--institution", "uai", default=None, help="UAI code of the institution this person belongs to.")
@click.option("--status", default="staff", type=click.Choice(["student", "teacher", "researcher", "staff"]))
@click.option("--role", "roles", multiple=True, help="Role in the institution, or everywhere without one.")
@click.password_option(help="At least 12 characters; asked when absent.")
def person_create(email: str, name: str, uai: str | None, status: str, roles: tuple[str, ...], password: str) -> None:
    """Open an account, with its membership and roles."""
    from proue.config.connect import database

    with database():
        from proue.config.people import create

        click.echo(create(email=email, name=name, uai=uai, status=status, roles=roles, password=password))


@cli.group()
def shield() -> None:
    """Personal data."""


@shield.command("scan")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="A list of {kind, start, end}.")
@click.option("--check", is_flag=True, help="Exit with 1 when something was found.")
@click.option(
    "--institution", "uai", default=None, help="UAI code whose student numbers count too (needs the database)."
)
@click.option("--names", is_flag=True, help="Names of people too, where a word announces them.")
def shield_scan(file: str, as_json: bool, check: bool, uai: str | None, names: bool) -> None:
    """Where FILE (UTF-8 text or JSON lines, - for standard input) holds personal data: kind, start, end.

    Exits with 0 once the file was read, whatever was found (with --check: 1 when something was), and with 2 when it
    could not be read. The values are never written.
    """
    from proue.config.shield import Unread, opened, scan, shapes_of

    students: list[Shape] = []
    if uai is not None:
        from proue.config.connect import database

        with database():
            students = shapes_of(uai)
    count = 0
    try:
        with opened(file) as data:
            source = io.TextIOWrapper(data, encoding="utf-8", newline="")
            for count, one in enumerate(scan(source, name=file, students=students, names=names), 1):
                if as_json:
                    line = json.dumps({"kind": one.kind, "start": one.start, "end": one.end})
                    click.echo(f"{'[' if count == 1 else ','}{line}")
                else:
                    click.echo(f"{one.kind}\t{one.start}\t{one.end}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "ce n’est pas du texte UTF-8"
        raise Unread(f"{file}\u00a0: {reason}.") from None
    if as_json:
        click.echo("]" if count else "[]")
    if check and count:
        sys.exit(1)


@cli.group()
def engine() -> None:
    """Inference engines."""


@engine.command("extractive", hidden=True)
def engine_extractive() -> None:
    """The engine that quotes the commons, on a unix socket."""
    from proue.config.serve import serve

    serve("engine", workers=1)


@engine.command("connect")
@click.argument("url")
@click.option("--api-key-env", default=None, help="Variable that holds the engine's key.")
def engine_connect(url: str, api_key_env: str | None) -> None:
    """Declare any OpenAI-compatible engine in one line; its class is `public` until someone says otherwise."""
    from proue.config.connect import database

    with database():
        from proue.config.engines import connect

        click.echo(connect(url, api_key_env=api_key_env))


@engine.command("llama")
@click.option("--gguf", required=True, type=click.Path(path_type=Path))
@click.option("--port", default=0, type=int, help="Port on loopback; 0 picks a free one.")
@click.option("--context", default=4096, type=click.IntRange(256, 1_048_576))
def engine_llama(gguf: Path, port: int, context: int) -> None:
    """Serve a GGUF file through llama.cpp (extra `llama`) and declare it as an endpoint."""
    from proue.config.llama import run

    sys.exit(run(gguf, port=port, context=context))


@cli.command()
@click.argument("reference")
@click.option("--json", "as_json", is_flag=True)
def lineage(reference: str, as_json: bool) -> None:
    """Walk both ways from any object: need, requirement, clause, check, figure or routing decision."""
    from proue.config.connect import database

    with database():
        from proue.config.lineage import as_text, walk

        found = walk(reference)
        click.echo(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


@cli.group()
def route() -> None:
    """Where requests go."""


@route.command("explain")
@click.option("--model", required=True, help="Model or alias.")
@click.option("--use", "use_code", required=True, help="Code of the declared use.")
@click.option("--class", "data_class", help="Class that the request declares; without it, the use's.")
@click.option("--operation", default="chat", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def route_explain(model: str, use_code: str, data_class: str | None, operation: str, as_json: bool) -> None:
    """Say where a request would go by what is published, and why not elsewhere."""
    from proue.config.connect import database

    with database():
        from proue.config.routes import as_text, explain
        from proue.kernel.clock import utc_now

        found = explain(model=model, use=use_code, data_class=data_class, operation=operation, at=utc_now())
        click.echo(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


@cli.group()
def check() -> None:
    """Checks of requirements, and what they say."""


@check.command("eval")
@click.option("--file", "path", required=True, type=click.Path(path_type=Path), help="JSON: p, i, c, ref, now.")
@click.option("--json", "as_json", is_flag=True)
@click.argument("expression")
def check_eval(path: Path, as_json: bool, expression: str) -> None:
    """Evaluate one check against a context: one of the five verdicts, and why."""
    from proue.config.connect import set_up_django

    set_up_django()
    from proue.config.checks import as_json as told
    from proue.config.checks import as_text, evaluate
    from proue.kernel.clock import utc_now

    found = evaluate(path, expression, now=utc_now())
    click.echo(json.dumps(told(found), ensure_ascii=False) if as_json else as_text(found))


@check.command("run")
@click.option("--month", required=True, help="YYYY-MM.")
@click.option("--commitment", default="", help="Code of one commitment; all of them without it.")
def check_run(month: str, commitment: str) -> None:
    """Evaluate the contract's checks over a month, and write its statement."""
    from proue.config.connect import database

    with database():
        from proue.config.months import run
        from proue.kernel.clock import utc_now

        for line in run(month, commitment, at=utc_now()):
            click.echo(line)


@cli.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Say what is configured, reachable, missing, insecure."""
    from proue.config.doctor import run

    sys.exit(run(as_json=as_json))


@cli.command()
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="File to write (.tar).")
def backup(target: Path) -> None:
    """Database, files and keys in one archive."""
    from proue.config.archive import backup as run

    click.echo(run(target))


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Replace what is there without asking.")
def restore(archive: Path, yes: bool) -> None:
    """Put an archive of `proue backup` back. Stop `proue up` first."""
    from proue.config.archive import restore as run

    if not yes:
        click.confirm("La base, les fichiers et les clés présents seront remplacés. Continuer ?", abort=True)
    click.echo(run(archive))


@cli.command()
def upgrade() -> None:
    """Bring an older embedded cluster to our PostgreSQL; its dump is kept. Stop `proue up` first."""
    from proue.config.archive import upgrade as run

    click.echo(run())


@cli.group()
def ledger() -> None:
    """The ledger of facts: its chain, its seals, its keys."""


@ledger.command("verify")
@click.option("--file", "path", default=None, type=click.Path(path_type=Path), help="A copy, checked with no database.")
@click.option("--key", "keys", multiple=True, help="Id of a key that you noted elsewhere: no other counts.")
@click.option(
    "--head", "heads", multiple=True, help="SEQUENCE:HASH that you noted elsewhere (a statement carries one)."
)
@click.option("--json", "as_json", is_flag=True)
def ledger_verify(path: Path | None, keys: tuple[str, ...], heads: tuple[str, ...], as_json: bool) -> None:
    """Check the chain and each signature; name what was altered. Exit 0 only when all holds."""
    from proue.config.connect import database, set_up_django

    if path is not None:
        set_up_django()
        from proue.config.ledger import verify_file

        sys.exit(verify_file(path, keys=keys, heads=heads, as_json=as_json))
    with database():
        from proue.config.ledger import verify

        code = verify(keys=keys, heads=heads, as_json=as_json)
    sys.exit(code)


@ledger.command("export")
@click.argument("file", type=click.Path(path_type=Path))
def ledger_export(file: Path) -> None:
    """Write a copy (JSON Lines): the keys, the facts in order, each seal after its last fact."""
    from proue.config.connect import database

    with database():
        from proue.config.ledger import export

        click.echo(export(file))


@ledger.command("keys")
@click.option("--json", "as_json", is_flag=True)
def ledger_keys(as_json: bool) -> None:
    """The public keys, newest first: note their ids elsewhere."""
    from proue.config.connect import database

    with database():
        from proue.config.ledger import keys

        click.echo(keys(as_json=as_json))


@ledger.command("seal")
def ledger_seal() -> None:
    """Seal now what waits; `proue worker` does it each minute."""
    from proue.config.connect import database

    with database():
        from proue.config.ledger import seal

        click.echo(seal())


@ledger.command("rotate")
@click.option("--yes", is_flag=True, help="Without asking.")
def ledger_rotate(yes: bool) -> None:
    """Open a new key, signed by the present one, whose private half is then destroyed."""
    from proue.config.connect import database

    if not yes:
        click.confirm(
            "Une nouvelle clé signera désormais, et l’ancienne ne pourra plus signer. Continuer ?", abort=True
        )
    with database():
        from proue.config.ledger import rotate

        click.echo(rotate())


@cli.group()
def demo() -> None:
    """Incidents of the demonstration world."""


@demo.command("break")
def demo_break() -> None:
    """Let the next supplier's qualification expire: the same sensitive question goes elsewhere, then nowhere."""
    _incident("break_next")


@demo.command("restore")
def demo_restore() -> None:
    """Renew what expired."""
    _incident("restore")


def _incident(name: str) -> None:
    from proue.config.connect import database

    with database():
        from proue.config.demo import incident
        from proue.config.publishing import publish_and_wait
        from proue.kernel.clock import utc_now

        said = getattr(incident, name)(at=utc_now())
        lagging = publish_and_wait()
        click.echo(said)
        if lagging:
            click.echo("Toutes les passerelles ne l’appliquent pas encore ; elles le feront dans quelques secondes.")


@cli.group()
def commons() -> None:
    """The commons: documents, search, evaluation."""


@commons.command("load")
@click.option("--collection", required=True)
@click.argument("file", type=click.Path(path_type=Path))
def commons_load(collection: str, file: Path) -> None:
    """Load documents ({"id","title","text"} per line) into a collection."""
    from proue.config.connect import database

    with database():
        from proue.config.commons import load

        click.echo(load(collection, file))


@commons.command("search")
@click.option("--collection", required=True)
@click.option("--k", default=10, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True)
@click.argument("question")
def commons_search(collection: str, k: int, as_json: bool, question: str) -> None:
    """Search as a person who may read the collection would."""
    from proue.config.connect import database

    with database():
        from proue.config.commons import search

        hits = search(collection, question, k)
        if as_json:
            click.echo(json.dumps(hits, ensure_ascii=False))
            return
        for rank, hit in enumerate(hits, 1):
            click.echo(f"{rank:>2}. {hit['title']} ({hit['score']:.2f})")


@commons.command("evaluate")
@click.option("--collection", required=True)
@click.option("--k", default=10, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True)
@click.argument("file", type=click.Path(path_type=Path))
def commons_evaluate(collection: str, k: int, as_json: bool, file: Path) -> None:
    """Questions ({"question","expected"} per line) → recall@k, MRR, nDCG@k."""
    from proue.config.connect import database

    with database():
        from proue.config.commons import evaluate

        figures = evaluate(collection, file, k)
        click.echo(
            json.dumps(figures) if as_json else "\n".join(f"{name:<12} {value}" for name, value in figures.items())
        )


def main() -> None:
    from proue.config.supervise import follow_supervisor

    follow_supervisor()
    # Whichever command is first makes the data directory. As root, PostgreSQL's account crosses it and reads nothing.
    os.umask(0o066 if os.geteuid() == 0 else 0o077)
    cli()


if __name__ == "__main__":
    main()
