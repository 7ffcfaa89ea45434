//! A queue that serves by class, and within a class in order.

use std::collections::BTreeMap;

use dolake_core::command::Class;

/// Waiting items. Its length is bounded by whoever fills it: the machine has a limit on its open commands.
#[derive(Debug)]
pub struct ClassQueue<T> {
    items: BTreeMap<(Class, u64), T>,
    pushed: u64,
}

impl<T> Default for ClassQueue<T> {
    fn default() -> ClassQueue<T> {
        ClassQueue { items: BTreeMap::new(), pushed: 0 }
    }
}

impl<T> ClassQueue<T> {
    /// Adds an item behind those of its class.
    pub fn push(&mut self, class: Class, item: T) {
        self.items.insert((class, self.pushed), item);
        self.pushed += 1;
    }

    /// Takes the first item of the first class that has one.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_first().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_served_before_the_next_and_in_its_order() {
        let mut queue = ClassQueue::default();
        for (class, item) in
            [(Class::Upkeep, 1), (Class::Flush, 2), (Class::Ack, 3), (Class::Flush, 4), (Class::Upkeep, 5)]
        {
            queue.push(class, item);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [3, 2, 4, 1, 5]);
    }
}
