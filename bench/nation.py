"""A national federation in a database: the demonstration's engines and contracts, then everybody else, in bulk.

The first part is made by the product's own actions. Keys, people and usage are inserted by SQL for speed, as the owner
of the tables: their constraints, foreign keys and row-level security stay on; their facts are not in the ledger.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from proue.kernel.paris import day_period

ENGINES = 28
USES_EACH = 5
SHARE_OF_PERSONS = 0.5  # of keys, those that were issued to a person
ROLES = ("referent", "dpo", "security_officer", "librarian")
# Large universities are few: the weight of the nth institution in keys and people.
SKEW = 0.7


@dataclass(frozen=True, slots=True)
class Size:
    institutions: int = 200
    keys: int = 200_000
    people: int = 3_000_000


def secret(number: int) -> str:
    return f"sk-proue-national-{number:08d}"


def weights(count: int) -> list[float]:
    raw = [1 / (rank + 5) ** SKEW for rank in range(count)]
    return [one / sum(raw) for one in raw]


def shares(total: int, count: int) -> list[int]:
    """How many of `total` each of `count` has, at least one, the first the most."""
    parts = [max(int(total * one), 1) for one in weights(count)]
    parts[0] += total - sum(parts)
    return parts


def found(size: Size, *, upstream: int, at: datetime) -> None:
    """Institutions, their uses, and engines up to 28, all at one mock."""
    from proue.config.prepare import prepare
    from proue.institutions import actions as institutions
    from proue.institutions import queries
    from proue.institutions.access import Job
    from proue.kernel.dataclass import DataClass
    from proue.store.access import system
    from proue.supply import actions as supply
    from proue.supply import queries as offers

    prepare(demo=True)
    with system("demo"):
        known = list(queries.institutions())
        for rank in range(size.institutions - len(known)):
            uai = f"{8_000_000 + rank}{'ABCDEFGHJK'[rank % 10]}"
            row, _ = institutions.declare_institution(
                actor=Job(), uai=uai, name=f"Établissement {rank:03d}", is_member=rank % 4 > 0, at=at
            )
            known.append(row)
        for row in known:
            for rank in range(USES_EACH):
                supply.declare_use(
                    actor=Job(),
                    code=f"national-{row.uai.lower()}-{rank}",
                    institution=row,
                    purpose="Répondre aux questions des étudiants sur leur scolarité, leurs droits et leurs démarches.",
                    data_class=DataClass.INTERNAL if rank % 2 else DataClass.PERSONAL,
                    assistant=rank == 0,
                    at=at,
                )
        held = offers.endpoint_codes()
        for rank in range(ENGINES - len(held)):
            provider, _ = supply.declare_provider(
                actor=Job(), code=f"national-{rank:02d}", name=f"Centre de calcul {rank}", hq_country="FR", at=at
            )
            endpoint, _ = supply.declare_endpoint(
                actor=Job(),
                code=f"national-{rank:02d}",
                provider=provider,
                base_url=f"http://127.0.0.1:{upstream}/v1",
                country="FR",
                clearance=DataClass.SENSITIVE,
                site={"pue": 1.3, "grid_zone": "FRA"},
                hardware={"gpu": "H100", "gpus": 4},
                at=at,
            )
            for model in ("bench", f"national-{rank:02d}-large"):
                supply.declare_model(
                    actor=Job(),
                    endpoint=endpoint,
                    name=model,
                    served_as=model,
                    size_class="medium",
                    params_total_b=24,
                    at=at,
                )


PEOPLE = """
WITH part AS (
  SELECT i.id AS institution_id, i.scope_id AS home, p.first, p.number
    FROM unnest(%(uais)s::text[], %(firsts)s::int[], %(counts)s::int[]) AS p(uai, first, number)
    JOIN institutions_institution i USING (uai)
), people AS MATERIALIZED (
  SELECT n, institution_id, home,
         ('019a5000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
         ('019a5000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid AS scope_id
    FROM part, generate_series(first, first + number - 1) AS n
), scopes AS (
  INSERT INTO store_scope (id, kind, code) SELECT scope_id, 'person', id::text FROM people
), persons AS (
  INSERT INTO institutions_person (id, password, email, name, language, scope_id, is_active, date_joined)
  SELECT id, '!', 'prenom.nom.' || n || '@national.example', 'Prénom' || n %% 4001 || ' Nom' || n %% 90001, 'fr',
         scope_id, true, %(at)s
    FROM people
)
INSERT INTO institutions_membership (id, person_id, institution_id, scope_id, status, valid_from)
SELECT ('019a5000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, id, institution_id, home,
       (ARRAY['student','student','student','student','student','student','student','teacher','researcher','staff'])
       [1 + n %% 10], %(at)s
  FROM people
"""
GRANTS = """
INSERT INTO institutions_rolegrant (id, person_id, role, institution_id, scope_id, valid_from)
SELECT gen_random_uuid(), m.person_id, %(role)s, m.institution_id, m.scope_id, m.valid_from
  FROM institutions_institution i,
       LATERAL (SELECT * FROM institutions_membership m WHERE m.institution_id = i.id AND m.status = 'staff'
                OFFSET %(rank)s LIMIT 1) AS m
 ON CONFLICT DO NOTHING
"""
KEYS = """
INSERT INTO supply_apikey (id, use_id, scope_id, name, prefix, digest, operations, person_id, created_at)
SELECT ('019a6000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, u.id, u.scope_id, 'clé ' || n,
       'sk-proue-nation', sha256(convert_to('sk-proue-national-' || lpad(n::text, 8, '0'), 'UTF8')),
       ARRAY['chat', 'text_completion', 'embeddings'],
       CASE WHEN n %% 2 = 0 THEN (SELECT id FROM institutions_person
                                  WHERE email = 'prenom.nom.' || p.person + n %% p.people || '@national.example') END,
       %(at)s
  FROM unnest(%(uais)s::text[], %(firsts)s::int[], %(counts)s::int[], %(persons)s::int[], %(people)s::int[])
       AS p(uai, first, number, person, people)
  CROSS JOIN generate_series(p.first, p.first + p.number - 1) AS n
  JOIN supply_use u ON u.code = 'national-' || lower(p.uai) || '-' || n %% %(uses)s
"""
STEP = 250_000  # people of one transaction


def _firsts(counts: list[int]) -> list[int]:
    return [sum(counts[:rank]) for rank in range(len(counts))]


def populate(cursor: Any, size: Size, *, at: datetime) -> None:
    """`cursor`: the owner's, each statement its own transaction."""
    cursor.execute("SELECT uai FROM institutions_institution ORDER BY uai")
    uais = [uai for (uai,) in cursor.fetchall()]
    people, keys = shares(size.people, len(uais)), shares(size.keys, len(uais))
    since = at - timedelta(days=60)
    batch: list[tuple[str, int, int]] = []
    for uai, first, count in zip(uais, _firsts(people), people, strict=True):
        batch += [(uai, start, min(STEP, first + count - start)) for start in range(first, first + count, STEP)]
        if sum(one[2] for one in batch) >= STEP:
            _people(cursor, batch, since)
            batch = []
    if batch:
        _people(cursor, batch, since)
    cursor.execute("ANALYZE institutions_person, institutions_membership")
    for rank, role in enumerate(ROLES):
        cursor.execute(GRANTS, {"role": role, "rank": rank})
    columns = {"uais": uais, "firsts": _firsts(keys), "counts": keys, "persons": _firsts(people), "people": people}
    cursor.execute(KEYS, {**columns, "uses": USES_EACH, "at": since})
    cursor.execute("ANALYZE")


def _people(cursor: Any, batch: list[tuple[str, int, int]], at: datetime) -> None:
    uais, firsts, counts = (list(column) for column in zip(*batch, strict=True))
    cursor.execute(PEOPLE, {"uais": uais, "firsts": firsts, "counts": counts, "at": at})


# Most of a day's keys ask a few times, some all day long; a key has its model, and one time in ten another.
USAGE = """
INSERT INTO metering_usage (id, scope_id, request_id, opened_at, closed_at, institution, use_id, key_id, person, model,
  served_as, endpoint, operation, data_class, outcome, stream, status, tokens_in, tokens_in_cached, tokens_out,
  tokens_reasoning, estimated, first_byte_us, energy_uwh, energy_low_uwh, energy_high_uwh, ghg_marginal_ug,
  ghg_marginal_low_ug, ghg_marginal_high_ug, ghg_full_ug, ghg_full_low_ug, ghg_full_high_ug, water_ul, water_low_ul,
  water_high_ul, tier, method)
SELECT gen_random_uuid(), k.scope_id, to_hex(n), at, at + make_interval(secs => 0.4 + tokens / 40.0), k.uai, k.use_id,
       k.id, NULL, e.model, e.model, e.code, 'chat', 1 + k.number %% 2,
       CASE n %% 100 WHEN 0 THEN 'upstream_error' WHEN 1 THEN 'client_gone' ELSE 'done' END, n %% 3 > 0,
       CASE n %% 100 WHEN 0 THEN 502 ELSE 200 END, 300 + n %% 2000, 0, tokens, 0, n %% 50 = 0,
       CASE WHEN n %% 3 > 0 THEN 150000 + (n * 7919) %% 900000 END, tokens * 90, tokens * 30, tokens * 360, tokens * 2,
       tokens, tokens * 8, tokens * 5, tokens * 2, tokens * 20, tokens * 3, tokens, tokens * 12, 'parametric',
       'proue-parametric/1'
  FROM (SELECT n, %(start)s::timestamptz + make_interval(secs => (golden - floor(golden)) * %(seconds)s) AS at,
               20 + (n * 31) %% 700 AS tokens, 1 + (plastic - floor(plastic)) ^ 2 * (%(keys)s - 1) AS k
          FROM generate_series(%(first)s::int8, %(last)s::int8) AS n,
               LATERAL (SELECT n * 0.6180339887::float8 AS golden, n * 0.7548776662::float8 AS plastic) AS spread
       ) AS asked
  JOIN national_keys k ON k.number = floor(asked.k)
  JOIN national_engines e ON e.number = 1 + (k.number + CASE WHEN n %% 10 = 0 THEN 1 ELSE 0 END) %% %(engines)s
"""
USAGE_OF = """
CREATE TEMPORARY TABLE IF NOT EXISTS national_keys AS
SELECT row_number() OVER (ORDER BY md5(k.id::text)) AS number, k.id, k.use_id, k.scope_id, i.uai
  FROM supply_apikey k JOIN supply_use u ON u.id = k.use_id JOIN institutions_institution i ON i.id = u.institution_id
 WHERE k.revoked_at IS NULL;
CREATE TEMPORARY TABLE IF NOT EXISTS national_engines AS
SELECT row_number() OVER (ORDER BY e.code) AS number, e.code, m.name AS model
  FROM supply_endpoint e, LATERAL (SELECT name FROM supply_model m WHERE m.endpoint_id = e.id ORDER BY name LIMIT 1) m;
ANALYZE national_keys, national_engines;
"""
TOUCHED = (
    "INSERT INTO metering_touched (batch, day) SELECT gen_random_uuid(), unnest(%s::date[]) ON CONFLICT DO NOTHING"
)


def use_engines(
    cursor: Any, *, first: int, count: int, day: Any, seconds: float = 86_400.0, start: float = 0.0
) -> None:
    """`count` requests of one Paris day, as absorbed usage: those of the days named wait for the roll-up."""
    cursor.execute(USAGE_OF)
    cursor.execute("SELECT (SELECT count(*) FROM national_keys), (SELECT count(*) FROM national_engines)")
    keys, engines = cursor.fetchone()
    period = day_period(day)
    begins = period.start + timedelta(seconds=start)
    bounds = {"first": first, "last": first + count - 1, "start": begins, "seconds": seconds - 1}
    cursor.execute(USAGE, {**bounds, "keys": keys, "engines": engines})
    cursor.execute(TOUCHED, [[day]])


def digest(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()
