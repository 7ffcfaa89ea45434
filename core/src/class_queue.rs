//! A queue that serves by class, and within a class in order.

use std::collections::BTreeMap;

use crate::command::Class;

/// Waiting items. Its length is bounded by whoever fills it: the machine has a limit on its open commands.
#[derive(Debug)]
pub struct ClassQueue<T> {
    items: BTreeMap<(Class, Turn), T>,
    pushed: i64,
    put_back: i64,
}

/// Rises with each item that is added, and stands below all of them for those that are put back.
type Turn = i64;

impl<T> Default for ClassQueue<T> {
    fn default() -> ClassQueue<T> {
        ClassQueue { items: BTreeMap::new(), pushed: 0, put_back: 0 }
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
        self.pop_with_class().map(|(_, item)| item)
    }

    /// Takes the first item of the first class that has one, and says which class that is.
    pub fn pop_with_class(&mut self) -> Option<(Class, T)> {
        self.items.pop_first().map(|((class, _), item)| (class, item))
    }

    /// Puts an item before those of its class: it was taken, and is not done.
    pub fn push_front(&mut self, class: Class, item: T) {
        self.put_back -= 1;
        self.items.insert((class, self.put_back), item);
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

    #[test]
    fn what_is_put_back_comes_first_in_its_class() {
        let mut queue = ClassQueue::default();
        for (class, item) in [(Class::Flush, 1), (Class::Flush, 2)] {
            queue.push(class, item);
        }
        let (class, item) = queue.pop_with_class().expect("two wait");
        queue.push_front(class, item);
        queue.push(Class::Ack, 3);
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [3, 1, 2]);
    }
}
