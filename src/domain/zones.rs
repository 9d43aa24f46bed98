//! Zone data, chosen at run time.
/// placeholder until the calendar branch lands
#[derive(Debug, Clone)]
pub struct Zones;
