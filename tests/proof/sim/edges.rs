//! The steps of the protocol that a run must have taken: a simulation that never gets there proves nothing about it.

use super::oracle::Edges;

/// Every step that is named in the protocol and that can be forced from outside, as the log tells it.
const NAMED: &[&str] = &[
    "address asked -> refused in_production",
    "address asked -> refused lab_refused",
    "address asked -> refused order_stopped",
    "address asked -> refused shipped",
    "address asked -> taken lab_took",
    "address asked -> with_a_person no_answer",
    "address contradicted",
    "address none -> asked",
    "address told: another is open",
    "address told: changed in the house",
    "address with_a_person -> refused order_stopped",
    "address with_a_person -> refused person_confirmed",
    "address with_a_person -> taken lab_took",
    "address with_a_person -> taken person_confirmed",
    "batch closed",
    "batch closed late",
    "batch empty",
    "batch handed_on",
    "batch opened",
    "batch postponed",
    "batch promise_kept",
    "batch released",
    "stop none -> pending",
    "stop none -> stopped never_handed",
    "stop none -> stopped_in_part never_handed",
    "stop none -> too_late final_on_receipt",
    "stop none -> too_late in_production",
    "stop none -> with_a_person",
    "stop none -> with_a_person no_channel",
    "stop pending -> stopped lab_removed",
    "stop pending -> stopped never_handed",
    "stop pending -> stopped person_confirmed",
    "stop pending -> stopped_in_part lab_removed",
    "stop pending -> too_late final_on_receipt",
    "stop pending -> too_late in_production",
    "stop pending -> with_a_person",
    "stop pending -> with_a_person no_answer",
    "stop with_a_person -> stopped never_handed",
    "stop with_a_person -> stopped person_confirmed",
    "stop with_a_person -> too_late in_production",
    "stop with_a_person -> too_late lab_refused",
    "transfer closed -> empty by claim",
    "transfer closed -> sending by claim",
    "transfer closed -> with_a_person by claim",
    "transfer none -> sending by claim",
    "transfer none -> with_a_person by claim",
    "transfer sending -> at_lab by stop will_print",
    "transfer sending -> at_lab by upload accepted",
    "transfer sending -> closed by upload refused",
    "transfer sending -> closed by upload unreachable",
    "transfer sending -> unknown by take-over",
    "transfer sending -> unknown by upload unclear",
    "transfer sending -> unknown by upload unreachable",
    "transfer unknown -> at_lab by look_up accepted",
    "transfer unknown -> at_lab by stop removed",
    "transfer unknown -> at_lab by stop will_print",
    "transfer unknown -> closed by look_up not_found",
    "transfer unknown -> closed by stop not_found",
    "transfer unknown -> sending by claim",
    "transfer unknown -> with_a_person by claim",
    "transfer with_a_person -> at_lab by person handed_over",
    "transfer with_a_person -> at_lab by stop removed",
    "transfer with_a_person -> at_lab by stop will_print",
    "transfer with_a_person -> closed by person not_handed",
];

/// From so many seeds on, every step must have been taken.
pub(super) const ENOUGH: usize = 800;

/// The named steps that were never taken.
pub(super) fn missing(edges: &Edges) -> Vec<&'static str> {
    NAMED.iter().filter(|edge| !edges.contains_key(**edge)).copied().collect()
}
