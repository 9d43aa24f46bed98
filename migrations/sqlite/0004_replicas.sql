-- The gateways on this database, and until when each has every stop that it was asked in here: none hands
-- over what a stop may still be under way for at another.
create table replicas (
    id text primary key,
    clear_until integer not null,
    seen_at integer not null
) strict;
