//! Who goes first when a cap leaves too little for all: within a priority, the repository that has least.
//!
//! Invariant: turns go on where the last plan left off. At a cap machines come free one at a time, so what a repository
//! has already counts. A turn that began anew in every plan would give each of them to whoever waits longest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::demand::Wants;
use crate::time::Timestamp;
use crate::world::World;

/// A repository's part in this.
struct Repository {
    /// Machines that its jobs have.
    has: u32,
    /// Its queued jobs, oldest first, as indexes into the wants.
    queued: VecDeque<(Timestamp, usize)>,
}

/// The order in which the jobs that are short of machines are served: indexes into `wants`, one for each machine.
///
/// All queued jobs take their turns: the next one is that of the repository that has least, and of those the one that
/// waits longest. The machines of a class that are here or on their way, or taken already, are for those of its jobs whose
/// turn comes first; so a plan that is made again gives the same order, less what was launched.
pub(super) fn turns(world: &World, wants: &[Wants]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut from = 0;
    while from < wants.len() {
        let priority = wants[from].class.priority;
        let until = from + wants[from..].iter().take_while(|w| w.class.priority == priority).count();
        let mut covered: Vec<u32> = wants[from..until].iter().map(|want| want.queued - want.short()).collect();
        for index in take_turns(repositories(world, wants, from..until)) {
            match &mut covered[index - from] {
                0 => order.push(index),
                covered => *covered -= 1,
            }
        }
        from = until;
    }
    order
}

/// Repositories with queued jobs of classes of one priority.
fn repositories(world: &World, wants: &[Wants], range: Range<usize>) -> Vec<Repository> {
    let mut all: BTreeMap<Arc<str>, Repository> = BTreeMap::new();
    for index in range.filter(|index| wants[*index].short() > 0) {
        let queued = world.class(&wants[index].class.id).map(|state| state.queued.iter()).into_iter().flatten();
        for ((at, _), name) in queued {
            let start = || Repository { has: world.running_of(name), queued: VecDeque::new() };
            all.entry(name.clone()).or_insert_with(start).queued.push_back((*at, index));
        }
    }
    let mut all: Vec<Repository> = all.into_values().collect();
    for repository in &mut all {
        repository.queued.make_contiguous().sort_unstable();
    }
    all
}

/// Turn after turn until nobody waits.
fn take_turns(mut all: Vec<Repository>) -> Vec<usize> {
    let next = |one: &Repository, place: usize| one.queued.front().map(|(at, _)| Reverse((one.has, *at, place)));
    let mut heap: BinaryHeap<_> = all.iter().enumerate().filter_map(|(place, one)| next(one, place)).collect();
    let mut order = Vec::new();
    while let Some(Reverse((_, _, place))) = heap.pop() {
        let repository = &mut all[place];
        order.extend(repository.queued.pop_front().map(|(_, index)| index));
        repository.has += 1;
        heap.extend(next(repository, place));
    }
    order
}
