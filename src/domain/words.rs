//! The words by which rules are stored and shown: one table an enum, read both ways.

/// Gives an enum its words.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal,)+ }) => {
        impl $name {
            const WORDS: &[(Self, &'static str)] = &[$((Self::$variant, $word),)+];

            /// The word for it, as the database and the API have it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(_, known)| *known == word).map(|(it, _)| *it)
            }
        }
    };
}

pub(super) use words;
