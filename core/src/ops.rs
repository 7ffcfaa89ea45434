//! Names for commands, and what each of them was issued for.

use std::collections::BTreeMap;

use crate::command::Op;

/// Hands out [`Op`]s and remembers what each is for, until its `Done` comes.
#[derive(Debug)]
pub(crate) struct Ops<P> {
    life: u64,
    next: u64,
    pending: BTreeMap<u64, P>,
}

impl<P> Ops<P> {
    /// No command yet; all will carry `life`.
    pub(crate) fn new(life: u64) -> Ops<P> {
        Ops { life, next: 0, pending: BTreeMap::new() }
    }

    /// A new name.
    pub(crate) fn issue(&mut self, purpose: P) -> Op {
        let n = self.next;
        self.next += 1;
        self.pending.insert(n, purpose);
        Op { life: self.life, n }
    }

    /// What a finished command was for; `None` if it is of a former life or was reported before.
    pub(crate) fn finish(&mut self, op: Op) -> Option<P> {
        if op.life == self.life || mutant!(FormerLifeBelieved) { self.pending.remove(&op.n) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_of_a_former_life_is_dropped() {
        let mut ops = Ops::new(1);
        let op = ops.issue("save");
        assert_eq!(ops.finish(Op { life: 2, ..op }), None);
        assert_eq!(ops.finish(op), Some("save"));
        assert_eq!(ops.finish(op), None, "a command is done once");
    }
}
