//! Where a page of a list ended that is sorted by when things are due.

use std::fmt;

use jiff::Timestamp;

use crate::domain::Fault;

/// A place: the instant at which the last one is due, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<T>(pub(super) Timestamp, pub(super) T);

impl<T: fmt::Display> fmt::Display for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.as_microsecond(), self.1)
    }
}

impl<T: TryFrom<String, Error = Fault>> TryFrom<String> for Place<T> {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        let not = || Fault::not("", &text, "a place in the list");
        let (at, id) = text.split_once('.').ok_or_else(not)?;
        let at = at.parse().ok().and_then(|at| Timestamp::from_microsecond(at).ok()).ok_or_else(not)?;
        Ok(Self(at, T::try_from(id.to_owned())?))
    }
}

/// What a filter takes of a place: from the beginning where there is none.
pub(super) fn after<T>(place: Option<Place<T>>) -> (Timestamp, Option<T>) {
    place.map_or((Timestamp::MIN, None), |Place(at, id)| (at, Some(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EscalationId;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let id = EscalationId::parse("esc_00000000000000000000000000000001").unwrap();
        let place = Place(Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(), id);
        assert_eq!(Place::try_from(place.to_string()).unwrap(), place);
        for text in ["", "1", "x.esc_00000000000000000000000000000001", "1.esc_1", "1.2"] {
            assert!(Place::<EscalationId>::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
