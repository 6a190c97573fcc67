use medcards_core::view::ViewState;

/// What the runner of a view does, as far as it has the lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Begins the next edition.
    Begin,
    /// Keeps up the current edition, builds the next, or both.
    Keep { current: bool, next: bool },
    /// Leaves the view to a newer program.
    Yield,
}

/// Decides by what there is of a view, for a program with rules of this version that knows so many
/// corrections.
///
/// The next edition is finished before another is begun, even if corrections came meanwhile: who
/// begins again with each of them may never end.
pub(super) fn plan(view: &ViewState, version: u64, corrections: u64) -> Plan {
    let current = view.current.is_some_and(|it| it.version == version);
    if let Some(next) = view.next {
        return match next.version.cmp(&version) {
            std::cmp::Ordering::Less => Plan::Begin,
            std::cmp::Ordering::Equal => Plan::Keep {
                current,
                next: true,
            },
            std::cmp::Ordering::Greater => Plan::Yield,
        };
    }
    match view.current {
        Some(it) if it.version > version => Plan::Yield,
        Some(it) if it.version == version && it.corrections >= corrections => Plan::Keep {
            current: true,
            next: false,
        },
        Some(_) | None => Plan::Begin,
    }
}

/// The same for a program to which nothing newer has left the view for a while, such as after a
/// return to an older version: what answers is kept up, or made anew by the older rules.
pub(super) fn plan_alone(view: &ViewState, version: u64, corrections: u64) -> Plan {
    match plan(view, version, corrections) {
        Plan::Yield if view.current.is_some_and(|it| it.version == version) => Plan::Keep {
            current: true,
            next: false,
        },
        Plan::Yield => Plan::Begin,
        plan => plan,
    }
}

#[cfg(test)]
mod tests {
    use medcards_core::Timestamp;
    use medcards_core::event::LogPosition;
    use medcards_core::view::{EditionNumber, EditionState, ViewName};

    use super::*;

    fn view(current: Option<(u64, u64)>, next: Option<(u64, u64)>) -> ViewState {
        let edition = |(version, corrections)| EditionState {
            number: EditionNumber::new(1),
            version,
            corrections,
            position: LogPosition::START,
            set_aside: 0,
            begun_at: Timestamp::UNIX_EPOCH,
        };
        ViewState {
            name: ViewName::new("test").unwrap(),
            current: current.map(edition),
            next: next.map(edition),
            announced: LogPosition::START,
            lead: None,
        }
    }

    #[test]
    fn what_is_done_follows_from_versions_and_corrections() {
        let keep = |current, next| Plan::Keep { current, next };
        // The current edition, the next one, what a program of version 2 that knows 3 corrections does,
        // and what it does when left alone.
        let table = [
            (None, None, Plan::Begin, Plan::Begin),
            (None, Some((2, 3)), keep(false, true), keep(false, true)),
            (None, Some((1, 3)), Plan::Begin, Plan::Begin),
            (None, Some((3, 3)), Plan::Yield, Plan::Begin),
            (Some((2, 3)), None, keep(true, false), keep(true, false)),
            (Some((2, 4)), None, keep(true, false), keep(true, false)),
            (Some((2, 2)), None, Plan::Begin, Plan::Begin),
            (Some((1, 3)), None, Plan::Begin, Plan::Begin),
            (Some((3, 3)), None, Plan::Yield, Plan::Begin),
            (
                Some((2, 2)),
                Some((2, 3)),
                keep(true, true),
                keep(true, true),
            ),
            (
                Some((2, 1)),
                Some((2, 2)),
                keep(true, true),
                keep(true, true),
            ),
            (
                Some((1, 3)),
                Some((2, 3)),
                keep(false, true),
                keep(false, true),
            ),
            (Some((2, 3)), Some((3, 3)), Plan::Yield, keep(true, false)),
            (
                Some((3, 3)),
                Some((2, 3)),
                keep(false, true),
                keep(false, true),
            ),
            (Some((3, 3)), Some((4, 3)), Plan::Yield, Plan::Begin),
        ];
        for (current, next, expected, alone) in table {
            let view = view(current, next);
            assert_eq!(plan(&view, 2, 3), expected, "{current:?} {next:?}");
            assert_eq!(plan_alone(&view, 2, 3), alone, "{current:?} {next:?}");
        }
    }
}
