//! The connection marks that are ours. What must never happen here: a bit of another program's mark that is changed.
//!
//! Of the mask's lowest 24 bits: bit 23 says that the connection was claimed for a grant, bit 22 that its provider
//! answered, bit 21 that it is over; the other 21 are the grant's generation. Without bit 23 the connection is pending
//! or of a bypass network, and the low byte names its service. With 32 bits the highest byte is `k`.

use kmsgate_orders::table::is_mark_mask;

const TAG: u32 = 0x6b00_0000;
const CLAIMED: u32 = 0x80_0000;
const ANSWERED: u32 = 0x40_0000;
const OVER: u32 = 0x20_0000;
const GENERATION: u32 = 0x1f_ffff;
const PENDING: u32 = 0x01_0000;
const BYPASS: u32 = 0x02_0000;
const KIND: u32 = 0xff_0000;

/// Generations before the first one comes again.
pub const GENERATIONS: u32 = GENERATION + 1;

/// How marks look within a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    mask: u32,
    shift: u32,
    tag: u32,
}

/// Bits to look at, and what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    /// Which bits.
    pub mask: u32,
    /// Their value.
    pub value: u32,
}

impl Marks {
    /// Marks within `mask`; none if its bits are fewer than 24 or not in a row.
    #[must_use]
    pub fn within(mask: u32) -> Option<Self> {
        let tag = if mask == u32::MAX { TAG } else { 0 };
        is_mark_mask(mask).then(|| Self { mask, shift: mask.trailing_zeros(), tag })
    }

    /// All bits that are ours.
    #[must_use]
    pub fn mask(&self) -> u32 {
        self.mask
    }

    fn exact(&self, field: u32) -> Masked {
        Masked { mask: self.mask, value: (field << self.shift) | self.tag }
    }

    fn bits(&self, mask: u32, field: u32) -> Masked {
        let tag_bits = if self.tag == 0 { 0 } else { 0xff00_0000 };
        Masked { mask: (mask << self.shift) | tag_bits, value: (field << self.shift) | self.tag }
    }

    /// Not ours: none of our bits is set.
    #[must_use]
    pub fn none(&self) -> Masked {
        Masked { mask: self.mask, value: 0 }
    }

    /// Half open, towards this service.
    #[must_use]
    pub fn pending(&self, service: u8) -> Masked {
        self.exact(PENDING | u32::from(service))
    }

    /// Half open, towards any service.
    #[must_use]
    pub fn any_pending(&self) -> Masked {
        self.bits(CLAIMED | KIND, PENDING)
    }

    /// From a network that needs no sign-in, towards this service.
    #[must_use]
    pub fn bypass(&self, service: u8) -> Masked {
        self.exact(BYPASS | u32::from(service))
    }

    /// From such a network, towards any service.
    #[must_use]
    pub fn any_bypass(&self) -> Masked {
        self.bits(CLAIMED | KIND, BYPASS)
    }

    /// Claimed, of whatever grant, and over or not.
    #[must_use]
    pub fn claimed(&self) -> Masked {
        self.bits(CLAIMED, CLAIMED)
    }

    /// Claimed and not over.
    #[must_use]
    pub fn running(&self) -> Masked {
        self.bits(CLAIMED | OVER, CLAIMED)
    }

    /// Claimed, not over, and the provider did not answer yet.
    #[must_use]
    pub fn unanswered(&self) -> Masked {
        self.bits(CLAIMED | OVER | ANSWERED, CLAIMED)
    }

    /// The bits that name a grant: all of ours but the answer's.
    #[must_use]
    pub fn naming(&self) -> u32 {
        !(ANSWERED << self.shift) & self.mask
    }

    /// The bit to set when the provider answers.
    #[must_use]
    pub fn answer(&self) -> u32 {
        ANSWERED << self.shift
    }

    /// The bit to set when a connection is over.
    #[must_use]
    pub fn end(&self) -> u32 {
        OVER << self.shift
    }

    /// The mark of the grant of this generation, as it is claimed.
    #[must_use]
    pub fn of_generation(&self, generation: u32) -> u32 {
        self.exact(CLAIMED | (generation & GENERATION)).value
    }

    /// Of a connection's whole mark, the part that names its grant; none if it was not claimed.
    #[must_use]
    pub fn grant_of(&self, mark: u32) -> Option<u32> {
        self.claimed().holds(mark).then_some(mark & self.naming() & !self.end())
    }

    /// Whether a claimed connection was answered.
    #[must_use]
    pub fn is_answered(&self, mark: u32) -> bool {
        mark & self.answer() != 0
    }

    /// Whether a claimed connection was ended by a rule.
    #[must_use]
    pub fn is_over(&self, mark: u32) -> bool {
        mark & self.end() != 0
    }
}

impl Masked {
    /// Whether a mark has these bits.
    #[must_use]
    pub fn holds(&self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_to_their_mask() {
        for mask in [u32::MAX, 0x00ff_ffff, 0xffff_ff00, 0x0fff_fff0] {
            let marks = Marks::within(mask).expect("24 bits in a row");
            let all = [
                marks.pending(7).value,
                marks.bypass(255).value,
                marks.of_generation(GENERATIONS - 1),
                marks.answer(),
                marks.end(),
                marks.naming(),
            ];
            for mark in all {
                assert_eq!(mark & !mask, 0, "{mask:#x} {mark:#x}");
            }
        }
    }

    #[test]
    fn every_mark_is_of_one_kind() {
        for mask in [u32::MAX, 0x00ff_ffff, 0xffff_ff00] {
            let marks = Marks::within(mask).expect("24 bits in a row");
            let claimed = marks.of_generation(GENERATIONS - 1);
            let kinds = |mark| {
                [marks.any_pending(), marks.any_bypass(), marks.claimed(), marks.none()].map(|kind| kind.holds(mark))
            };
            assert_eq!(kinds(marks.pending(3).value), [true, false, false, false]);
            assert_eq!(kinds(marks.bypass(3).value), [false, true, false, false]);
            assert_eq!(kinds(claimed), [false, false, true, false]);
            assert_eq!(kinds(0), [false, false, false, true]);
            for mark in [claimed, claimed | marks.answer(), claimed | marks.end()] {
                assert_eq!(marks.grant_of(mark), Some(claimed), "an answer and an end keep the name");
            }
            assert!(!marks.running().holds(claimed | marks.end()));
        }
    }
}
