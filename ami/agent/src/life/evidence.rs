//! Signs of a job, and what they add up to.
//!
//! A job reaches a runner in steps, and a listener can be frozen between any two of them:
//!
//! 1. **Delivered.** The listener has read a message. It writes `Message '1' received from session '...'` to its log, flushed,
//!    before it does anything with it: [`Sign::Message`]. Before that line the message is bytes in a socket, which a look
//!    sees as unread, or is being parsed. Then nothing was acquired: GitHub gives the job to another runner when this one is
//!    gone, as it does for a machine whose network broke at that moment.
//! 2. **Acquired.** The listener has asked for the job and got it. From here on GitHub knows that the runner has it, and
//!    that nobody else may get it. The sign is still the message's; it was there before the request was made. Removing the
//!    registration is refused with 422, if GitHub has noticed. We do not rely on that.
//! 3. **Forked.** `Running job: NAME` on the listener's output: [`Sign::Job`]; and a second process in the runner's cgroup,
//!    still with the listener's name.
//! 4. **Exec'd.** A process named `Runner.Worker`: [`Sign::Worker`].
//!
//! So a drain that looks for a worker alone is blind from 1 to 4, seconds in which a job is lost.
//!
//! A message need not be a job. One that is not shows that in the log ([`Sign::NoJob`]); one that shows nothing may be a job
//! for [`Limits::message`](super::Limits::message). Whatever was seen of a real job stays seen: a job that writes
//! `Listening for Jobs` to the listener's output wins nothing by it.

use super::Moment;

/// What a runner shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is connected and waits for a job.
    Listening,
    /// It has received a message.
    Message,
    /// That message was no job, or one that it did not get.
    NoJob,
    /// It has a job.
    Job,
    /// There is a worker process.
    Worker,
}

/// All that was seen of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    listened: bool,
    message_at: Option<Moment>,
    job: bool,
}

impl Evidence {
    pub(super) fn take(&mut self, sign: Sign, now: Moment) {
        match sign {
            Sign::Listening => {
                self.listened = true;
                self.message_at = None;
            }
            Sign::NoJob => self.message_at = None,
            Sign::Message => self.message_at = Some(now),
            Sign::Job | Sign::Worker => self.job = true,
        }
    }

    /// Whether there was a job.
    pub(super) fn job(&self) -> bool {
        self.job
    }

    /// Whether the listener has ever been connected.
    pub(super) fn listened(&self) -> bool {
        self.listened
    }

    /// Whether there may be a job.
    pub(super) fn perhaps(&self, now: Moment, limit: Moment) -> bool {
        self.job || self.message_at.is_some_and(|at| now.saturating_sub(at) < limit)
    }
}
