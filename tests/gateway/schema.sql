-- The tables that the gateway meets, as the control plane makes them (serving, metering), without policies.
CREATE TABLE serving_snapshotpart (
  name text PRIMARY KEY, version int8 NOT NULL, wire_version int2 NOT NULL, body bytea NOT NULL, published_at timestamptz NOT NULL
);
CREATE TABLE serving_gateway (id uuid PRIMARY KEY, started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL, versions jsonb NOT NULL, nodes jsonb NOT NULL);
CREATE TABLE metering_usage_staging (
  batch uuid NOT NULL, id uuid NOT NULL, request_id text NOT NULL, opened_at timestamptz NOT NULL, closed_at timestamptz NOT NULL,
  institution text NOT NULL, use_id uuid NOT NULL, key_id uuid, person text, parent uuid, model text NOT NULL,
  served_as text NOT NULL, endpoint text NOT NULL, operation text NOT NULL, data_class int2 NOT NULL, outcome text NOT NULL,
  stream bool NOT NULL, status int2 NOT NULL, tokens_in int4 NOT NULL, tokens_in_cached int4 NOT NULL, tokens_out int4 NOT NULL,
  tokens_reasoning int4 NOT NULL, estimated bool NOT NULL, first_byte_us int8,
  energy_uwh int8, energy_low_uwh int8, energy_high_uwh int8,
  ghg_marginal_ug int8, ghg_marginal_low_ug int8, ghg_marginal_high_ug int8,
  ghg_full_ug int8, ghg_full_low_ug int8, ghg_full_high_ug int8,
  water_ul int8, water_low_ul int8, water_high_ul int8, tier text, method text, shielded jsonb,
  holder uuid, budgets uuid[], drawn int8[]
);
CREATE TABLE metering_budget (
  id uuid PRIMARY KEY, scope_id uuid NOT NULL, subject varchar NOT NULL, subject_id uuid NOT NULL, per varchar NOT NULL,
  requests int8, tokens int8, eur_micro int8, energy_uwh int8, ghg_ug int8, warn_at int2 NOT NULL, created_at timestamptz NOT NULL
);
CREATE TABLE metering_usage (LIKE metering_usage_staging, PRIMARY KEY (id));
-- How often each record was offered: the tests tell "arrived once" from "sent once".
CREATE TABLE offered (id uuid NOT NULL, times int NOT NULL);
CREATE FUNCTION metering_absorb_usage(this uuid) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE moved int;
BEGIN
  INSERT INTO offered SELECT id, 1 FROM metering_usage_staging WHERE batch = this;
  WITH taken AS (DELETE FROM metering_usage_staging WHERE batch = this RETURNING *)
  INSERT INTO metering_usage SELECT * FROM taken ON CONFLICT (id) DO NOTHING;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON serving_snapshotpart, serving_gateway, metering_usage_staging, metering_usage, offered TO proue_app;
