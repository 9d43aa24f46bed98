//! What a customer is told of downloads: each in a sentence of its own, apart from what is printed.

use super::view::Seen;
use super::words::fill;
use crate::domain::downloads::{DownloadState, DownloadVerdict};

impl Seen<'_> {
    /// How each download of the order stands.
    pub(super) fn downloads(&self) -> Vec<String> {
        let say = |it: &DownloadVerdict| {
            let words = &self.words().download;
            let text = match it.state {
                DownloadState::Live => &words.live,
                DownloadState::Revoking => &words.revoking,
                DownloadState::Revoked if it.contradicted_at.is_some() => &words.contradicted,
                DownloadState::Revoked => &words.revoked,
                DownloadState::Fetched => &words.fetched,
                DownloadState::WithAPerson => &words.person,
            };
            let line = self.lines.iter().find(|line| line.id == it.item);
            let name = line.map_or(it.item.as_str(), |line| line.sku.as_str());
            fill(text, &[("item", name), ("shop", self.shop)])
        };
        self.verdict.downloads.iter().map(say).collect()
    }
}
