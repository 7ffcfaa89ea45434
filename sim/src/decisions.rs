//! What a run's chance decided, question by question: written down while it runs, or given to it instead of chance.
//!
//! A run asks its generators named questions ([`crate::rng::Rng::at`]): "does the process die after this step?", "how
//! long is this write under way?". The answers to one question are a list of numbers, the value as it was used, not the
//! bits that it was drawn from. 0 is always the calm answer: no fault, the first choice, the smallest size. Where a list
//! ends, and where a number cannot be an answer, the answer is 0. So any lists at all are a run, a trace goes on meaning
//! nearly the same when the code around it changes, and what is cut out of it makes the run simpler.
//!
//! It knows nothing of what the questions mean. [`crate::trace`] adds the plan; [`crate::shrink`] makes lists small.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Answers that one question may have on a tape. A longer list is refused when it is read.
pub const ANSWERS_MAX: usize = 1 << 22;

/// Answers by question, each `concern/question`. Zeros at an end are left out, and lists of nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Decisions {
    lists: BTreeMap<String, Vec<u64>>,
}

impl Decisions {
    /// The questions that have another answer than the calm one.
    pub fn questions(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }

    /// The answers to a question.
    pub fn of(&self, question: &str) -> &[u64] {
        self.lists.get(question).map_or(&[], Vec::as_slice)
    }

    /// Sets the answers to a question.
    pub fn set(&mut self, question: &str, mut answers: Vec<u64>) {
        let used = answers.iter().rposition(|answer| *answer != 0).map_or(0, |last| last + 1);
        answers.truncate(used);
        if answers.is_empty() {
            self.lists.remove(question);
        } else {
            self.lists.insert(question.to_owned(), answers);
        }
    }

    /// The questions of these decisions that `played` has no answers to.
    pub fn unlike<'a>(&'a self, played: &'a Decisions) -> impl Iterator<Item = &'a str> {
        self.questions().filter(|question| !played.lists.contains_key(*question))
    }

    /// How large they are; what is smaller is simpler.
    pub fn size(&self) -> Size {
        let all = || self.lists.values().flatten();
        Size {
            set: all().filter(|answer| **answer != 0).count(),
            length: all().count(),
            questions: self.lists.len(),
            sum: all().map(|answer| u128::from(*answer)).sum(),
        }
    }

    /// Takes the answers of a concern's tape.
    pub fn add(&mut self, concern: &str, tape: Tape) {
        for ((question, actor), list) in tape.lists {
            self.set(&format!("{concern}/{}", name(question, actor)), list.taken);
        }
    }

    /// The tape that dictates a concern.
    pub fn tape(&self, concern: &str) -> Tape {
        let of_concern = self.lists.iter().filter_map(|(name, answers)| {
            let (of, question) = name.split_once('/')?;
            (of == concern).then(|| (question.to_owned(), answers.clone()))
        });
        Tape { given: Some(of_concern.collect()), ..Tape::default() }
    }
}

/// Sizes, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Answers that are not calm.
    pub set: usize,
    /// Answers.
    pub length: usize,
    /// Questions with another answer than the calm one.
    pub questions: usize,
    /// All answers together.
    pub sum: u128,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Size { set, length, questions, sum: _ } = self;
        write!(f, "{set} decisions among {length} answers to {questions} questions")
    }
}

impl From<Decisions> for BTreeMap<String, String> {
    fn from(decisions: Decisions) -> BTreeMap<String, String> {
        decisions.lists.into_iter().map(|(question, answers)| (question, to_text(&answers))).collect()
    }
}

impl TryFrom<BTreeMap<String, String>> for Decisions {
    type Error = String;

    fn try_from(texts: BTreeMap<String, String>) -> Result<Decisions, String> {
        let mut decisions = Decisions::default();
        for (question, text) in texts {
            let answers = from_text(&text).map_err(|error| format!("answers to {question:?}: {error}"))?;
            decisions.set(&question, answers);
        }
        Ok(decisions)
    }
}

/// Numbers with spaces between them; `3x0` is three zeros.
fn to_text(answers: &[u64]) -> String {
    let mut text = String::new();
    for run in answers.chunk_by(|a, b| a == b) {
        let gap = if text.is_empty() { "" } else { " " };
        let (answer, count) = (run[0], run.len());
        let written = if count == 1 { write!(text, "{gap}{answer}") } else { write!(text, "{gap}{count}x{answer}") };
        written.expect("a string takes what is written to it");
    }
    text
}

fn from_text(text: &str) -> Result<Vec<u64>, String> {
    let number = |word: &str| word.parse::<u64>().map_err(|_| format!("expected a number, got {word:?}"));
    let mut answers: Vec<u64> = Vec::new();
    for word in text.split_whitespace() {
        let (count, answer) = match word.split_once('x') {
            Some((count, answer)) => (number(count)?, number(answer)?),
            None => (1, number(word)?),
        };
        let room = (ANSWERS_MAX - answers.len()) as u64;
        if count > room {
            return Err(format!("expected at most {ANSWERS_MAX} answers"));
        }
        answers.extend(std::iter::repeat_n(answer, count as usize));
    }
    Ok(answers)
}

/// What stands between a question and whose turn it was.
const OF: &str = " of ";

/// A question as it is kept, with whose turn it was.
pub fn name(question: &str, actor: Option<usize>) -> String {
    match actor {
        Some(actor) => format!("{question}{OF}{actor}"),
        None => question.to_owned(),
    }
}

/// Whose turn it was when a question was asked, and the question without that.
pub fn actor(question: &str) -> Option<(&str, usize)> {
    let (question, actor) = question.rsplit_once(OF)?;
    Some((question, actor.parse().ok()?))
}

/// Listens to the answers of one generator, or dictates them; what was answered is written down either way.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    question: &'static str,
    /// Whose turn it is, if one of many: each has lists of its own.
    actor: Option<usize>,
    given: Option<BTreeMap<String, Vec<u64>>>,
    lists: BTreeMap<(&'static str, Option<usize>), List>,
}

#[derive(Debug, Clone, Default)]
struct List {
    given: Vec<u64>,
    taken: Vec<u64>,
}

impl Tape {
    /// A tape that listens.
    pub fn listening() -> Tape {
        Tape::default()
    }

    /// Names the next question.
    pub(crate) fn ask(&mut self, question: &'static str) {
        self.question = question;
    }

    /// Says whose turn it is.
    pub(crate) fn turn_of(&mut self, actor: Option<usize>) {
        self.actor = actor;
    }

    /// The question that is being asked.
    pub(crate) fn asked(&self) -> &'static str {
        self.question
    }

    /// The answer to the question, which is below `answers`: the tape's, or else what chance draws.
    pub(crate) fn answer(&mut self, answers: u64, chance: impl FnOnce() -> u64) -> u64 {
        let question = std::mem::take(&mut self.question);
        let (given, actor) = (&mut self.given, self.actor);
        let list = self.lists.entry((question, actor)).or_insert_with(|| {
            let given = given.as_mut().and_then(|given| given.remove(&name(question, actor)));
            List { given: given.unwrap_or_default(), taken: Vec::new() }
        });
        let answer = match given {
            None => chance(),
            Some(_) => list.given.get(list.taken.len()).copied().filter(|answer| *answer < answers).unwrap_or(0),
        };
        list.taken.push(answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn play(decisions: &Decisions) -> Rng {
        Rng::with_tape(0, "work", decisions.tape("work"))
    }

    #[test]
    fn answers_are_written_so_that_they_are_read_again() {
        for (answers, text) in [(vec![], ""), (vec![7], "7"), (vec![0, 0, 0, 1, 5, 5], "3x0 1 2x5")] {
            assert_eq!(to_text(&answers), text);
            assert_eq!(from_text(text), Ok(answers));
        }
    }

    #[test]
    fn what_is_no_list_of_answers_is_refused() {
        for text in ["x", "1 b", "-1", "99999999999999999999", "9999999999x0", "4000000x0 4000000x1", "1x2x3"] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_generator_that_is_listened_to_draws_the_same() {
        let mut plain = Rng::new(3, "work");
        let mut heard = Rng::with_tape(3, "work", Tape::listening());
        let draws = |rng: &mut Rng| {
            let mut order = [1, 2, 3, 4, 5];
            rng.at("order").shuffle(&mut order);
            let numbers = (rng.at("a").below(9), rng.at("b").between(3, 5), rng.at("c").delay(3, 50), rng.next());
            (order, numbers, rng.at("d").chance(500_000), rng.at("e").one_in(3), *rng.at("f").pick(&[1, 2, 3]))
        };
        let all: Vec<_> = (0..50).map(|_| draws(&mut plain)).collect();
        assert_eq!((0..50).map(|_| draws(&mut heard)).collect::<Vec<_>>(), all);
        let mut decisions = Decisions::default();
        decisions.add("work", heard.into_tape().expect("it has one"));
        let mut played = play(&decisions);
        assert_eq!((0..50).map(|_| draws(&mut played)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn past_its_end_and_out_of_range_the_answer_is_the_calm_one() {
        let mut decisions = Decisions::default();
        decisions.set("work/n", vec![3, 9, 2]);
        let mut rng = play(&decisions);
        let answers: Vec<u64> = (0..4).map(|_| rng.at("n").below(5)).collect();
        assert_eq!(answers, [3, 0, 2, 0]);
        let mut items = [1, 2, 3];
        rng.at("order").shuffle(&mut items);
        assert_eq!((items, rng.at("pause").delay(5, 80), rng.at("fault").chance(999_999)), ([1, 2, 3], 80, false));
    }
}
