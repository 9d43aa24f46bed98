//! Changes inputs by lot.

/// What readers of the house look for.
const WORDS: [&[u8]; 34] = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e999",
    b"\"\"",
    b"{}",
    b"[]",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xae",
    b"\n",
    b"\r\n",
    b" ",
    b"24:00",
    b"00:00",
    b"25:61",
    b"02-29",
    b"2026-03-29",
    b"9999-12-31",
    b"-009999-01-01",
    b"Europe/Berlin",
    b"Pacific/Apia",
    b"removed",
    b"will_print",
    b"v1,",
    b"whsec_",
    b"items",
    b"reference",
    b"__proto__",
    b"A",
];

/// Draws from a seed (xorshift64*), because the same seed must give the same inputs for ever.
pub(super) struct Mutator(u64);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// A number below `most`; 0 if that is 0.
    fn below(&mut self, most: usize) -> usize {
        if most == 0 { 0 } else { (self.draw() % most as u64) as usize }
    }

    fn piece(&mut self, of: &[u8]) -> (usize, usize) {
        let from = self.below(of.len() + 1);
        let most = if self.below(4) == 0 { of.len() - from } else { (of.len() - from).min(8) };
        (from, from + self.below(most + 1))
    }

    /// An input with some changes.
    pub(super) fn changed(&mut self, inputs: &[&[u8]]) -> Vec<u8> {
        let chosen = self.below(inputs.len());
        let mut input = inputs[chosen].to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut input, inputs);
        }
        // Time is for many inputs, not for long ones.
        input.truncate(16 * 1024);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[&[u8]]) {
        let at = self.below(input.len());
        let place = self.below(input.len() + 1);
        match self.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.draw() as u8,
            2 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(place..place, word.iter().copied());
            }
            3 => {
                let word = WORDS[self.below(WORDS.len())];
                let (from, to) = self.piece(input);
                input.splice(from..to, word.iter().copied());
            }
            4 => {
                let (from, to) = self.piece(input);
                input.drain(from..to);
            }
            5 => {
                let (from, to) = self.piece(input);
                let piece = input[from..to].repeat(1 + self.below(4));
                input.splice(place..place, piece);
            }
            6 => {
                let other = inputs[self.below(inputs.len())];
                let (from, to) = self.piece(other);
                input.splice(place..place, other[from..to].iter().copied());
            }
            7 => {
                // The head of this, the tail of another.
                let other = inputs[self.below(inputs.len())];
                input.truncate(place);
                input.extend_from_slice(&other[self.below(other.len() + 1)..]);
            }
            _ => {
                let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
                if let Some(at) = digits.get(self.below(digits.len())) {
                    input[*at] = b'0' + self.below(10) as u8;
                }
            }
        }
    }
}
