//! Bodies that tell which message they are of, and whether they are what was sent.
//!
//! ```text
//! run(8) number(8) check(8), then bytes that follow from the run
//! ```

/// Bytes of the stamp that such a body begins with.
pub(crate) const STAMP: usize = 24;

/// The bodies of a run.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    run: u64,
    /// What every body is, but for its stamp.
    template: Vec<u8>,
}

/// What a body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is the one of this message.
    Ours(u64),
    /// It is of this run, and not what was sent.
    Damaged,
    /// It is of another run, or of somebody else.
    Foreign,
}

impl Bodies {
    /// Of a run, in so many bytes. Shorter ones than [`STAMP`] are all alike.
    pub(crate) fn new(run: u64, size: usize) -> Self {
        let template = (0..size).map(|at| b'a' + ((at as u64).wrapping_mul(7).wrapping_add(run) % 26) as u8).collect();
        Self { run, template }
    }

    /// A number that distinguishes this run from others.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// A body without a stamp.
    pub(crate) fn template(&self) -> &[u8] {
        &self.template
    }

    /// Writes the stamp of a message over the beginning of its body, if there is room for one.
    pub(crate) fn stamp(&self, number: u64, body: &mut [u8]) {
        if let Some(stamp) = body.first_chunk_mut::<STAMP>() {
            stamp[..8].copy_from_slice(&self.run.to_be_bytes());
            stamp[8..16].copy_from_slice(&number.to_be_bytes());
            stamp[16..].copy_from_slice(&check(self.run, number).to_be_bytes());
        }
    }

    /// Looks at a body that was received.
    pub(crate) fn find(&self, body: &[u8]) -> Found {
        let number = |at: usize| body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        match (number(0), number(8), number(16)) {
            (Some(run), Some(number), Some(sum)) if run == self.run => {
                let intact =
                    sum == check(run, number) && body[STAMP..] == self.template[STAMP.min(self.template.len())..];
                if intact { Found::Ours(number) } else { Found::Damaged }
            }
            _ => Found::Foreign,
        }
    }
}

fn check(run: u64, number: u64) -> u64 {
    let mixed = (run ^ number.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_every_byte() {
        let bodies = Bodies::new(77, 100);
        let mut body = bodies.template().to_vec();
        bodies.stamp(5, &mut body);
        assert_eq!(bodies.find(&body), Found::Ours(5));
        for at in 0..body.len() {
            let mut wrong = body.clone();
            wrong[at] ^= 4;
            assert_eq!(bodies.find(&wrong), if at < 8 { Found::Foreign } else { Found::Damaged }, "byte {at}");
        }
        assert_eq!(bodies.find(&body[..99]), Found::Damaged);
        assert_eq!(bodies.find(b"x"), Found::Foreign);
        assert_eq!(Bodies::new(78, 100).find(&body), Found::Foreign);
    }
}
