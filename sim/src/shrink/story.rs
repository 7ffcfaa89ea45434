//! A run's story in few words: who sent what, which fault came, what the machine did about it.
//!
//! It reads the lines that `--trace` prints, leaves out what only keeps the machine going, and says messages by their
//! kind and numbers.

use crate::queue::Micros;

/// Lines of a story at most; what is left out is left out before the last ones.
const LINES_MAX: usize = 80;

/// The first lines of a story that are never left out.
const LINES_FIRST: usize = 20;

/// Tells the story of a run from its lines.
pub fn tell(lines: &[(Micros, String)]) -> Vec<String> {
    let mut told: Vec<(Micros, String, usize)> = Vec::new();
    for (at, line) in lines {
        let Some(words) = in_words(line) else { continue };
        match told.last_mut() {
            Some((_, last, times)) if *last == words => *times += 1,
            _ => told.push((*at, words, 1)),
        }
    }
    let left_out = told.len().saturating_sub(LINES_MAX);
    let mut story = Vec::new();
    for (n, (at, words, times)) in told.iter().enumerate() {
        if left_out > 0 && n == LINES_FIRST {
            story.push(format!("{:>14}  … {left_out} lines are left out …", ""));
        }
        if n < LINES_FIRST || n >= LINES_FIRST + left_out {
            let times = if *times > 1 { format!(" ({times} times)") } else { String::new() };
            story.push(format!("{:>11.3} ms  {words}{times}", *at as f64 / 1_000.0));
        }
    }
    story
}

/// What a line says; nothing if it only keeps the machine going.
fn in_words(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(fault) = line.strip_prefix("* ") {
        return Some(format!("*** {fault}"));
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let after = || rest.split_once(": ").map_or(rest, |(_, after)| after);
    match verb {
        "received" => {
            let socket = rest.strip_prefix("on ")?.split(':').next()?;
            Some(format!("socket {socket} -> {}", message(after())))
        }
        "send" => {
            let socket = rest.strip_prefix("on ")?.split(':').next()?;
            Some(format!("socket {socket} <- {}", message(after())))
        }
        "opened" | "closed" => Some(format!("socket {} {verb}", rest.split(' ').next()?)),
        "closing" => Some(format!("the machine closes socket {rest}")),
        "save" => Some(format!("the machine saves: {}", keys(after()))),
        "load" => Some(format!("the machine loads {}", after())),
        "put" | "delete" => Some(format!("the machine {verb}s {}", file_name(after()))),
        "done" => done(after()),
        "call" | "respond" => Some(line.to_owned()),
        "shutdown" => Some("the machine is asked to stop".to_owned()),
        "wake" | "sent" | "get" | "work" | "Attach" | "ReadMore" | "Ready" | "producer" => None,
        _ => Some(line.to_owned()),
    }
}

/// A result, unless it is the expected one.
fn done(outcome: &str) -> Option<String> {
    let plain = ["loaded", "got", "worked", "Put", "Deleted", "Absent"];
    let is_plain = plain.iter().any(|word| outcome.starts_with(word));
    (!is_plain).then(|| match outcome {
        "Saved" => "the journal has saved it".to_owned(),
        other => format!("the machine is told: {other}"),
    })
}

/// The keys of a save, without sizes.
fn keys(text: &str) -> String {
    let words = text.split(' ').filter(|word| !word.starts_with('('));
    let mut keys: Vec<String> = words.map(|word| word.chars().take(40).collect()).collect();
    let more = keys.len().saturating_sub(4);
    keys.truncate(4);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", keys.join(" "))
}

fn file_name(text: &str) -> &str {
    let key = text.split(' ').next().unwrap_or(text);
    match key.match_indices('/').rev().nth(2) {
        Some((at, _)) => &key[at + 1..],
        None => key,
    }
}

/// A message by its kind and what it is about.
fn message(text: &str) -> String {
    let Some(kind) = field(text, "type") else {
        let start: String = text.chars().take(40).collect();
        return format!("{start:?}, which is no message");
    };
    const TELLING: [&str; 13] = [
        "sourceDoId",
        "sourceEpoch",
        "lastAckSequence",
        "sequenceNumber",
        "firstSequence",
        "throughSequence",
        "firstEventSequence",
        "lastEventSequence",
        "status",
        "reason",
        "shouldRetry",
        "persistedSequence",
        "result",
    ];
    let told = TELLING.iter().filter_map(|name| Some(format!(" {name}={}", field(text, name)?)));
    told.fold(kind.to_owned(), |words, more| words + &more)
}

/// A scalar field of a JSON text that may be cut short.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mark = format!("\"{name}\":");
    let rest = text.get(text.find(&mark)? + mark.len()..)?;
    match rest.strip_prefix('"') {
        Some(string) => string.split('"').next(),
        None => rest.split([',', '}', ']']).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        let check = |line: &str, words: Option<&str>| assert_eq!(in_words(line).as_deref(), words, "{line}");
        check("wake", None);
        check("* save refused", Some("*** save refused"));
        check("done 3: Saved", Some("the journal has saved it"));
        check("done 4: got 17 bytes", None);
        check(
            "  put 4: warehouse/default/users/metadata/v1.json (77 bytes)",
            Some("the machine puts users/metadata/v1.json"),
        );
        check("  save 5: +b\\x00 (310) -c/x", Some("the machine saves: +b\\x00 -c/x"));
        let batch = r#"received on 1: {"type":"cdc_batch","sourceDoId":"shard-0","sequenceNumber":2,"firstEventSequence":3,"last"#;
        check(batch, Some("socket 1 -> cdc_batch sourceDoId=shard-0 sequenceNumber=2 firstEventSequence=3"));
        check("received on 1: {", Some(r#"socket 1 -> "{", which is no message"#));
    }

    #[test]
    fn a_long_story_keeps_its_beginning_and_its_end() {
        let lines: Vec<(Micros, String)> = (0..500).map(|n| (n, format!("life {n} begins"))).collect();
        let story = tell(&lines);
        assert_eq!(story.len(), LINES_MAX + 1);
        assert!(story[LINES_FIRST].contains("420 lines"), "{}", story[LINES_FIRST]);
        assert!(story.last().is_some_and(|line| line.contains("life 499")));
    }
}
