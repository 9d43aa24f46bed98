-- Second factors: at most one a key, in force from its first code on. The secret is that of RFC 6238, in base32; each
-- code is taken once: `last_step` is the step of the last one.
create table second_factors (
    key_id text primary key,
    secret text not null,
    started_at bigint not null,
    confirmed_at bigint,
    last_step bigint not null,
    failures bigint not null check (failures >= 0),
    rest_until bigint
);

-- Whether somebody signed in with a code, beside the key or the link.
alter table sessions add column with_code bigint not null default 0 check (with_code in (0, 1));
