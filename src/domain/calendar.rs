//! Cutoff calendars.
/// placeholder until the calendar branch lands
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct CalendarSpec {}
/// placeholder until the calendar branch lands
#[derive(Debug, Clone)]
pub struct Calendar {}
impl Calendar {
    /// placeholder until the calendar branch lands
    pub fn build(
        _: &CalendarSpec,
        _: &super::zones::Zones,
        _: jiff::Timestamp,
    ) -> Result<Self, Vec<super::Fault>> {
        Ok(Self {})
    }
}
