//! The five states of a job and the legal moves between them. The ledgers' SQL must make no other move; the diagram in
//! ARCHITECTURE.md is this file's, held by a test. Why a move is made is decided in [`super::verdict`].

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted, and waiting: queued, scheduled, or backing off.
    Pending,
    /// An attempt runs under a worker's lease.
    Running,
    /// Its executor's output is recorded.
    Completed,
    /// Its attempts are spent or its failure is fatal: a dead letter, which can be replayed.
    Failed,
    /// Cancelled by its caller.
    Canceled,
}

/// Why a job moves from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A worker's claim.
    Claim,
    /// The executor is done.
    Complete,
    /// Another attempt will be made: after a failure, a yield, a lost worker.
    TryAgain,
    /// Given up.
    DeadLetter,
    /// The caller's wish.
    Cancel,
    /// A dead letter made ready again.
    Replay,
}

/// Every legal move: from, why, to.
pub const MOVES: [(State, Move, State); 7] = [
    (State::Pending, Move::Claim, State::Running),
    (State::Pending, Move::Cancel, State::Canceled),
    (State::Running, Move::Complete, State::Completed),
    (State::Running, Move::TryAgain, State::Pending),
    (State::Running, Move::DeadLetter, State::Failed),
    (State::Running, Move::Cancel, State::Canceled),
    (State::Failed, Move::Replay, State::Pending),
];

impl State {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Canceled];

    /// The number it is stored as.
    pub const fn code(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Running => 1,
            Self::Completed => 2,
            Self::Failed => 3,
            Self::Canceled => 4,
        }
    }

    /// The state stored as `code`, if there is one.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Its word in the API, in events and in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether no worker will touch the job again (a replay apart).
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// Where `why` leads from here; `None` for an illegal move.
    pub fn after(self, why: Move) -> Option<Self> {
        MOVES.iter().find(|(from, by, _)| *from == self && *by == why).map(|(_, _, to)| *to)
    }
}

/// The moves as a Mermaid state diagram.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> pending: submit\n");
    for (from, why, to) in MOVES {
        text.push_str(&format!("    {} --> {}: {}\n", from.word(), to.word(), why.word()));
    }
    for state in [State::Completed, State::Canceled] {
        text.push_str(&format!("    {} --> [*]\n", state.word()));
    }
    text
}

impl Move {
    const fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::TryAgain => "try again",
            Self::DeadLetter => "dead-letter",
            Self::Cancel => "cancel",
            Self::Replay => "replay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_job_moves_only_by_replay_of_a_dead_letter() {
        let leaving: Vec<_> = MOVES.iter().filter(|(from, ..)| from.is_terminal()).collect();
        assert_eq!(leaving, [&(State::Failed, Move::Replay, State::Pending)]);
    }

    #[test]
    fn a_move_leads_to_one_place() {
        for (index, (from, why, _)) in MOVES.iter().enumerate() {
            assert!(!MOVES[index + 1..].iter().any(|(f, w, _)| (f, w) == (from, why)), "{from:?} {why:?}");
        }
        assert_eq!(State::Completed.after(Move::Claim), None);
    }

    #[test]
    fn every_state_has_its_own_code_and_comes_back_from_it() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
        }
        assert_eq!(State::from_code(9), None);
    }
}
