//! A place in a line.

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) line: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The byte here; 0 at the end.
    pub(super) fn peek(&self) -> u8 {
        self.ahead(0)
    }

    /// The byte so many further; 0 beyond the end.
    pub(super) fn ahead(&self, by: usize) -> u8 {
        self.line.get(self.at + by).copied().unwrap_or(0)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    /// Goes over this byte, if it is here.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == byte && !self.is_at_end()).then(|| self.at += 1)
    }

    /// Goes over exactly so many digits.
    pub(super) fn digits(&mut self, count: usize) -> Option<u32> {
        let bytes = self.line.get(self.at..self.at + count)?;
        let mut number = 0_u32;
        for byte in bytes {
            if !byte.is_ascii_digit() {
                return None;
            }
            number = number * 10 + u32::from(byte - b'0');
        }
        self.at += count;
        Some(number)
    }

    /// Goes over one or two digits.
    pub(super) fn one_or_two(&mut self) -> Option<u32> {
        self.digits(2).or_else(|| self.digits(1))
    }

    /// Goes over control sequences of terminals (ECMA-48 5.4). Returns whether there were any.
    pub(super) fn escapes(&mut self) -> bool {
        let start = self.at;
        while self.peek() == 0x1b && self.ahead(1) == b'[' {
            let mut end = self.at + 2;
            while self.line.get(end).is_some_and(|b| matches!(b, 0x20..=0x3f)) {
                end += 1;
            }
            self.at = (end + 1).min(self.line.len());
        }
        self.at > start
    }

    /// Goes over blanks and control sequences. Returns whether a control sequence came last.
    pub(super) fn blanks(&mut self) -> bool {
        let mut coloured = false;
        loop {
            if self.escapes() {
                coloured = true;
            } else if matches!(self.peek(), b' ' | b'\t') {
                self.at += 1;
                coloured = false;
            } else {
                return coloured;
            }
        }
    }

    /// Goes over a bracket that is open here and all within. `None` if it does not close soon.
    pub(super) fn group(&mut self, close: u8, limit: usize) -> Option<&'a [u8]> {
        let inner = self.line.get(self.at + 1..)?;
        let inner = inner.get(..limit).unwrap_or(inner);
        let end = inner.iter().position(|byte| *byte == close)?;
        self.at += end + 2;
        Some(&inner[..end])
    }

    /// What stands here up to the next blank or bar, at most so much.
    pub(super) fn token(&self, limit: usize) -> &'a [u8] {
        let rest = self.rest();
        let rest = rest.get(..limit).unwrap_or(rest);
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t' | b'|' | 0x1b))
            .unwrap_or(rest.len());
        &rest[..end]
    }
}
