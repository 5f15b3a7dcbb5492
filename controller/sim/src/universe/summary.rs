//! The universe's account of itself: the summary, and a count of what is there now.

use muster_core::time::Timestamp;

use crate::books::{Book, Books};
use crate::report::{ClassSummary, Jobs, Summary};
use crate::rule::Rule;
use crate::work::Outcome;

use super::Universe;

/// How much there is of everything, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Jobs that have arrived and are not over.
    pub jobs: u64,
    /// Runs in memory.
    pub runs: usize,
    /// Instances, standby excluded.
    pub instances: usize,
    /// Registrations at GitHub.
    pub registrations: usize,
}

impl Universe {
    /// What is there now.
    pub fn census(&self) -> Census {
        Census {
            jobs: self.work.open,
            runs: self.work.len(),
            instances: self.fleet.instances.len(),
            registrations: self.hub.len(),
        }
    }

    /// Since when registrations that have lost their listener, or never had one that GitHub saw, are there.
    pub fn registrations_without_listener(&self) -> Vec<Timestamp> {
        self.hub.away().collect()
    }

    /// How many jobs became queued so far.
    pub fn jobs_queued(&self) -> u64 {
        self.classes.all().filter_map(|(number, _)| self.books.get(number)).map(|book| book.jobs.queued).sum()
    }

    /// The summary. What still runs is billed to the end of the last job; what still waits or runs is lost.
    pub fn summary(&self, policy: &str) -> Summary {
        let books = self.closed_books();
        let mut total = Book::default();
        let mut classes = Vec::new();
        let mut violations = self.watch.violations();
        for (number, info) in self.classes.all() {
            let Some(book) = books.get(number).filter(|book| !book.is_empty()) else {
                continue;
            };
            total.jobs.add(book.jobs);
            total.costs.add(book.costs);
            total.launches.add(book.launches);
            let waits = self.books.get(number).map_or(&[][..], |book| &book.waits_ms);
            total.waits_ms.extend_from_slice(waits);
            if !Jobs::from(book.jobs).adds_up() {
                violations.push(format!(
                    "{} {}: the jobs of {} do not add up",
                    self.now,
                    Rule::Sums.as_word(),
                    info.id
                ));
            }
            classes.push(ClassSummary::of(&info.labels, info.price.usd(), book, waits.to_vec()));
        }
        classes.sort_by(|a, b| a.class.cmp(&b.class));
        let waits = std::mem::take(&mut total.waits_ms);
        let total = ClassSummary::of(&[], 0.0, &total, waits);
        Summary {
            seed: self.settings.seed,
            policy: policy.to_owned(),
            jobs: total.jobs,
            queue_time_s: total.queue_time_s,
            cost_usd: total.cost_usd,
            launches: total.launches,
            github_requests: self.hub.requests,
            aws_requests: self.fleet.requests,
            violations,
            classes,
        }
    }

    /// The books with everything entered that is still going on, without the queue times.
    fn closed_books(&self) -> Books {
        let mut books = self.books.without_waits();
        for instance in self.fleet.instances.values() {
            let mut spell = instance.spell;
            let Some(at) = self.billed_until(spell.started_at) else {
                continue;
            };
            if let crate::cloud::Agent::Running(job) = instance.agent
                && let Some(started_at) = self.work.job(job).and_then(|job| job.started_at)
            {
                spell.ran = at.since(started_at);
            }
            books.of(instance.class).costs.add(spell.costs(at));
        }
        for stock in self.fleet.stock.values() {
            for machine in &stock.machines {
                let Some(at) = self.billed_until(machine.warming.started_at) else {
                    continue;
                };
                match machine.since {
                    Some(since) => books.of(stock.class).stood_by(at.since(since), stock.standby_price),
                    None => books.of(stock.class).costs.add(machine.warming.costs(at)),
                }
            }
        }
        for class in self.work.open_jobs() {
            books.of(class).jobs.end(Outcome::Lost);
        }
        books
    }
}
