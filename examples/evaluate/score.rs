/// What was expected of each answer, and what came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foretold(Vec<(f64, bool)>);

/// How good that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) answers: usize,
    /// The chance that a right answer was given a greater chance than a wrong one.
    pub(crate) area: f64,
    pub(crate) log_loss: f64,
    pub(crate) accuracy: f64,
}

impl Foretold {
    pub(crate) fn push(&mut self, chance: f64, is_right: bool) {
        self.0.push((chance, is_right));
    }

    pub(crate) fn score(mut self) -> Score {
        self.0.sort_by(|one, other| one.0.total_cmp(&other.0));
        let all = self.0.len() as f64;
        let right = self.0.iter().filter(|(_, is_right)| *is_right).count() as f64;
        // The ranks of right answers (Mann and Whitney), equal chances having their mean rank.
        let (mut ranks, mut begin) = (0.0, 0);
        for tied in self.0.chunk_by(|one, other| one.0 == other.0) {
            let rank = begin as f64 + (tied.len() as f64 + 1.0) / 2.0;
            ranks += rank * tied.iter().filter(|(_, is_right)| *is_right).count() as f64;
            begin += tied.len();
        }
        let loss = |(chance, is_right): &(f64, bool)| {
            let chance = if *is_right { *chance } else { 1.0 - chance };
            -chance.clamp(1e-4, 1.0).ln()
        };
        let hits = self
            .0
            .iter()
            .filter(|(chance, right)| (*chance >= 0.5) == *right);
        Score {
            answers: self.0.len(),
            area: (ranks - right * (right + 1.0) / 2.0) / (right * (all - right)),
            log_loss: self.0.iter().map(loss).sum::<f64>() / all,
            accuracy: hits.count() as f64 / all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        let area = |given: &[(f64, bool)]| Foretold(given.to_vec()).score().area;
        assert_eq!(area(&[(0.9, true), (0.1, false)]), 1.0);
        assert_eq!(area(&[(0.1, true), (0.9, false)]), 0.0);
        assert_eq!(area(&[(0.5, true), (0.5, false), (0.5, true)]), 0.5);
        let mixed = [(0.8, true), (0.6, false), (0.4, true), (0.2, false)];
        assert_eq!(area(&mixed), 0.75);
    }
}
