//! How long things take in the simulated world.
//!
//! What lives here: the distributions and their two shipped sets. What may not: prices, and what the product configures.

use std::time::Duration;

use muster_core::config::Os;
use rand_distr::{Distribution, LogNormal};

use crate::chance::Stream;

/// A span of time, fixed or drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Log-normal: half of the draws are below the median.
    LogNormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm; finite and not negative.
        sigma: f64,
    },
}

impl Delay {
    /// None at all.
    pub const NONE: Delay = Delay::Fixed(Duration::ZERO);

    const fn log_normal(median_s: u64, sigma: f64) -> Delay {
        Delay::LogNormal { median: Duration::from_secs(median_s), sigma }
    }

    /// Draws one, in whole milliseconds.
    pub fn draw(self, stream: &mut Stream) -> Duration {
        match self {
            Delay::Fixed(span) => span,
            Delay::LogNormal { median, sigma } => match LogNormal::new(median.as_secs_f64().ln(), sigma) {
                Ok(spans) => {
                    let seconds = spans.sample(stream).min(DELAY_MAX.as_secs_f64());
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to DELAY_MAX")]
                    let ms = (seconds * 1_000.0).round() as u64;
                    Duration::from_millis(ms)
                }
                // A sigma that is none: as if there were no spread.
                Err(_) => median,
            },
        }
    }
}

/// No single delay is longer: a draw far out in the tail must not outlive GitHub's queue limit.
pub const DELAY_MAX: Duration = Duration::from_secs(6 * 3_600);

/// The simulated world's habits.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// From an event at GitHub to its delivery. Deliveries of one job keep their order.
    pub webhook_delay: Delay,
    /// From a launch to the claim, on Linux.
    pub boot_linux: Delay,
    /// The same on Windows.
    pub boot_windows: Delay,
    /// The same on macOS.
    pub boot_macos: Delay,
    /// From the start of a standby machine to the claim.
    pub standby_start: Delay,
    /// How long GitHub takes to mint; the driver holds the answer back so long.
    pub mint_latency: Duration,
    /// The registrar's own budget: size of its bucket and mints a second. `None`: no bucket. For the driver.
    pub mint_bucket: Option<(f64, f64)>,
    /// From GitHub's choice of a runner to the job's first step. The listener hears of the job halfway.
    pub pick_up: Duration,
    /// The least time between two ticks of the scaler. For the driver.
    pub tick_gap: Duration,
    /// GitHub removes the registration of a runner that has been idle for so long: at least and at most. `None`: never.
    pub idle_removal: Option<(Duration, Duration)>,
    /// GitHub's secondary limit on REST. `None`: no limit.
    pub github_points_per_minute: Option<u32>,
    /// GitHub's primary limit on REST. `None`: no limit.
    pub github_requests_per_hour: Option<u32>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            webhook_delay: Delay::log_normal(1, 0.5),
            boot_linux: Delay::log_normal(45, 0.35),
            boot_windows: Delay::log_normal(150, 0.35),
            boot_macos: Delay::Fixed(Duration::from_secs(600)),
            standby_start: Delay::log_normal(25, 0.35),
            mint_latency: Duration::from_millis(500),
            mint_bucket: Some((3.0, 3.0)),
            pick_up: Duration::from_secs(2),
            tick_gap: Duration::from_secs(1),
            idle_removal: None,
            github_points_per_minute: Some(GITHUB_POINTS_PER_MINUTE),
            github_requests_per_hour: None,
        }
    }
}

/// As GitHub has been seen to do it (github.com/actions/runner, issue 4726).
pub const IDLE_REMOVAL_SEEN: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(360));

/// GitHub's secondary limit on REST (docs.github.com, rate limits for the REST API).
pub const GITHUB_POINTS_PER_MINUTE: u32 = 900;

impl Profile {
    /// A world in which only machines take time: what two models of the same system must agree on.
    pub fn ideal() -> Profile {
        Profile {
            webhook_delay: Delay::NONE,
            mint_latency: Duration::ZERO,
            mint_bucket: None,
            pick_up: Duration::ZERO,
            tick_gap: Duration::ZERO,
            github_points_per_minute: None,
            ..Profile::default()
        }
    }

    /// From a launch to the claim, by operating system.
    pub fn boot(&self, os: Os) -> Delay {
        match os {
            Os::Linux => self.boot_linux,
            Os::Windows => self.boot_windows,
            Os::Macos => self.boot_macos,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, Purpose};

    #[test]
    fn a_cold_start_is_as_the_contract_says() {
        let delay = Profile::default().boot(Os::Linux);
        let mut drawn: Vec<f64> =
            (0..20_000).map(|n| delay.draw(&mut Chance::new(3).stream(Purpose::Boot, 1, n)).as_secs_f64()).collect();
        drawn.sort_by(f64::total_cmp);
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        // The mean of a log-normal is its median times exp(sigma squared / 2): 47.84 s.
        assert!((mean - 47.84).abs() < 0.5, "{mean}");
        assert!((drawn[10_000] - 45.0).abs() < 0.7, "{}", drawn[10_000]);
    }
}
