//! The rows of the README's storm, held against the rows of the table that the chaos suite printed: the same fault, the same counts, the
//! same time. A number that was printed somewhere else is no proof. Read `figures.rs` for the numbers between the tables.

use std::collections::HashMap;

use longshore_tests::chaos::fault::Fault;

/// The README's words for a fault, and the report's.
const ROWS: [(&str, Fault); 7] = [
    ("a worker is killed", Fault::WorkerKill),
    ("a worker is frozen past its lease", Fault::WorkerPause),
    ("the broker is killed and restarted", Fault::BrokerKill),
    ("the node that leads the queue is killed", Fault::LeaderKill),
    ("the broker's data is wiped", Fault::BrokerWipe),
    ("PostgreSQL is killed", Fault::DatabaseKill),
    ("connections are cut", Fault::Cut),
];
/// The storms that the README's columns are of.
const STORMS: [&str; 3] = ["single broker", "three-node cluster", "calm, one fault after the other"];

/// What was printed: of each storm, the cells of each fault.
pub(super) struct Storms(HashMap<String, HashMap<String, Vec<String>>>);

impl Storms {
    pub(super) fn read(text: &str) -> Storms {
        let (mut storms, mut name) = (HashMap::<_, HashMap<_, _>>::new(), "");
        for line in text.lines() {
            if let Some(headed) = line.strip_prefix("storm `") {
                name = headed.split('`').next().unwrap_or_default();
            } else if line.starts_with('|') {
                let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
                let fault = cells.next().unwrap_or_default();
                storms.entry(name.to_owned()).or_default().insert(fault, cells.collect());
            }
        }
        Storms(storms)
    }

    /// What the README tells otherwise than it was printed, and what it does not tell.
    pub(super) fn contradict(&self, rows: &[Vec<String>]) -> Vec<String> {
        let told = |words: &str| rows.iter().find(|row| row.first().is_some_and(|cell| is_of(cell, words)));
        let unknown = rows.iter().filter(|row| !ROWS.iter().any(|(words, _)| is_of(&row[0], words)));
        let unknown = unknown.map(|row| format!("no fault is called {:?}", row[0]));
        let wrong = ROWS.iter().filter_map(|(words, fault)| match told(words) {
            None => Some(format!("the README does not tell that {words}")),
            Some(row) if row[1..] == self.printed(*fault) => None,
            Some(row) => Some(format!("{words}: told {:?}, printed {:?}", &row[1..], self.printed(*fault))),
        });
        unknown.chain(wrong).collect()
    }

    /// How often over one broker, how often over three, and the usual time by itself.
    fn printed(&self, fault: Fault) -> [String; 3] {
        let cell = |storm: usize, column: usize| {
            self.0
                .get(STORMS[storm])
                .and_then(|faults| faults.get(fault.word())?.get(column).cloned())
                .unwrap_or("-".into())
        };
        let count = |storm| match (fault, &*cell(storm, 0)) {
            (Fault::Cut, cell) => cell.split(['(', ' ']).nth(2).unwrap_or(cell).to_owned(),
            (_, cell) => cell.split(' ').next().unwrap_or_default().to_owned(),
        };
        // No leader is killed in the calm plan, for it has one broker.
        let calm = if fault == Fault::LeaderKill { 1 } else { 2 };
        let median = cell(calm, 1).split(" / ").next().unwrap_or_default().to_owned();
        [count(0), count(1), median]
    }
}

fn is_of(cell: &str, words: &str) -> bool {
    // "... of 3.0 s" says more of the same.
    cell == words || cell.strip_prefix(words).is_some_and(|more| more.starts_with(" of "))
}

const PRINTED: &str = "\
storm `single broker`, seed 1\n\
| worker killed (`kill -9`) | 130 (1749 attempts lost) | 9.9 s / 9.9 s | - | - |\n\
| connections cut | 45 (1478 connections) | - | - | - |\n\
storm `three-node cluster`, seed 1\n\
| worker killed (`kill -9`) | 70 (812 attempts lost) | - | - | - |\n\
| quorum leader killed | 20 | 0.1 s / 2.4 s | - | - |\n\
| connections cut | 25 (651 connections) | - | - | - |\n\
storm `calm, one fault after the other`, seed 1\n\
| worker killed (`kill -9`) | 10 (14 attempts lost) | 3.2 s / 4.3 s | - | - |\n\
| connections cut | 4 (86 connections) | 0.3 s / 0.3 s | - | - |\n";

#[test]
fn a_row_of_the_readme_is_held_against_the_row_of_its_own_fault() {
    let told = |fault: &str, cells: [&str; 3]| {
        let row: Vec<String> = [&[fault], &cells[..]].concat().into_iter().map(str::to_owned).collect();
        let found = Storms::read(PRINTED).contradict(&[row]);
        found.into_iter().filter(|one| !one.contains("does not tell")).collect::<Vec<_>>()
    };
    let right = ["130", "70", "3.2 s"];
    assert!(told("a worker is killed", right).is_empty());
    assert!(told("connections are cut", ["1478", "651", "0.3 s"]).is_empty());
    assert!(told("the node that leads the queue is killed", ["-", "20", "0.1 s"]).is_empty());
    assert_eq!(told("connections are cut", right).len(), 1);
    assert_eq!(told("a worker is killed", ["70", "130", "3.2 s"]).len(), 1);
    assert_eq!(told("a worker is killed", ["130", "70", "9.9 s"]).len(), 1);
    assert_eq!(told("a worker is tickled", right), ["no fault is called \"a worker is tickled\""]);
    assert_eq!(Storms::read(PRINTED).contradict(&[]).len(), ROWS.len());
}
