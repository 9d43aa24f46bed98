//! The lane to a lab: its limits hold strictly, stops come first, a lab that is down is left alone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stoppress::domain::health::Heard;
use stoppress::domain::lab::{Answer, Profile, Rate};
use stoppress::domain::retry::FAILURES_MAX;
use stoppress::lab::Reply;
use stoppress::lab::lane::{Kind, Lane, Permit};

use crate::lab_support::noon;

fn lane(concurrency: u32, rate: Option<&str>) -> Lane {
    let rate = rate.map(|rate| Rate::try_from(rate.to_owned()).unwrap());
    Lane::new(&Profile { concurrency, rate, ..Profile::default() })
}

fn accepted() -> Reply {
    Answer::Accepted { lab_reference: None }.into()
}

fn unclear() -> Reply {
    Answer::Unclear { cause: "reset".to_owned() }.into()
}

fn after(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

fn one(lane: &Lane, now: Timestamp, kind: Kind) -> Permit {
    lane.take(now, 1, kind).permits.pop().unwrap()
}

#[test]
fn one_place_of_two_is_kept_for_stops() {
    let lane = lane(4, None);
    let uploads = lane.take(noon(), 10, Kind::Upload);
    assert_eq!((uploads.permits.len(), uploads.wait_until), (3, None));
    assert_eq!(lane.take(noon(), 1, Kind::Ahead).permits.len(), 0);
    let stops = lane.take(noon(), 5, Kind::Stop);
    assert_eq!(stops.permits.len(), 1);
    assert_eq!(lane.health(noon()).in_flight, 4);
    drop(uploads);
    assert_eq!(lane.health(noon()).in_flight, 1);
}

#[test]
fn a_dropped_permit_gives_its_place_back_and_says_nothing_about_the_lab() {
    let lane = lane(1, None);
    for _ in 0..20 {
        drop(one(&lane, noon(), Kind::Upload));
    }
    let health = lane.health(noon());
    assert_eq!((health.closed_until, health.last_answer, health.since), (None, None, None));
}

#[test]
fn where_there_is_one_place_uploads_give_way_to_a_stop_that_waits() {
    let lane = lane(1, None);
    let upload = one(&lane, noon(), Kind::Upload);
    assert_eq!(lane.take(noon(), 1, Kind::Stop).permits.len(), 0);
    upload.done(after(1), &accepted());
    assert_eq!(lane.take(after(1), 1, Kind::Upload).permits.len(), 0, "the stop is first");
    one(&lane, after(2), Kind::Stop).done(after(2), &accepted());
    assert_eq!(lane.take(after(2), 1, Kind::Upload).permits.len(), 1);
}

#[test]
fn a_stop_that_never_comes_back_does_not_hold_uploads_up_for_ever() {
    let lane = lane(1, None);
    let upload = one(&lane, noon(), Kind::Upload);
    assert!(lane.take(noon(), 1, Kind::Stop).permits.is_empty());
    drop(upload);
    let waits = lane.take(after(1), 1, Kind::Upload);
    assert!(waits.permits.is_empty() && waits.wait_until.is_none(), "the stop may come any moment");
    assert_eq!(lane.take(after(60), 1, Kind::Upload).permits.len(), 1);
}

#[test]
fn a_lab_that_does_not_speak_is_left_alone_then_tried_once() {
    let lane = lane(8, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
    }
    let taken = lane.take(after(1), 3, Kind::Stop);
    assert_eq!((taken.permits.len(), taken.wait_until), (0, Some(after(30))));
    let health = lane.health(after(1));
    assert_eq!((health.closed_until, health.since), (Some(after(30)), Some(noon())));
    let unclear = Some(Heard { answer: "unclear", at: noon() });
    assert_eq!((health.last_answer, health.last_failure), (unclear, unclear));
    assert_eq!(lane.health(after(30)).closed_until, Some(after(30)), "one call may try");
    let mut probe = lane.take(after(30), 3, Kind::Upload);
    assert_eq!(probe.permits.len(), 1);
    let second = lane.take(after(30), 3, Kind::Upload);
    assert_eq!((second.permits.len(), second.wait_until), (0, None), "until that call has ended");
    probe.permits.pop().unwrap().done(after(31), &accepted());
    assert_eq!(lane.take(after(31), 3, Kind::Upload).permits.len(), 3);
    let health = lane.health(after(32));
    assert_eq!((health.closed_until, health.since), (None, Some(after(31))));
    assert_eq!((health.last_answer.unwrap().answer, health.last_failure), ("accepted", unclear));
}

#[test]
fn a_probe_that_was_not_made_does_not_keep_the_lab_closed() {
    let lane = lane(8, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
    }
    let probe = lane.take(after(30), 1, Kind::Upload);
    assert!(lane.take(after(30), 1, Kind::Stop).permits.is_empty());
    drop(probe);
    let probe = lane.take(after(30), 1, Kind::Stop);
    assert_eq!(probe.permits.len(), 1, "the claim of the other found nothing to call for");
    probe.permits.into_iter().for_each(|permit| permit.done(after(30), &unclear()));
    assert_eq!(lane.take(after(31), 1, Kind::Stop).wait_until, Some(after(90)), "one that was made does");
}

#[test]
fn a_probe_that_the_rate_holds_back_is_not_lost() {
    let lane = lane(8, Some("5/h"));
    let mut now = noon();
    let mut failures = 0;
    while lane.health(now).closed_until.is_none() {
        let taken = lane.take(now, 1, Kind::Upload);
        match taken.permits.into_iter().next() {
            Some(permit) => {
                permit.done(now, &unclear());
                failures += 1;
            }
            None => now = taken.wait_until.unwrap(),
        }
    }
    assert_eq!(failures, FAILURES_MAX);
    let open = lane.health(now).closed_until.unwrap();
    let held = lane.take(open, 1, Kind::Upload);
    assert!(held.permits.is_empty(), "the rate does not allow it yet");
    let probe = lane.take(held.wait_until.unwrap(), 1, Kind::Upload);
    assert_eq!(probe.permits.len(), 1);
}

#[test]
fn what_makes_no_call_costs_nothing_of_the_rate() {
    let lane = lane(8, Some("100/h"));
    for _ in 0..1000 {
        drop(one(&lane, noon(), Kind::Upload));
    }
    let taken = lane.take(noon(), 7, Kind::Upload);
    assert_eq!(taken.permits.len(), 7, "claims that found nothing to call for took no call away");
    // A call that said nothing of the lab was a call.
    taken.permits.into_iter().for_each(Permit::called);
    let calls: usize = (0..5)
        .map(|_| lane.take(noon(), 1, Kind::Upload).permits.into_iter().map(Permit::called).count())
        .sum();
    assert_eq!(calls, 3, "ten of a hundred at once");
    // While one call tries, the others cost nothing.
    let lane = self::lane(8, Some("100/h"));
    let failures: Vec<_> = lane.take(noon(), FAILURES_MAX as usize, Kind::Upload).permits;
    for permit in failures {
        permit.done(noon(), &unclear());
    }
    let open = lane.health(noon()).closed_until.unwrap();
    let probe = one(&lane, open, Kind::Upload);
    for _ in 0..1000 {
        assert!(lane.take(open, 1, Kind::Upload).permits.is_empty());
    }
    probe.done(open, &accepted());
    assert_eq!(lane.take(open, 4, Kind::Upload).permits.len(), 10 - FAILURES_MAX as usize - 1);
}

#[test]
fn a_lab_that_asks_for_rest_gets_it() {
    let lane = lane(8, None);
    let busy = Reply { retry_after: Some(Duration::from_secs(20)), ..unclear() };
    one(&lane, noon(), Kind::Upload).done(noon(), &busy);
    assert_eq!(lane.take(after(19), 1, Kind::Stop).wait_until, Some(after(20)));
    assert_eq!(lane.take(after(20), 1, Kind::Stop).permits.len(), 1);
    let forever = Reply { retry_after: Some(Duration::MAX), ..accepted() };
    one(&lane, after(20), Kind::Upload).done(after(20), &forever);
    let rests = lane.health(after(21));
    assert_eq!((rests.closed_until, rests.since), (Some(after(20 + 3600)), Some(after(20))));
    let rested = lane.health(after(20 + 3600));
    assert_eq!((rested.closed_until, rested.since), (None, Some(after(20 + 3600))), "it ends by itself");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_lane() {
    let lane = lane(200, Some("60/m"));
    while let Some(permit) = lane.take(after(7200), 1, Kind::Upload).permits.pop() {
        permit.called();
    }
    assert!(lane.take(noon(), 1, Kind::Upload).permits.is_empty());
    assert_eq!(lane.take(after(3), 1, Kind::Upload).permits.len(), 1);
}

proptest! {
    /// In no stretch of the rate's length are there more calls than it says, however they are
    /// asked for; and whoever waits as told is served.
    #[test]
    fn a_rate_is_never_exceeded(calls in 1_u32..200, unit in 0_usize..3, asks in prop::collection::vec((0_i64..2_000, 1_usize..40, 0_usize..4), 1..80)) {
        let (name, seconds) = [("s", 1), ("m", 60), ("h", 3600)][unit];
        let lane = lane(256, Some(&format!("{calls}/{name}")));
        let mut now = noon();
        let mut made = Vec::new();
        for (wait, want, unused) in asks {
            now += SignedDuration::from_millis(wait * seconds);
            let mut taken = lane.take(now, want, Kind::Upload);
            // Some permits find nothing to call for, and are given back now or when the next is asked for.
            let kept = taken.permits.split_off(unused.min(taken.permits.len()));
            made.extend(std::iter::repeat_n(now, kept.len()));
            kept.into_iter().for_each(Permit::called);
            if let Some(until) = taken.wait_until {
                prop_assert!(until > now);
                now = until;
                let mut next = lane.take(now, 1, Kind::Upload).permits;
                prop_assert_eq!(next.len(), 1);
                made.push(now);
                next.pop().unwrap().called();
            }
        }
        for (first, at) in made.iter().enumerate() {
            let end = *at + SignedDuration::from_secs(seconds);
            let inside = made[first..].iter().take_while(|other| **other < end).count();
            prop_assert!(inside <= calls as usize, "{} calls in one stretch of {} s, {} are allowed", inside, seconds, calls);
        }
    }
}

#[test]
fn a_lane_keeps_to_the_smaller_of_profile_and_window() {
    let lane = lane(8, None);
    for (window, uploads) in [(None, 7), (Some(3), 2), (Some(1), 1), (Some(0), 0), (Some(100), 7)] {
        lane.keep_to(window);
        let taken = lane.take(noon(), 10, Kind::Upload);
        assert_eq!(taken.permits.len(), uploads, "{window:?}");
    }
    lane.keep_to(Some(4));
    let held = lane.take(noon(), 10, Kind::Upload);
    lane.keep_to(Some(2));
    assert!(lane.take(noon(), 1, Kind::Stop).permits.is_empty(), "more are out than the lab takes now");
    drop(held);
    assert_eq!(lane.take(noon(), 5, Kind::Stop).permits.len(), 2);
}

#[test]
fn a_lab_that_comes_back_is_called_at_once_unless_it_asked_for_rest() {
    let lane = lane(2, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Stop).done(noon(), &unclear());
    }
    assert!(lane.take(noon(), 1, Kind::Stop).permits.is_empty());
    lane.is_back(noon());
    let rest = Reply { answer: Answer::AnswerLater, retry_after: Some(Duration::from_mins(1)) };
    one(&lane, noon(), Kind::Stop).done(noon(), &rest);
    lane.is_back(noon());
    assert_eq!(lane.take(noon(), 1, Kind::Stop).wait_until, Some(after(60)));
}

#[test]
fn a_lab_is_taken_for_as_slow_as_it_was_and_grows_faster_slowly() {
    let lane = lane(4, None);
    assert_eq!(lane.pace(), None);
    for (took, pace) in
        [(800, 800), (4_000, 4_000), (0, 3_500), (3_500, 3_500), (9_000, 9_000), (1_000, 8_000)]
    {
        lane.took(SignedDuration::from_millis(took));
        assert_eq!(lane.pace(), Some(SignedDuration::from_millis(pace)), "after {took} ms");
    }
}

#[test]
fn a_question_without_an_answer_closes_no_lane_unless_it_was_the_call_that_tries() {
    let lane = lane(4, None);
    for _ in 0..3 * FAILURES_MAX {
        one(&lane, noon(), Kind::Beside).asked(noon(), &unclear());
    }
    assert!(!lane.is_closed(noon()));
    assert_eq!(lane.health(noon()).last_failure, None);
    let mut rests = unclear();
    rests.retry_after = Some(Duration::from_secs(40));
    one(&lane, noon(), Kind::Upload).asked(noon(), &rests);
    assert_eq!(lane.health(noon()).closed_until, Some(after(40)), "what it asks for holds");
    let lane = self::lane(4, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
    }
    one(&lane, after(30), Kind::Upload).asked(after(31), &unclear());
    assert_eq!(lane.health(after(31)).closed_until, Some(after(91)), "it tried, and the lab is still away");
    one(&lane, after(91), Kind::Upload).asked(after(92), &Answer::NotFound.into());
    assert!(!lane.is_closed(after(92)), "it answered");
}

/// Perhaps nobody has anything to hand over there for days, and orders are to go elsewhere.
#[test]
fn a_question_beside_the_hand_over_tries_a_lab_and_stands_in_nobodys_way() {
    let lane = lane(8, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
    }
    assert_eq!(lane.take(after(29), 4, Kind::Beside).wait_until, Some(after(30)));
    let mut tries = lane.take(after(30), 4, Kind::Beside).permits;
    assert_eq!(tries.len(), 1);
    assert!(lane.take(after(30), 1, Kind::Upload).permits.is_empty(), "one call tries");
    assert_eq!(lane.take(after(30), 1, Kind::Beside).wait_until, Some(after(31)));
    tries.pop().unwrap().asked(after(40), &unclear());
    assert_eq!(
        lane.take(after(40), 1, Kind::Beside).wait_until,
        Some(after(70)),
        "who matters more tries now"
    );
    let upload = one(&lane, after(40), Kind::Upload);
    upload.done(after(41), &unclear());
    assert_eq!(lane.health(after(41)).closed_until, Some(after(101)), "that is for hand-overs to say");
    one(&lane, after(101), Kind::Beside).asked(after(102), &accepted());
    assert!(!lane.is_closed(after(102)), "it answered");
    assert_eq!(lane.take(after(102), 4, Kind::Ahead).permits.len(), 4);
}

#[test]
fn a_stop_that_finds_another_call_trying_is_the_next_to_try() {
    for concurrency in [1, 8] {
        let lane = lane(concurrency, None);
        for _ in 0..FAILURES_MAX {
            one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
        }
        let tries = one(&lane, after(30), Kind::Upload);
        assert!(lane.take(after(31), 1, Kind::Stop).permits.is_empty());
        drop(tries);
        assert!(lane.take(after(32), 1, Kind::Upload).permits.is_empty(), "it gives way");
        one(&lane, after(32), Kind::Stop).done(after(33), &accepted());
        drop(one(&lane, after(33), Kind::Upload));
    }
}

#[test]
fn nothing_is_sent_ahead_to_a_lab_that_is_tried() {
    let lane = lane(8, None);
    for _ in 0..FAILURES_MAX {
        one(&lane, noon(), Kind::Upload).done(noon(), &unclear());
    }
    let ahead = lane.take(after(30), 4, Kind::Ahead);
    assert!(ahead.permits.is_empty());
    assert_eq!(ahead.wait_until, Some(after(60)), "and it waits until the lab was tried with what matters");
    assert_eq!(lane.take(after(300), 4, Kind::Ahead).wait_until, Some(after(330)), "however long that takes");
    assert_eq!(lane.take(after(30), 4, Kind::Upload).permits.len(), 1, "the call that tries is still there");
}

#[test]
fn what_waits_too_long_is_looked_for_now_and_then_whatever_the_clock_does() {
    let lane = lane(1, None);
    let most = SignedDuration::from_secs(30);
    assert!(lane.looks(noon(), after(10), most));
    assert!(!lane.looks(after(9), after(19), most));
    assert!(lane.looks(after(10), after(3600), most), "the next is never later than `most`");
    assert!(!lane.looks(after(39), after(60), most));
    assert!(lane.looks(after(40), after(50), most));
    assert!(lane.looks(after(-3600), after(-3590), most), "a clock that was set back puts nothing off");
}

/// What waits for a time waits as long as it was to, however far a clock is set back meanwhile.
#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let hour_before = after(-3600);
    // A stop that found the lane full.
    let full = lane(1, None);
    let upload = one(&full, noon(), Kind::Upload);
    assert!(full.take(noon(), 1, Kind::Stop).permits.is_empty());
    drop(upload);
    assert!(full.take(after(59), 1, Kind::Upload).permits.is_empty());
    drop(one(&full, hour_before, Kind::Upload));

    // A lab that asked to be left alone.
    let resting = lane(1, None);
    let busy = |long| Reply { retry_after: Some(Duration::from_secs(long)), ..accepted() };
    one(&resting, noon(), Kind::Upload).done(noon(), &busy(40));
    assert_eq!(resting.take(after(39), 1, Kind::Stop).wait_until, Some(after(40)));
    let permit = one(&resting, hour_before, Kind::Stop);
    assert_eq!(resting.health(hour_before).closed_until, None);
    permit.done(hour_before, &busy(20));
    let until = hour_before + SignedDuration::from_secs(20);
    assert_eq!(resting.take(hour_before, 1, Kind::Stop).wait_until, Some(until));

    // A lab that does not speak.
    let silent = lane(1, None);
    for _ in 0..FAILURES_MAX {
        one(&silent, noon(), Kind::Upload).done(noon(), &unclear());
    }
    assert_eq!(silent.take(after(29), 1, Kind::Upload).wait_until, Some(after(30)));
    // A loop that read its clock before the lab closed is no clock that was set back.
    assert_eq!(silent.take(after(-5), 1, Kind::Upload).wait_until, Some(after(30)));
    let ahead = silent.take(hour_before, 1, Kind::Ahead).wait_until;
    assert_eq!(ahead, Some(hour_before + SignedDuration::from_secs(30)));
    let tries = one(&silent, hour_before, Kind::Upload);
    assert!(silent.take(hour_before, 1, Kind::Upload).permits.is_empty(), "one call tries");
    tries.done(hour_before, &accepted());
    drop(one(&silent, hour_before, Kind::Upload));
}
