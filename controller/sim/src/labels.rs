//! Label sets as small numbers, and which of them cover which.
//!
//! Invariant: `covered(a)` holds `b` exactly if every label of `b`, in any case, is one of `a`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The number of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LabelsNo(pub(crate) usize);

#[derive(Default)]
pub(crate) struct Labels {
    /// As written, in every spelling and order that occurred.
    numbers: HashMap<Arc<[Arc<str>]>, LabelsNo>,
    by_set: HashMap<BTreeSet<String>, LabelsNo>,
    sets: Vec<BTreeSet<String>>,
    covered: Vec<Vec<LabelsNo>>,
    covering: Vec<Vec<LabelsNo>>,
}

impl Labels {
    /// The number of a label set, given out at its first sight.
    pub(crate) fn number(&mut self, labels: &Arc<[Arc<str>]>) -> LabelsNo {
        if let Some(number) = self.numbers.get(labels) {
            return *number;
        }
        let set: BTreeSet<String> = labels.iter().map(|label| label.to_lowercase()).collect();
        let number = match self.by_set.get(&set) {
            Some(number) => *number,
            None => self.add(set),
        };
        self.numbers.insert(labels.clone(), number);
        number
    }

    fn add(&mut self, set: BTreeSet<String>) -> LabelsNo {
        let new = LabelsNo(self.sets.len());
        self.covered.push(vec![new]);
        self.covering.push(vec![new]);
        for (at, other) in self.sets.iter().enumerate() {
            let other_no = LabelsNo(at);
            if other.is_subset(&set) {
                self.covered[new.0].push(other_no);
                self.covering[at].push(new);
            }
            if set.is_subset(other) {
                self.covered[at].push(new);
                self.covering[new.0].push(other_no);
            }
        }
        self.by_set.insert(set.clone(), new);
        self.sets.push(set);
        new
    }

    /// The sets that `labels` covers: the jobs that such a runner may get.
    pub(crate) fn covered(&self, labels: LabelsNo) -> &[LabelsNo] {
        &self.covered[labels.0]
    }

    /// The sets that cover `labels`: the runners that may get such a job.
    pub(crate) fn covering(&self, labels: LabelsNo) -> &[LabelsNo] {
        &self.covering[labels.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Arc<[Arc<str>]> {
        text.split(' ').map(Arc::from).collect()
    }

    #[test]
    fn covers_whatever_the_order_and_case() {
        let mut labels = Labels::default();
        let small = labels.number(&set("linux x64"));
        let large = labels.number(&set("X64 spot Linux"));
        assert_eq!(labels.number(&set("Linux X64")), small);
        assert_eq!(labels.covering(small), [small, large]);
        assert_eq!(labels.covered(large), [large, small]);
        assert_eq!(labels.covering(large), [large]);
    }
}
