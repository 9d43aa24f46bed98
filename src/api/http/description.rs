//! What the description says of answers that hold more than what was sent.
//!
//! A submission is refused where it has a field that is not known, and its schema says so. The answer has the same
//! fields and more (`allOf`): there, that the submission's schema allows nothing else would make every answer a lie.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::{OpenApi, RefOr};

/// What a reference to a schema of the description begins with.
const SCHEMAS: &str = "#/components/schemas/";

/// A schema that allows nothing but what it names, without that.
fn open(schema: &RefOr<Schema>) -> Option<RefOr<Schema>> {
    let RefOr::T(Schema::Object(object)) = schema else { return None };
    let closed =
        matches!(object.additional_properties.as_deref(), Some(AdditionalProperties::FreeForm(false)));
    closed.then(|| {
        let mut object = object.clone();
        object.additional_properties = None;
        RefOr::T(Schema::Object(object))
    })
}

/// Lets answers have what they have: what is joined with more fields is written out, and does not forbid them.
pub(super) fn let_answers_have_more(document: &mut OpenApi) {
    let Some(components) = document.components.as_mut() else { return };
    let opened: BTreeMap<String, RefOr<Schema>> =
        components.schemas.iter().filter_map(|(name, schema)| Some((name.clone(), open(schema)?))).collect();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::AllOf(all)) = schema else { continue };
        for part in &mut all.items {
            let RefOr::Ref(named) = part else { continue };
            let name = named.ref_location.strip_prefix(SCHEMAS).unwrap_or_default();
            if let Some(opened) = opened.get(name) {
                *part = opened.clone();
            }
        }
    }
}
