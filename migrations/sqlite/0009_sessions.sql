-- Signed-in browsers: one row a sign-in. The id is the SHA-256 of what the browser keeps.
create table sessions (
    id text primary key,
    key_id text not null,
    started_at integer not null,
    seen_at integer not null,
    ends_at integer not null,
    ended_at integer
) strict, without rowid;
create index sessions_ends on sessions (ends_at);

-- Links that sign in once. The id is the SHA-256 of what the link carries.
create table sign_ins (
    id text primary key,
    key_id text not null,
    created_at integer not null,
    expires_at integer not null,
    used_at integer
) strict, without rowid;
create index sign_ins_expires on sign_ins (expires_at);
