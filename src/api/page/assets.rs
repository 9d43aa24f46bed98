//! What pages load: styles and scripts, compiled in, named by what is in them and so kept for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::Faced;
use crate::api::problem::Problem;
use crate::domain::event::hex;

struct Asset {
    name: &'static str,
    /// The name with a part of its hash, as it is asked for.
    named: String,
    kind: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal $kind:literal;)*) => {
        static ASSETS: LazyLock<Vec<Asset>> =
            LazyLock::new(|| vec![$(made($name, $kind, include_str!(concat!("assets/", $name))),)*]);
    };
}

assets! {
    "stoppress.css" "text/css; charset=utf-8";
    "live.js" "text/javascript; charset=utf-8";
    "inbox.js" "text/javascript; charset=utf-8";
    "board.js" "text/javascript; charset=utf-8";
    "customer.js" "text/javascript; charset=utf-8";
    "icon.svg" "image/svg+xml";
}

fn made(name: &'static str, kind: &'static str, text: &'static str) -> Asset {
    let hash = hex(&Sha256::digest(text.as_bytes()));
    let (stem, end) = name.split_once('.').unwrap_or((name, ""));
    Asset { name, named: format!("{stem}-{}.{end}", &hash[..12]), kind, text }
}

/// Where an asset is, as pages link it.
///
/// # Panics
/// If there is none of this name: a mistake in a template, which every test that renders it finds.
#[must_use]
pub(in crate::api) fn asset(name: &str) -> String {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    format!("/assets/{}", found.expect("an asset that templates name").named)
}

/// Serves an asset.
pub(in crate::api) async fn serve(name: Path<String>) -> Result<Response, Faced> {
    let found = ASSETS.iter().find(|asset| asset.named == name.0).ok_or_else(Problem::not_found)?;
    let mut response = found.text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(found.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}
