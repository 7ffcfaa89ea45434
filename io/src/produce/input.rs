//! Change events from lines of text: one JSON object a line, cut into batches, numbered if they are not.
//!
//! A batch's number is the sequence of its last event. So a number tells how far the input got, whatever the size of
//! the batches, and the server's resume point is a place in the input even if the batches are cut otherwise next time.

use std::io::BufRead;

use dolake_core::limits::SEQUENCE_MAX;
use serde::{Deserialize, Deserializer};

/// Where a batch of given events ends at the latest, so that it fits into a message of the default configuration.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// Why the input cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system cannot read it.
    #[error("input, line {line}: {source}")]
    Read {
        /// From 1.
        line: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// No JSON object.
    #[error("input, line {line}: expected one change event, a JSON object on one line, got: {what}")]
    Event {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Sequences that do not rise, or are given for some events only.
    #[error("input, line {line}: expected {expected}, got {got}")]
    Sequence {
        /// From 1.
        line: u64,
        /// What would be right.
        expected: String,
        /// What came.
        got: String,
    },
}

/// Events that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputBatch {
    /// A JSON array of the events.
    pub events: String,
    /// How many.
    pub count: u64,
    /// Sequence of the first.
    pub first: u64,
    /// Sequence of the last, and the batch's number.
    pub last: u64,
}

/// Reads batches from lines.
#[derive(Debug)]
pub struct Input<R> {
    lines: R,
    batch_events: u64,
    /// Lines read so far.
    line: u64,
    /// The sequence of the last event.
    last: u64,
    numbering: Option<Numbering>,
    /// A line that was read but did not fit into the batch before, with its sequence.
    carried: Option<(u64, String)>,
}

/// Who numbers the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// They carry their sequences.
    Given,
    /// They are numbered as they come, from 1.
    Filled,
}

impl<R: BufRead> Input<R> {
    /// Will read batches of at most `batch_events` events.
    pub fn new(lines: R, batch_events: u64) -> Input<R> {
        Input { lines, batch_events, line: 0, last: 0, numbering: None, carried: None }
    }

    /// Who numbers the events; `None` for an empty input. Looks at the first event if need be.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn numbering(&mut self) -> Result<Option<Numbering>, InputError> {
        if self.carried.is_none() {
            self.carried = self.read_event()?;
        }
        Ok(self.numbering)
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn next_batch(&mut self) -> Result<Option<InputBatch>, InputError> {
        let Some((first, event)) = self.take_event()? else {
            return Ok(None);
        };
        let mut batch = InputBatch { events: format!("[{event}"), count: 1, first, last: first };
        while batch.count < self.batch_events
            && let Some((sequence, event)) = self.take_event()?
        {
            if batch.events.len() + event.len() + 2 > BATCH_BYTES_MAX {
                self.carried = Some((sequence, event));
                break;
            }
            batch.events.push(',');
            batch.events.push_str(&event);
            batch.count += 1;
            batch.last = sequence;
        }
        batch.events.push(']');
        Ok(Some(batch))
    }

    fn take_event(&mut self) -> Result<Option<(u64, String)>, InputError> {
        match self.carried.take() {
            Some(event) => Ok(Some(event)),
            None => self.read_event(),
        }
    }

    /// Reads the next line that is not blank, and sees to its sequence.
    fn read_event(&mut self) -> Result<Option<(u64, String)>, InputError> {
        let mut text = String::new();
        loop {
            text.clear();
            self.line += 1;
            let line = self.line;
            let read = self.lines.read_line(&mut text).map_err(|source| InputError::Read { line, source })?;
            if read == 0 {
                return Ok(None);
            }
            let event = text.trim();
            if !event.is_empty() {
                return self.number(event).map(Some);
            }
        }
    }

    fn number(&mut self, event: &str) -> Result<(u64, String), InputError> {
        let line = self.line;
        if !event.starts_with('{') {
            return Err(InputError::Event { line, what: "no object".to_owned() });
        }
        let head: EventHead =
            serde_json::from_str(event).map_err(|error| InputError::Event { line, what: error.to_string() })?;
        let found = if head.sequence.is_some() { Numbering::Given } else { Numbering::Filled };
        let numbering = *self.numbering.get_or_insert(found);
        let sequence = match (numbering, head.sequence) {
            (Numbering::Given, Some(sequence)) => sequence,
            (Numbering::Filled, None) => self.last + 1,
            (Numbering::Given, None) => {
                return Err(bad_sequence(line, "a sequence, as the first event has one", "none"));
            }
            (Numbering::Filled, Some(sequence)) => {
                return Err(bad_sequence(line, "no sequence, as the first event has none", &sequence.to_string()));
            }
        };
        if sequence <= self.last || sequence > SEQUENCE_MAX {
            let expected = format!("a sequence from {} to {SEQUENCE_MAX}", self.last + 1);
            return Err(bad_sequence(line, &expected, &sequence.to_string()));
        }
        self.last = sequence;
        let event = match numbering {
            Numbering::Given => event.to_owned(),
            Numbering::Filled => {
                let rest = event[1..].trim_start();
                let comma = if rest.starts_with('}') { "" } else { "," };
                format!("{{\"sequence\":{sequence}{comma}{rest}")
            }
        };
        Ok((sequence, event))
    }
}

fn bad_sequence(line: u64, expected: &str, got: &str) -> InputError {
    InputError::Sequence { line, expected: expected.to_owned(), got: got.to_owned() }
}

/// What is looked at here; the rest is the server's to judge.
#[derive(Deserialize)]
struct EventHead {
    #[serde(default, deserialize_with = "number_if_there")]
    sequence: Option<u64>,
}

/// A `null` is not "none": filling in another would make two of them.
fn number_if_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str, batch_events: u64) -> Vec<(u64, u64, u64, String)> {
        let mut input = Input::new(text.as_bytes(), batch_events);
        let mut batches = Vec::new();
        while let Some(batch) = input.next_batch().expect("good input") {
            batches.push((batch.first, batch.last, batch.count, batch.events));
        }
        batches
    }

    #[test]
    fn events_without_sequences_are_numbered_from_1() {
        let found = batches("{\"table\":\"a\"}\n\n  { \"table\":\"b\"}\r\n{}", 2);
        let expected = [
            (1, 2, 2, r#"[{"sequence":1,"table":"a"},{"sequence":2,"table":"b"}]"#.to_owned()),
            (3, 3, 1, r#"[{"sequence":3}]"#.to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn events_with_sequences_keep_them() {
        let found = batches("{\"sequence\":7}\n{\"sequence\":9,\"x\":{}}\n", 500);
        assert_eq!(found, [(7, 9, 2, r#"[{"sequence":7},{"sequence":9,"x":{}}]"#.to_owned())]);
    }

    #[test]
    fn a_batch_ends_before_it_is_too_large_but_takes_at_least_one_event() {
        let large = format!("{{\"x\":\"{}\"}}\n", "y".repeat(BATCH_BYTES_MAX / 2));
        let huge = format!("{{\"x\":\"{}\"}}\n", "y".repeat(BATCH_BYTES_MAX));
        let found = batches(&format!("{large}{large}{huge}{{}}"), 500);
        let ranges: Vec<_> = found.iter().map(|(first, last, count, _)| (*first, *last, *count)).collect();
        assert_eq!(ranges, [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1)]);
    }

    #[test]
    fn an_empty_input_has_no_batches() {
        assert_eq!(batches("\n \n", 5), []);
    }

    #[test]
    fn bad_input_is_named_by_its_line() {
        let check = |text: &str, expected: &str| {
            let mut input = Input::new(text.as_bytes(), 1);
            let error = loop {
                match input.next_batch() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("expected an error"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), expected);
        };
        check("{}\n[1]", "input, line 2: expected one change event, a JSON object on one line, got: no object");
        check(
            "{\"a\":",
            "input, line 1: expected one change event, a JSON object on one line, got: \
             EOF while parsing a value at line 1 column 5",
        );
        check("{}\n{\"sequence\":5}", "input, line 2: expected no sequence, as the first event has none, got 5");
        check("{\"sequence\":5}\n{}", "input, line 2: expected a sequence, as the first event has one, got none");
        check(
            "{\"sequence\":5}\n{\"sequence\":5}",
            "input, line 2: expected a sequence from 6 to 9007199254740991, got 5",
        );
        check("{\"sequence\":0}", "input, line 1: expected a sequence from 1 to 9007199254740991, got 0");
        check(
            "{\"sequence\":null}",
            "input, line 1: expected one change event, a JSON object on one line, got: \
             invalid type: null, expected u64 at line 1 column 16",
        );
    }
}
