//! What is wrong with a region, and when; until when a row holds.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn batch(nth: u8) -> BatchId {
    BatchId::parse(&format!("bat_{nth:032x}")).unwrap()
}

fn open(nth: u8, closes: i64, waiting: i64) -> BoardBatch {
    BoardBatch {
        place: (LabId::parse("nord").unwrap(), RegionId::parse("fi").unwrap()),
        batch: batch(nth),
        window_at: at(closes),
        closes_at: at(closes),
        closes_at_local: "there".to_owned(),
        production_date: "2027-01-15".to_owned(),
        rule: "season:peak 12:00".to_owned(),
        tzdata: "2026a".to_owned(),
        waiting,
        stopped: 2,
    }
}

fn row(counts: &Counts, paused: bool, now: i64) -> Region {
    standing(counts, paused, None, now)
}

fn standing(counts: &Counts, paused: bool, health: Option<&Health>, now: i64) -> Region {
    let (lab, region) = (LabId::parse("nord").unwrap(), RegionId::parse("fi").unwrap());
    let coming = Coming { at: at(3600), local: "then".to_owned(), rule: "regular 24:00".to_owned() };
    let known = Known {
        place: (&lab, &region),
        name: "Nord",
        time_zone: "Europe/Helsinki",
        tzdata: "2026f",
        offset: "+02:00".to_owned(),
        paused_at: paused.then(|| at(-10)),
        health,
        calendar: None,
        coming: Some(&coming),
    };
    Region::of(&known, counts, at(now))
}

fn transfer(phase: TransferPhase, transfers: i64) -> BoardTransfers {
    let BoardBatch { place, .. } = open(0, 0, 0);
    BoardTransfers { place, phase, transfers, deadline_at: at(500), first_at: at(0), batch: batch(9) }
}

fn stop(state: StopState, deadline: i64) -> BoardStops {
    BoardStops { place: open(0, 0, 0).place, state, stops: 1, deadline_at: at(deadline) }
}

fn warned(closes: i64) -> WarnedRow {
    let place = open(0, 0, 0).place;
    WarnedRow { place, closes_at: at(closes), paid: false, hold: None, orders: 7 }
}

fn behind(since: i64) -> BoardBehind {
    BoardBehind { place: open(0, 0, 0).place, orders: 3, batches: 1, since: at(since), batch: batch(8) }
}

/// Each thing that can be wrong, just before and when it is.
#[test]
fn what_is_wrong_rises_when_it_is() {
    use AlertKind::*;
    use Level::{Act, Fine, Watch};
    let none = Counts::default;
    let table: Vec<(Counts, bool, i64, Level, Vec<AlertKind>)> = vec![
        (none(), false, 0, Fine, vec![]),
        (none(), true, 0, Watch, vec![Paused]),
        (Counts { open: vec![open(1, 10, 5)], ..none() }, false, 19, Fine, vec![]),
        (Counts { open: vec![open(1, 10, 5)], ..none() }, false, 20, Act, vec![NotClosed]),
        (Counts { behind: Some(behind(0)), ..none() }, false, 59, Fine, vec![]),
        (Counts { behind: Some(behind(0)), ..none() }, false, 60, Act, vec![NotHandedOver]),
        (Counts { behind: Some(behind(0)), ..none() }, true, 1, Act, vec![NotHandedOver]),
        (Counts { transfers: vec![transfer(TransferPhase::Sending, 1)], ..none() }, false, 0, Fine, vec![]),
        (Counts { transfers: vec![transfer(TransferPhase::Closed, 1)], ..none() }, false, 59, Fine, vec![]),
        (
            Counts { transfers: vec![transfer(TransferPhase::Closed, 1)], ..none() },
            false,
            60,
            Act,
            vec![NotTaken],
        ),
        (
            Counts { transfers: vec![transfer(TransferPhase::Sending, 1)], ..none() },
            false,
            60,
            Act,
            vec![NotTaken],
        ),
        (
            Counts { transfers: vec![transfer(TransferPhase::Unknown, 1)], ..none() },
            false,
            0,
            Watch,
            vec![TransferUnclear],
        ),
        (
            Counts {
                transfers: vec![transfer(TransferPhase::Unknown, 1), transfer(TransferPhase::WithAPerson, 1)],
                escalations: Some((1, at(9))),
                ..none()
            },
            false,
            0,
            Act,
            vec![TransferWithAPerson, Escalated, TransferUnclear],
        ),
        (Counts { stops: vec![stop(StopState::Pending, 601)], ..none() }, false, 0, Fine, vec![]),
        (Counts { stops: vec![stop(StopState::Pending, 600)], ..none() }, false, 0, Watch, vec![StopDueSoon]),
        (Counts { stops: vec![stop(StopState::Pending, 600)], ..none() }, false, 600, Act, vec![StopOverdue]),
        (
            Counts { stops: vec![stop(StopState::WithAPerson, 0)], ..none() },
            false,
            0,
            Act,
            vec![StopWithAPerson],
        ),
        (Counts { escalations: Some((2, at(9))), ..none() }, false, 0, Act, vec![Escalated]),
        (
            Counts { stops: vec![stop(StopState::WithAPerson, 0)], escalations: Some((1, at(9))), ..none() },
            false,
            0,
            Act,
            vec![StopWithAPerson, Escalated],
        ),
        (Counts { warned: vec![warned(100)], ..none() }, false, 99, Watch, vec![WillMiss]),
        (Counts { warned: vec![warned(100)], ..none() }, false, 100, Fine, vec![]),
    ];
    for (nth, (counts, paused, now, level, kinds)) in table.into_iter().enumerate() {
        let row = row(&counts, paused, now);
        let found: Vec<AlertKind> = row.alerts.iter().map(|alert| alert.kind).collect();
        assert_eq!((row.level, found), (level, kinds), "case {nth}");
        assert!(row.alerts.iter().all(|alert| alert.text.ends_with('.')));
    }
}

#[test]
fn a_lab_that_cannot_be_called_is_told() {
    let health = |reach| Health {
        reach,
        last_answer: None,
        last_answer_at: None,
        connections: None,
        closed_until: None,
        cause: Some("driver.base_url: is missing".to_owned()),
    };
    for (reach, level) in [
        (Reach::Open, Level::Fine),
        (Reach::ByHand, Level::Fine),
        (Reach::Closed, Level::Watch),
        (Reach::Away, Level::Watch),
        (Reach::Unusable, Level::Act),
    ] {
        let row = standing(&Counts::default(), false, Some(&health(reach)), 0);
        assert_eq!(row.level, level, "{reach:?}");
    }
    let row = standing(&Counts::default(), false, Some(&health(Reach::Unusable)), 0);
    assert!(row.alerts[0].text.contains("driver.base_url"), "{}", row.alerts[0].text);
}

#[test]
fn the_next_cutoff_is_that_of_the_open_batch_or_the_calendar() {
    let fresh = row(&Counts::default(), false, 0);
    assert_eq!((fresh.closes_at, fresh.waiting(), fresh.season), (Some(at(3600)), 0, None));
    assert_eq!(fresh.tzdata, "2026f");
    // A batch of the calendar's next cutoff, and one that was postponed beyond it.
    let counts = Counts { open: vec![open(2, 9000, 7), open(1, 3600, 5)], ..Counts::default() };
    let both = row(&counts, false, 0);
    assert_eq!((both.closes_at, both.waiting(), both.stopped()), (Some(at(3600)), 5, 2));
    assert_eq!((both.season.as_deref(), both.open.len()), (Some("peak"), 2));
    assert_eq!(both.tzdata, "2026a");
    let later = row(&Counts { open: vec![open(2, 9000, 7)], ..Counts::default() }, false, 0);
    assert_eq!((later.closes_at, later.waiting()), (Some(at(3600)), 0));
}

/// The same numbers give the same row until `again_at`, whatever they are.
#[test]
fn a_row_holds_until_it_says() {
    let counts = Counts {
        open: vec![open(1, 700, 5)],
        behind: Some(behind(333)),
        transfers: vec![BoardTransfers { first_at: at(77), ..transfer(TransferPhase::Closed, 2) }],
        stops: vec![stop(StopState::Pending, 1111)],
        ..Counts::default()
    };
    let (mut now, mut seen, mut steps) = (0, row(&counts, false, 0), 0);
    while now < 2000 {
        let again = seen.again_at(&counts, at(now)).as_second() - at(0).as_second();
        assert!(again > now, "it moves on");
        for same in now..again.min(2000) {
            assert_eq!(row(&counts, false, same), seen, "at {same}, as at {now}");
        }
        now = again;
        seen = row(&counts, false, now);
        steps += 1;
    }
    assert!(steps >= 5, "{steps}");
}
