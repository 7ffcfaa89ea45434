//! Takes ever more out of a run's decisions: whole concerns and questions, pieces, single answers; then lowers what is
//! left. In the manner of Hypothesis: what is played need not mean what it meant before, it only has to fail.

use serde_json::Value;

use super::{Shrinker, by_pieces};
use crate::decisions::{Decisions, actor, name};
use crate::trace::Trace;

/// Set answers up to which pairs of changes are tried.
const SET_MAX: usize = 60;

/// Set answers of a list, at most, that is brought forward when another list asks for less.
const RARE_MAX: usize = 3;

/// By how much.
const FORWARD_MAX: usize = 12;

/// Pieces of one list that are tried to be cut out in one round.
const PIECES_MAX: usize = 100;

impl Shrinker<'_> {
    /// One round over all that can be taken away.
    pub(super) fn smaller_lists(&mut self) {
        self.fewer_settings_played();
        for concern in ["clock/", "network/", "workload/", "faults/"] {
            self.silence(|question| question.starts_with(concern));
        }
        self.fewer_actors();
        for question in self.questions() {
            self.silence(|other| other == question);
        }
        for question in self.questions() {
            self.calm_pieces(&question);
        }
        for question in self.questions() {
            self.cut_pieces(&question);
            self.shorten_calms(&question);
        }
        for question in self.questions() {
            self.lower_answers(&question);
        }
        for question in self.questions() {
            self.lower_in_step(&question);
        }
    }

    /// The questions, those with most that is set first.
    fn questions(&self) -> Vec<String> {
        let set = |question: &str| self.best.decisions.of(question).iter().filter(|answer| **answer != 0).count();
        let mut questions: Vec<(usize, String)> =
            self.best.decisions.questions().map(|question| (set(question), question.to_owned())).collect();
        questions.sort_by(|(a, _), (b, _)| b.cmp(a));
        questions.into_iter().map(|(_, question)| question).collect()
    }

    fn with(&self, question: &str, answers: Vec<u64>) -> Trace {
        let mut candidate = self.best.clone();
        candidate.decisions.set(question, answers);
        candidate
    }

    /// Leaves settings out, and faults that never come. With decisions at hand, weights mean only on or off.
    fn fewer_settings_played(&mut self) {
        for group in [Some("faults"), Some("config"), None] {
            let settings = |plan: &serde_json::Map<String, Value>| -> Vec<(String, Value)> {
                let inner = group.map_or(Some(plan), |group| plan.get(group).and_then(Value::as_object));
                inner.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            for (name, value) in settings(&self.best.plan) {
                let mut without = self.best.clone();
                let mut least = self.best.clone();
                let inner = |trace: &mut Trace, change: &dyn Fn(&mut serde_json::Map<String, Value>)| match group {
                    None => change(&mut trace.plan),
                    Some(group) => {
                        if let Some(inner) = trace.plan.get_mut(group).and_then(Value::as_object_mut) {
                            change(inner);
                        }
                    }
                };
                inner(&mut without, &|map| {
                    map.remove(&name);
                });
                if !self.attempt(without) && value.is_u64() && group != Some("config") {
                    inner(&mut least, &|map| {
                        map.insert(name.clone(), Value::from(1));
                    });
                    self.attempt(least);
                }
            }
        }
    }

    /// Calms all questions that `which` names.
    fn silence(&mut self, which: impl Fn(&str) -> bool) -> bool {
        let mut candidate = self.best.clone();
        for question in self.best.decisions.questions().filter(|question| which(question)) {
            candidate.decisions.set(question, Vec::new());
        }
        self.attempt(candidate)
    }

    /// One producer alone, as the only one; or some of them calmed.
    fn fewer_actors(&mut self) {
        let actors = |trace: &Trace| -> std::collections::BTreeSet<usize> {
            trace.decisions.questions().filter_map(actor).map(|(_, actor)| actor).collect()
        };
        let all = actors(&self.best);
        for alone in &all {
            let mut candidate = Trace { decisions: Decisions::default(), ..self.best.clone() };
            candidate.plan.remove("sources");
            for question in self.best.decisions.questions() {
                let answers = self.best.decisions.of(question).to_vec();
                match actor(question) {
                    None => candidate.decisions.set(question, answers),
                    Some((asked, of)) if of == *alone => candidate.decisions.set(&name(asked, Some(0)), answers),
                    Some(_) => {}
                }
            }
            if all.len() > 1 && self.attempt(candidate) {
                return;
            }
        }
        for quiet in all {
            self.silence(|question| actor(question).is_some_and(|(_, of)| of == quiet));
        }
    }

    /// Makes answers to one question calm, many at once first.
    fn calm_pieces(&mut self, question: &str) {
        let set = |shrinker: &Self| -> Vec<usize> {
            let answers = shrinker.best.decisions.of(question).iter().enumerate();
            answers.filter(|(_, answer)| **answer != 0).map(|(at, _)| at).collect()
        };
        by_pieces(
            self,
            |shrinker| set(shrinker).len(),
            |shrinker, from, until| {
                let mut answers = shrinker.best.decisions.of(question).to_vec();
                set(shrinker)[from..until].iter().for_each(|at| answers[*at] = 0);
                let candidate = shrinker.with(question, answers);
                shrinker.attempt(candidate)
            },
        );
    }

    /// Cuts answers to one question out, so that later ones come sooner.
    fn cut_pieces(&mut self, question: &str) {
        let len = |shrinker: &Self| shrinker.best.decisions.of(question).len();
        by_pieces(self, len, |shrinker, from, until| {
            let mut answers = shrinker.best.decisions.of(question).to_vec();
            if (until - from) * PIECES_MAX < answers.len() {
                return false;
            }
            answers.drain(from..until);
            let candidate = shrinker.with(question, answers);
            shrinker.attempt(candidate)
        });
    }

    /// Shortens each row of calm answers as far as that helps.
    fn shorten_calms(&mut self, question: &str) {
        let mut from = 0;
        while from < self.best.decisions.of(question).len() {
            let calm = |shrinker: &Self| {
                shrinker.best.decisions.of(question)[from..].iter().take_while(|answer| **answer == 0).count()
            };
            let mut least = 0;
            while least < calm(self) {
                let (now, wanted) = (calm(self), least.midpoint(calm(self)));
                let mut answers = self.best.decisions.of(question).to_vec();
                answers.drain(from..from + now - wanted);
                let candidate = self.with(question, answers);
                if !self.attempt(candidate) {
                    least = wanted + 1;
                }
                if from >= self.best.decisions.of(question).len() {
                    return;
                }
            }
            from += calm(self) + 1;
        }
    }

    /// Lowers each answer as far as that helps.
    fn lower_answers(&mut self, question: &str) {
        let mut at = 0;
        while let Some(answer) = self.best.decisions.of(question).get(at).copied() {
            let (mut least, mut now) = (0, answer);
            while least < now {
                let wanted = least.midpoint(now);
                let mut answers = self.best.decisions.of(question).to_vec();
                if let Some(answer) = answers.get_mut(at) {
                    *answer = wanted;
                }
                let candidate = self.with(question, answers);
                if self.attempt(candidate) {
                    now = self.best.decisions.of(question).get(at).copied().unwrap_or(0);
                } else {
                    least = wanted + 1;
                }
            }
            at += 1;
        }
    }

    /// Lowers answers by one while a rare one of another list comes sooner: with a batch less, the crash that was after
    /// the hundredth step has to be after the ninety-sixth.
    fn lower_in_step(&mut self, question: &str) {
        let mut at = self.best.decisions.of(question).len();
        while at > 0 && self.best.decisions.size().set <= SET_MAX {
            at -= 1;
            while self.lower_one_in_step(question, at) {}
        }
    }

    fn lower_one_in_step(&mut self, question: &str, at: usize) -> bool {
        let mut lower = self.best.decisions.of(question).to_vec();
        match lower.get_mut(at) {
            Some(answer) if *answer > 0 => *answer -= 1,
            Some(_) | None => return false,
        }
        for rare in self.questions().into_iter().filter(|other| other != question) {
            let answers = self.best.decisions.of(&rare).to_vec();
            let is_rare = answers.iter().filter(|answer| **answer != 0).count() <= RARE_MAX;
            let calm = answers.iter().take_while(|answer| **answer == 0).count();
            let forward = if is_rare { calm.min(FORWARD_MAX) } else { 0 };
            for sooner in 1..=forward {
                let mut candidate = self.with(question, lower.clone());
                candidate.decisions.set(&rare, answers[sooner..].to_vec());
                if self.attempt(candidate) {
                    return true;
                }
            }
        }
        false
    }
}
