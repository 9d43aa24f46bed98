-- Second factors: at most one a key, in force from its first code on. The secret is that of RFC 6238, in base32; each
-- code is taken once: `last_step` is the step of the last one.
create table second_factors (
    key_id text primary key,
    secret text not null,
    started_at integer not null,
    confirmed_at integer,
    last_step integer not null,
    failures integer not null check (failures >= 0),
    rest_until integer
) strict, without rowid;

-- Whether somebody signed in with a code, beside the key or the link.
alter table sessions add column with_code integer not null default 0 check (with_code in (0, 1));
