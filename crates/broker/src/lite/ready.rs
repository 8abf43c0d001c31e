//! Lite topics that may have something for whoever reads them, so that a pop looks into these and not into all. Pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Light queues that wait to be looked into, each once, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready {
    order: VecDeque<Arc<str>>,
    known: HashSet<Arc<str>>,
    /// There was no room for another one: when these are done with, all that is read is to be looked at.
    has_missed: bool,
}

impl Ready {
    /// One more, if there is room for it: `most` altogether.
    pub fn offer(&mut self, queue: &Arc<str>, most: usize) {
        if self.known.contains(queue) {
            return;
        }
        if self.order.len() >= most {
            self.has_missed = true;
            return;
        }
        self.known.insert(Arc::clone(queue));
        self.order.push_back(Arc::clone(queue));
    }

    /// Takes so many at most: who takes them has to look into them, and offers again what is not done with.
    pub fn take(&mut self, most: usize) -> Vec<Arc<str>> {
        let taken: Vec<_> = self.order.drain(..most.min(self.order.len())).collect();
        for queue in &taken {
            self.known.remove(queue);
        }
        taken
    }

    /// Whether there was no room for some, and is now. Asked once.
    pub fn take_missed(&mut self) -> bool {
        self.order.is_empty() && std::mem::take(&mut self.has_missed)
    }

    /// Whether a look is worth while.
    pub fn has_some(&self) -> bool {
        !self.order.is_empty() || self.has_missed
    }

    /// One that is read no more.
    pub fn forget(&mut self, queue: &str) {
        if self.known.remove(queue) {
            self.order.retain(|known| &**known != queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn each_is_looked_into_once_and_what_had_no_room_is_not_forgotten() {
        let mut ready = Ready::default();
        for queue in queues(&["a", "b", "a", "c", "d"]) {
            ready.offer(&queue, 3);
        }
        assert_eq!(ready.take(2), queues(&["a", "b"]));
        assert!(!ready.take_missed() && ready.has_some());
        ready.forget("c");
        assert!(ready.has_some() && ready.take(9).is_empty());
        assert!(ready.take_missed() && !ready.take_missed() && !ready.has_some());
        ready.offer(&queues(&["a"])[0], 3);
        assert_eq!(ready.take(9), queues(&["a"]));
    }
}
