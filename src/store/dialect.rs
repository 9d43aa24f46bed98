//! What differs between the engines' SQL, and how a statement's text is filled in for one of them.
//!
//! The text is the same on both engines but for a few holes. **Rows**: `{rows}` is the set of rows in the
//! JSON array `$1`, with `r.key` (their order) and `r.value`. **Locks**: `{lock t}`, `{share t}` and
//! `{skip t}` lock the rows of alias `t` on PostgreSQL, where transactions run side by side; on SQLite
//! there is one writer and nothing to lock. **Gathered columns**: what is between `{[}` and `{]}` comes as
//! rows from PostgreSQL and as one JSON array of arrays from SQLite, where every row that is fetched costs
//! two turns between threads; the session makes rows of it. **Listed columns**: between `{<}` and `{>}`
//! they come as one such text from both, for a few rows within a row; `session::listed` reads it.
//! **A set of rows, bound**: `{with id, at:int}` before a statement names the columns of `r`, which are texts
//! or numbers. On PostgreSQL they are one JSON parameter; on SQLite, where taking JSON apart costs three
//! times as much as the insert itself, they are parameters, for as many rows as [`sized`] says; rows that
//! are not used are null throughout, so that the statement must pass over a null `r.id`. `{in_order}` keeps
//! their order.
//! `{way}` is who decided a stop `p`. `{items t.column}` is how many items the JSON array in a text column has.
//! `{batch}`, `{transfer}`, `{stop}`, `{order}`, `{webhook}`, `{download}`, `{callback}`,
//! `{address}` are lists of columns, read by `verbs::rows` in the same order.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The name of the column that holds gathered rows.
pub(super) const GATHERED: &str = "gathered";

/// What differs between the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

const BATCH: &str = "b.id, b.lab, b.region, b.phase, b.direct, b.opens_at, b.window_at, b.closes_at, b.closes_at_local, \
    b.production_date, b.rule, b.time_zone, b.tzdata, b.closed_at, b.promised, b.version";
/// How many columns `{batch}` has.
pub(in crate::store) const BATCH_COLUMNS: usize = 16;
const TRANSFER: &str = "t.id, t.lab, t.batch, t.phase, t.fence, t.attempts, t.unresolved, t.first_at, t.horizon_at, \
    t.key_until, t.deadline_at, t.next_at, t.handed_at, t.version";
/// How many columns `{transfer}` has.
pub(in crate::store) const TRANSFER_COLUMNS: usize = 14;
const STOP: &str = "p.id, p.order_id, p.state, p.evidence, p.reason, p.comment, p.asked_by, p.asked_at, p.handed_at, \
    p.deadline_at, p.deadline_local, p.deadline_rule, p.next_at, p.attempts, p.delivered_at, p.decided_at, p.answer, \
    p.items, p.requested_by, p.terms";
/// How many columns `{stop}` has.
pub(in crate::store) const STOP_COLUMNS: usize = 20;
const WEBHOOK: &str = "w.id, w.platform, w.spec, w.enabled, w.off_at, w.off_cause, w.secret, w.old_secret, w.old_until, \
    w.version, w.created_at, w.updated_at, w.cursor, w.taken, w.holder, w.lease_until, w.replay_after, w.replay_until, w.failures, \
    w.failing_since, w.rest_until, w.due_at, w.delivered, w.delivered_at, w.failed_at, w.failed_cause";
const DOWNLOAD: &str = "d.order_id, d.item, d.id, d.platform, d.state, d.evidence, d.asked_at, d.deadline_at, d.next_at, \
    d.attempts, d.decided_at, d.answer, d.contradicted_at";
const CALLBACK: &str = "c.platform, c.url, c.answers_within, c.secret, c.old_secret, c.old_until, c.version, c.created_at, \
    c.updated_at";
/// How many columns `{callback}` has.
pub(in crate::store) const CALLBACK_COLUMNS: usize = 9;
const ADDRESS: &str = "a.id, a.order_id, a.lab, a.state, a.evidence, a.reason, a.asked_at, a.deadline_at, a.next_at, \
    a.attempts, a.unresolved, a.ended, a.decided_at, a.answer, a.contradicted_at";
/// When a batch's window ended: at its cutoff, or when it was released before.
const ENDED: &str = "case when b.closed_at < b.closes_at then b.closed_at else b.closes_at end";
/// Who decided a stop `p`: nobody had to, since nothing was handed over (0); what was known when it was asked, or
/// the contract (1); one of ours (2); the lab (3); nobody yet (4).
const WAY: &str = "case when p.handed_at is null then 0 when p.evidence = 'final_on_receipt' then 1 \
    when p.evidence in ('in_production', 'shipped') and p.decided_at = p.asked_at and p.attempts = 0 then 1 \
    when p.decided_at is null then 4 \
    when exists (select 1 from events e where e.subject = p.order_id and e.at = p.decided_at \
        and e.kind in ('stop.stopped', 'stop.stopped_in_part', 'stop.too_late') and e.actor like 'ops:%') then 2 \
    else 3 end";
const ORDER: &str = "o.id, o.platform, o.lab, o.region, o.reference, o.document, o.admitted_at, s.paid, s.held, s.stage, \
    s.version + coalesce(b.version, 0) + coalesce(t.version, 0), s.lines_out, \
    (select count(*) from extras x where x.order_id = o.id)";
const ORDER_JOINS: &str = "join standings s on s.id = o.id left join batches b on b.id = s.batch \
    left join transfers t on t.id = s.transfer left join stops p on p.order_id = o.id and p.superseded_at is null";

impl Dialect {
    pub(super) fn fill(self, text: &str) -> &'static str {
        let mut out = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (hole, after) = after.split_once('}').unwrap_or((after, ""));
            let (word, alias) = hole.split_once(' ').unwrap_or((hole, ""));
            match (word, self) {
                // `jsonb_each`: each value comes parsed; as text it would be parsed again for every column.
                ("rows", Self::Sqlite) => out.push_str("jsonb_each($1) as r"),
                ("rows", Self::Postgres) => {
                    out.push_str("jsonb_array_elements($1::text::jsonb) with ordinality as r(value, key)");
                }
                ("with", _) => self.with(alias, &mut out),
                ("in_order", Self::Sqlite) => {}
                ("in_order", Self::Postgres) => out.push_str("order by r.nth"),
                ("[", Self::Sqlite) => out.push_str("json_group_array(json_array("),
                ("]", Self::Sqlite) => out.extend([")) as ", GATHERED]),
                ("[" | "]", Self::Postgres) => {}
                ("<", Self::Sqlite) => out.push_str("json_group_array(json_array("),
                (">", Self::Sqlite) => out.push_str("))"),
                ("<", Self::Postgres) => out.push_str("json_agg(json_build_array("),
                (">", Self::Postgres) => out.push_str("))::text"),
                ("items", Self::Sqlite) => out.extend(["json_array_length(", alias, ")"]),
                ("items", Self::Postgres) => out.extend(["json_array_length(", alias, "::json)"]),
                ("lock" | "share" | "skip", Self::Sqlite) => {}
                ("lock", Self::Postgres) => out.extend(["for update of ", alias]),
                ("share", Self::Postgres) => out.extend(["for share of ", alias]),
                ("skip", Self::Postgres) => out.extend(["for update of ", alias, " skip locked"]),
                ("lock_log", Self::Sqlite) => out.push_str("select 1"),
                ("lock_log", Self::Postgres) => out.push_str("lock table events in share row exclusive mode"),
                ("batch", _) => out.push_str(BATCH),
                ("transfer", _) => out.push_str(TRANSFER),
                ("stop", _) => out.push_str(STOP),
                ("order", _) => out.extend([ORDER, ", ", BATCH, ", ", TRANSFER, ", ", STOP]),
                ("webhook", _) => out.push_str(WEBHOOK),
                ("download", _) => out.push_str(DOWNLOAD),
                ("callback", _) => out.push_str(CALLBACK),
                ("address", _) => out.push_str(ADDRESS),
                ("ended", _) => out.push_str(ENDED),
                ("way", _) => out.push_str(WAY),
                ("order_joins", _) => out.push_str(ORDER_JOINS),
                _ => out.push_str(hole),
            }
            rest = after;
        }
        out.push_str(rest);
        // The table is built once a process and lives as long: sqlx takes only static texts.
        out.leak()
    }

    /// The set `r` with these columns; a column is a text unless it says `:int`.
    fn with(self, columns: &str, out: &mut String) {
        let columns: Vec<(&str, bool)> = columns
            .split(',')
            .map(str::trim)
            .map(|column| column.strip_suffix(":int").map_or((column, false), |name| (name, true)))
            .collect();
        match self {
            Self::Sqlite => {
                let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
                out.extend(["with r(", &names.join(", "), ") as (values ", &places(columns.len()), ")"]);
            }
            Self::Postgres => {
                out.push_str("with r as (select ");
                for (nth, (name, number)) in columns.iter().enumerate() {
                    let value = format!("v.value ->> {nth}");
                    let value = if *number { format!("cast({value} as bigint)") } else { value };
                    out.extend([&value, " as ", name, ", "]);
                }
                out.push_str(
                    "v.nth from jsonb_array_elements($1::text::jsonb) with ordinality as v(value, nth))",
                );
            }
        }
    }
}

/// The places of one row's values.
fn places(columns: usize) -> String {
    format!("({})", vec!["?"; columns].join(","))
}

/// For how many rows a statement with a bound set is prepared: few texts, and few places unused.
const SIZES: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, SET_ROWS_MAX];
/// The most rows of a bound set.
pub(super) const SET_ROWS_MAX: usize = 256;

/// The text of an SQLite statement with a set of `columns`, for at least so many rows, at most
/// [`SET_ROWS_MAX`].
pub(super) fn sized(text: &'static str, columns: usize, rows: usize) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashMap<(&'static str, usize), &'static str>>> =
        LazyLock::new(Mutex::default);
    let rows = SIZES.into_iter().find(|size| *size >= rows).unwrap_or(SET_ROWS_MAX);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    texts.entry((text, rows)).or_insert_with(|| {
        let one = places(columns);
        // A text a size, once a process: sqlx takes only static texts, and prepares each once a connection.
        text.replacen(&one, &vec![one.as_str(); rows].join(","), 1).leak()
    })
}

/// Makes a statement table: a struct with a text for each statement, and its filling for a dialect. A table may
/// have parts, each a table of one subject in a file of its own.
macro_rules! statements {
    ($(#[$about:meta])* $table:ident $({ $($(#[$part_doc:meta])* $part:ident: $kind:ty,)* })?:
        $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $table {
            $($(#[$doc])* pub $name: &'static str,)*
            $($($(#[$part_doc])* pub $part: $kind,)*)?
        }

        impl $table {
            pub(in crate::store) fn new(dialect: $crate::store::dialect::Dialect) -> Self {
                Self {
                    $($name: dialect.fill($text),)*
                    $($($part: <$kind>::new(dialect),)*)?
                }
            }

            /// Every statement with its name: for the tests that prepare and explain them.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, &'static str)> {
                let own = vec![$((stringify!($name), self.$name),)*];
                $($(let own = [own, self.$part.all()].concat();)*)?
                own
            }
        }
    };
}
pub(super) use statements;
