//! From a wanted reading of the local clock to the instant it stands for.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Shift;

/// No offset from UTC is larger, in seconds.
pub(super) const OFFSET_MAX_S: i64 = 26 * 3600;

/// The instant of a reading, and what the zone's clock did there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Timestamp,
    pub(super) shifted: Shift,
}

/// The earliest instant at which the local clock shows `wanted_s` or has jumped past it.
///
/// `wanted_s` is the reading as if it were UTC, in seconds. The answer never decreases when
/// the reading grows, whatever the zone does: everything else here rests on that. A reading
/// before all timestamps stands for the first of them, one after all of them for none.
///
/// Between two transitions `start..end` the offset is fixed, and the first instant there at
/// which the clock shows the reading or a later one is `max(start, wanted - offset)`, if that is
/// before `end`. The first such stretch has the answer, and only stretches that reach into
/// `wanted ± OFFSET_MAX_S` can.
pub(super) fn of_reading(zone: &TimeZone, wanted_s: i64) -> Option<Found> {
    let (min, max) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let from = Timestamp::from_second((wanted_s - OFFSET_MAX_S).clamp(min, max)).ok()?;
    let mut transitions = zone.following(from);
    let mut start = i64::MIN;
    let mut offset = i64::from(zone.to_offset(from).seconds());
    let mut first: Option<(i64, Shift)> = None;
    loop {
        let next = transitions.next().map(|next| (next.timestamp().as_second(), next.offset().seconds()));
        let end = next.map_or(i64::MAX, |(end, _)| end);
        let exact = wanted_s - offset;
        match &mut first {
            None if exact.max(start) < end => {
                first = Some(if exact < start { (start, Shift::Gap) } else { (exact, Shift::None) });
            }
            Some((_, shifted @ Shift::None)) if (start..end).contains(&exact) => *shifted = Shift::Overlap,
            _ => {}
        }
        match next {
            Some((at, next_offset)) if at <= wanted_s + OFFSET_MAX_S => {
                start = at;
                offset = i64::from(next_offset);
            }
            _ => break,
        }
    }
    let (at, shifted) = first?;
    Some(Found { at: Timestamp::from_second(at.max(min)).ok()?, shifted })
}
