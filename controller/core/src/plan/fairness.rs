//! Who goes first when a cap leaves too little for all: within a priority, one repository after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::demand::Wants;
use crate::time::Timestamp;
use crate::world::World;

/// The order in which the jobs that are short of machines are served: indexes into `wants`, one for each machine.
///
/// Of a class's queue the oldest jobs are taken to be served by the machines that are here or on their way; the rest waits
/// for new ones. Repositories take turns, the one whose oldest job waits longest first.
pub(super) fn turns(world: &World, wants: &[Wants]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut from = 0;
    while from < wants.len() {
        let priority = wants[from].class.priority;
        let until = from + wants[from..].iter().take_while(|w| w.class.priority == priority).count();
        order.extend(round_robin(waiting(world, wants, from..until)));
        from = until;
    }
    order
}

/// The waiting jobs of classes of one priority, by repository, oldest first.
fn waiting(world: &World, wants: &[Wants], range: std::ops::Range<usize>) -> Vec<VecDeque<usize>> {
    let mut by_repository: BTreeMap<Arc<str>, Vec<(Timestamp, usize)>> = BTreeMap::new();
    for index in range {
        let Some(state) = world.class(&wants[index].class.id) else {
            continue;
        };
        let short = usize::try_from(wants[index].short()).unwrap_or(usize::MAX);
        for ((at, _), repository) in state.queued.iter().rev().take(short) {
            by_repository.entry(repository.clone()).or_default().push((*at, index));
        }
    }
    let mut queues: Vec<Vec<(Timestamp, usize)>> = by_repository.into_values().collect();
    for queue in &mut queues {
        queue.sort();
    }
    queues.sort_by_key(|queue| queue.first().copied());
    queues.into_iter().map(|queue| queue.into_iter().map(|(_, index)| index).collect()).collect()
}

fn round_robin(mut queues: Vec<VecDeque<usize>>) -> Vec<usize> {
    let mut order = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|queue| {
            order.extend(queue.pop_front());
            !queue.is_empty()
        });
    }
    order
}
