//! Reads of the board: what labs have open, which labs have moved, and how a lab has done.

use jiff::Timestamp;

use super::{ids, rows, rows_fetch, stretch, to_json};
use crate::domain::batch::TransferPhase;
use crate::domain::ids::{BatchId, LabId, PlatformId, RegionId};
use crate::domain::order::OrderFacts;
use crate::domain::stop::StopState;
use crate::store::Result;
use crate::store::session::{Arg, Row, Session};
use crate::store::types::{
    BoardBatch, BoardBehind, BoardDirect, BoardEscalations, BoardRows, BoardStops, BoardTransfers, Place,
    ScoreRow, Touched,
};

/// By how much the log may have grown that it is still read for what has moved: from here on, counting
/// everything is not much dearer.
const TOUCHED_MAX: i64 = 20_000;

fn place(row: &mut Row) -> Result<Place> {
    Ok((row.parsed(LabId::parse)?, row.parsed(RegionId::parse)?))
}

async fn all<S: Session, T>(
    s: &mut S,
    sql: &'static str,
    labs: &[LabId],
    read: impl Fn(&mut Row) -> Result<T>,
) -> Result<Vec<T>> {
    let labs = ids(labs.iter().map(LabId::as_str));
    let found = rows_fetch(s, sql, &labs).await?;
    found.into_iter().map(|row| read(&mut row.of("(board)"))).collect()
}

pub(in crate::store) async fn board<S: Session>(s: &mut S, labs: &[LabId]) -> Result<BoardRows> {
    if labs.is_empty() {
        return Ok(BoardRows::default());
    }
    let sql = &s.sql().board;
    Ok(BoardRows {
        open: all(s, sql.board_open, labs, |row| {
            Ok(BoardBatch {
                place: place(row)?,
                batch: row.parsed(BatchId::parse)?,
                window_at: row.at()?,
                closes_at: row.at()?,
                closes_at_local: row.text()?,
                production_date: row.text()?,
                rule: row.text()?,
                tzdata: row.text()?,
                waiting: row.int()?,
                stopped: row.int()?,
            })
        })
        .await?,
        direct: all(s, sql.board_direct, labs, |row| {
            Ok(BoardDirect { place: place(row)?, orders: row.int()?, closes_at: row.at()? })
        })
        .await?,
        behind: all(s, sql.board_behind, labs, |row| {
            Ok(BoardBehind {
                place: place(row)?,
                orders: row.int()?,
                batches: row.int()?,
                since: row.at()?,
                batch: row.parsed(BatchId::parse)?,
            })
        })
        .await?,
        transfers: all(s, sql.board_transfers, labs, |row| {
            Ok(BoardTransfers {
                place: place(row)?,
                phase: row.coded(TransferPhase::from_code)?,
                transfers: row.int()?,
                deadline_at: row.at()?,
                first_at: row.at()?,
                batch: row.parsed(BatchId::parse)?,
            })
        })
        .await?,
        stops: all(s, sql.board_stops, labs, |row| {
            Ok(BoardStops {
                place: place(row)?,
                state: row.coded(StopState::from_code)?,
                stops: row.int()?,
                deadline_at: row.at()?,
            })
        })
        .await?,
        escalations: all(s, sql.board_escalations, labs, |row| {
            Ok(BoardEscalations {
                lab: row.parsed(LabId::parse)?,
                region: RegionId::parse(&row.text()?).ok(),
                escalations: row.int()?,
                due_at: row.at()?,
            })
        })
        .await?,
    })
}

/// Which labs the log speaks of after one number and up to another, beyond which entries may still come in
/// between.
pub(in crate::store) async fn touched<S: Session>(s: &mut S, after: i64, until: i64) -> Result<Touched> {
    let last = stretch::last(s, until).await?;
    if last <= after {
        return Ok(Touched { labs: Some(Vec::new()), seen: after });
    }
    if last - after > TOUCHED_MAX {
        return Ok(Touched { labs: None, seen: last });
    }
    let found = s.fetch(s.sql().board.board_touched, &[after.into(), last.into()]).await?;
    // Entries that concern no lab, such as those of platforms, have none.
    let labs = found.into_iter().map(|row| row.of("events").text()).collect::<Result<Vec<_>>>()?;
    let labs = labs.iter().filter_map(|lab| LabId::parse(lab).ok()).collect();
    Ok(Touched { labs: Some(labs), seen: last })
}

/// Where the ids begin that were made since an instant.
pub(super) fn ids_since(prefix: &str, since: Timestamp) -> String {
    format!("{prefix}_{:012x}", u64::try_from(since.as_millisecond()).unwrap_or(0))
}

pub(in crate::store) async fn scorecard<S: Session>(
    s: &mut S,
    lab: &LabId,
    since: Timestamp,
) -> Result<ScoreRow> {
    let sql = &s.sql().board;
    let (stops, batches) = (ids_since("stp", since), ids_since("bat", since));
    let mut score = ScoreRow::default();
    if let Some(row) = s.fetch(sql.score_stops, &[lab.as_str().into(), (&stops).into()]).await?.pop() {
        let mut row = row.of("stops");
        score.asked = row.int()?;
        score.before = row.int()?;
        score.at_once = row.int()?;
        score.of_lab = row.int()?;
        score.by_us = row.int()?;
        score.stopped = row.int()?;
        score.in_part = row.int()?;
        score.too_late = row.int()?;
        score.decided = row.int()?;
        score.late = row.int()?;
    }
    score.answer_p50_us = answer(s, lab, &stops, score.decided, 50).await?;
    score.answer_p90_us = answer(s, lab, &stops, score.decided, 90).await?;
    if let Some(mut row) = s.fetch(sql.score_unclear, &[lab.as_str().into(), since.into()]).await?.pop() {
        score.unclear = row.int()?;
        score.unclear_transfers = row.int()?;
    }
    let args = [lab.as_str().into(), (&batches).into()];
    if let Some(mut row) = s.fetch(sql.score_transfers, &args).await?.pop() {
        score.transfers = row.int()?;
    }
    Ok(score)
}

/// The smallest time that so many of a hundred answers took at most (nearest rank).
async fn answer<S: Session>(
    s: &mut S,
    lab: &LabId,
    since: &str,
    decided: i64,
    share: i64,
) -> Result<Option<i64>> {
    if decided == 0 {
        return Ok(None);
    }
    let below = (decided * share + 99) / 100 - 1;
    let args: [Arg<'_>; 3] = [lab.as_str().into(), since.into(), below.into()];
    s.fetch(s.sql().board.score_answer, &args).await?.pop().map(|mut row| row.int()).transpose()
}

pub(in crate::store) async fn by_reference<S: Session>(
    s: &mut S,
    platforms: &[PlatformId],
    reference: &str,
    limit: i64,
) -> Result<Vec<OrderFacts>> {
    let platforms = to_json(&ids(platforms.iter().map(PlatformId::as_str)))?;
    let args = [Arg::Text(&platforms), reference.into(), limit.into()];
    let found = s.fetch(s.sql().board.order_by_reference, &args).await?;
    found.into_iter().map(|row| Ok(rows::order(row)?.0)).collect()
}
