//! The statements of routes, and of windows that close because they are full.

use crate::store::dialect::statements;

statements! {
    /// Statements of routes and of full windows.
    Routes:
    /// The routes of one platform, locked.
    routes_lock = "select n.spec, n.version, n.deleted_at, n.head from routes n where n.id = $1 {lock n}";
    /// New routes, or others; guarded by the head that was read.
    routes_put = "insert into routes (id, spec, version, updated_at, deleted_at, head) values ($1, $2, 1, $3, null, $4)
        on conflict (id) do update set spec = excluded.spec, version = routes.version + 1,
            updated_at = excluded.updated_at, deleted_at = null, head = excluded.head
            where routes.head = $5";
    /// Takes routes away; their log goes on where they come again.
    routes_delete = "update routes set deleted_at = $2, version = version + 1, updated_at = $2, head = $3
        where id = $1 and head = $4 and deleted_at is null";
    /// All routes.
    routes_list = "select n.id, n.spec, n.version, n.updated_at from routes n where n.deleted_at is null order by n.id";
    /// How many orders of a batch are alive and in no transfer.
    batch_alive = "select count(*) from standings s where s.batch = $1 and s.transfer is null and s.stop = 0";
}
