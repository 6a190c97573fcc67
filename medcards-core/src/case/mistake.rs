use super::OptionSet;

/// In what way a choice is wrong: each kind needs an explanation of its own.
///
/// ```
/// use medcards_core::case::{Mistake, OptionSet};
///
/// let set = |positions: &[usize]| positions.iter().copied().collect::<OptionSet>();
/// assert_eq!(Mistake::of(set(&[1]), set(&[1])), None);
/// assert_eq!(Mistake::of(set(&[0]), set(&[1])), Some(Mistake::OneWrong));
/// assert_eq!(Mistake::of(set(&[1]), set(&[1, 2])), Some(Mistake::SomeMissed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all ways in which two sets can differ that teaching tells apart"
)]
pub enum Mistake {
    /// No option was chosen.
    NothingChosen,
    /// The one option that was chosen is wrong.
    OneWrong,
    /// Several options were chosen, and none of them is right.
    AllWrong,
    /// What was chosen is right, but some right options are missing.
    SomeMissed,
    /// All right options were chosen, and some wrong ones with them.
    SomeAdded,
    /// Some of what was chosen is right, some is wrong, and some right options are missing.
    SomeMissedAndAdded,
}

impl Mistake {
    /// The mistake of a choice, or `None` if exactly the right options were chosen.
    #[must_use]
    pub const fn of(chosen: OptionSet, right: OptionSet) -> Option<Self> {
        let (chosen_bits, right_bits) = (chosen.bits(), right.bits());
        let has_missed = right_bits & !chosen_bits != 0;
        let has_added = chosen_bits & !right_bits != 0;
        let has_hit = chosen_bits & right_bits != 0;
        match (has_missed, has_added) {
            (false, false) => None,
            (false, true) => Some(Self::SomeAdded),
            (true, false) if chosen.is_empty() => Some(Self::NothingChosen),
            (true, false) => Some(Self::SomeMissed),
            (true, true) if has_hit => Some(Self::SomeMissedAndAdded),
            (true, true) if chosen.len() == 1 => Some(Self::OneWrong),
            (true, true) => Some(Self::AllWrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_one_kind() {
        let set = |bits| OptionSet::from_bits(bits).unwrap();
        for (chosen, right, kind) in [
            (0b0010, 0b0010, None),
            (0b0110, 0b0110, None),
            (0b0000, 0b0010, Some(Mistake::NothingChosen)),
            (0b0001, 0b0010, Some(Mistake::OneWrong)),
            (0b0001, 0b0110, Some(Mistake::OneWrong)),
            (0b1001, 0b0110, Some(Mistake::AllWrong)),
            (0b1001, 0b0010, Some(Mistake::AllWrong)),
            (0b0010, 0b0110, Some(Mistake::SomeMissed)),
            (0b0111, 0b0110, Some(Mistake::SomeAdded)),
            (0b0011, 0b0010, Some(Mistake::SomeAdded)),
            (0b0011, 0b0110, Some(Mistake::SomeMissedAndAdded)),
        ] {
            assert_eq!(
                Mistake::of(set(chosen), set(right)),
                kind,
                "{chosen:b} {right:b}"
            );
        }
    }
}
