//! How the demo looks: a live view on a terminal, plain lines elsewhere. Both on standard error.
//!
//! Invariant: the view only reads. The demo is the same without it.

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Gauge, Paragraph, Row, Table};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::scoreboard::{DECISIONS_SHOWN, PoolRow, Scores};

/// How often the live view is drawn.
pub(super) const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Lines of the view besides those of the pools: frame, title, gauge, table head, frames of the decisions.
const FIXED_LINES: u16 = 9;

/// What the view shows besides the scores.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Jobs of the load.
    pub(super) jobs: u64,
    /// Jobs that are over, as the scaler has heard.
    pub(super) over: u64,
    /// Speed now.
    pub(super) speed: f64,
    /// What is going on, in a few words.
    pub(super) phase: String,
}

/// The view.
pub(super) enum View {
    /// A terminal, redrawn in place.
    Live(Box<Terminal<CrosstermBackend<Stderr>>>),
    /// Lines.
    Plain {
        /// When the last one was written.
        last: Option<Instant>,
    },
}

impl View {
    /// A live view if standard error is a terminal that can show `pools` pools, else plain lines.
    pub(super) fn open(pools: usize) -> View {
        let lines = FIXED_LINES + u16::try_from(pools + DECISIONS_SHOWN).unwrap_or(40);
        if io::stderr().is_terminal() {
            let options = TerminalOptions { viewport: Viewport::Inline(lines) };
            if let Ok(terminal) = Terminal::with_options(CrosstermBackend::new(io::stderr()), options) {
                return View::Live(Box::new(terminal));
            }
        }
        View::Plain { last: None }
    }

    /// Shows the state of the show.
    pub(super) fn show(&mut self, scores: &Scores, progress: &Progress) {
        match self {
            View::Live(terminal) => {
                // A terminal that has gone away is no reason to stop.
                let _ = terminal.draw(|frame| draw(frame, scores, progress));
            }
            View::Plain { last } => {
                if last.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    let _ = writeln!(io::stderr(), "{}", plain(scores, progress));
                }
            }
        }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        match self {
            View::Live(terminal) => {
                let _ = terminal.insert_before(1, |buffer| {
                    let line = Line::from(Span::styled(text, Style::default().fg(Color::Yellow)));
                    ratatui::widgets::Widget::render(line, buffer.area, buffer);
                });
            }
            View::Plain { .. } => {
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }

    /// Leaves the terminal as it was found, below what was drawn.
    pub(super) fn close(self) {
        match self {
            View::Live(mut terminal) => {
                // A terminal that has gone away needs nothing.
                let _ = leave(&mut terminal);
            }
            View::Plain { .. } => {}
        }
    }
}

/// Puts the cursor on the line below what was drawn. Drawing leaves it where something has changed last.
fn leave<B: Backend>(terminal: &mut Terminal<B>) -> Result<(), B::Error> {
    let drawn = terminal.get_frame().area();
    terminal.set_cursor_position((drawn.left(), drawn.bottom().saturating_sub(1)))?;
    // Scrolls if that was the last line of the screen.
    terminal.backend_mut().append_lines(1)?;
    terminal.show_cursor()
}

fn clock(scores: &Scores) -> String {
    scores.at.to_string().get(11..19).unwrap_or("--:--:--").to_owned()
}

fn plain(scores: &Scores, progress: &Progress) -> String {
    let sum = |field: fn(&PoolRow) -> usize| scores.pools.values().map(field).sum::<usize>();
    format!(
        "{} x{:<4.0} {}: {}/{} jobs over, {} queued, {} booting, {} idle, {} busy; queue time p50 {} p95 {}; {:.2} USD/h",
        clock(scores),
        progress.speed,
        progress.phase,
        progress.over,
        progress.jobs,
        sum(|row| row.queued),
        sum(|row| row.booting),
        sum(|row| row.idle),
        sum(|row| row.busy),
        seconds(scores.queue_time(50)),
        seconds(scores.queue_time(95)),
        scores.usd_per_hour,
    )
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"))
}

fn draw(frame: &mut Frame<'_>, scores: &Scores, progress: &Progress) {
    let title = format!(" Muster: {} of simulated time at x{:.0}, {} ", clock(scores), progress.speed, progress.phase);
    let block = Block::bordered().title(title);
    let inner = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let pools = u16::try_from(scores.pools.len() + 1).unwrap_or(20);
    let [gauge, totals, table, decisions] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(2), Constraint::Length(pools), Constraint::Min(1)])
            .areas(inner);

    let share = if progress.jobs == 0 { 0.0 } else { progress.over as f64 / progress.jobs as f64 };
    let label = format!("{} of {} jobs over", progress.over, progress.jobs);
    let bar = Gauge::default().ratio(share.clamp(0.0, 1.0)).label(label).gauge_style(Style::default().fg(Color::Green));
    frame.render_widget(bar, gauge);
    let line = format!(
        "queue time  p50 {}  p95 {}  max {}     {:.2} USD an hour     {} ticks, {} violations",
        seconds(scores.queue_time(50)),
        seconds(scores.queue_time(95)),
        seconds(scores.queue_time(100)),
        scores.usd_per_hour,
        scores.ticks,
        scores.violations,
    );
    frame.render_widget(Paragraph::new(vec![Line::from(""), Line::from(line)]), totals);

    let head = ["pool", "queued", "hot", "ready", "standby", "booting", "busy", "draining"];
    let rows = scores.pools.iter().map(|(pool, row)| {
        let waiting = if row.queued > 0 { Style::default().fg(Color::Yellow) } else { Style::default() };
        let numbers = [row.queued, row.idle, row.ready, row.standby as usize, row.booting, row.busy, row.draining];
        let cells = std::iter::once(Cell::from(pool.to_string()))
            .chain(numbers.map(|number| Cell::from(format!("{number:>7}"))));
        Row::new(cells).style(waiting)
    });
    let widths = std::iter::once(Constraint::Length(18)).chain(head.iter().skip(1).map(|_| Constraint::Length(9)));
    let bold = Style::default().add_modifier(Modifier::BOLD);
    let head = head.map(|name| if name == "pool" { name.to_owned() } else { format!("{name:>7}") });
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(bold)), table);

    let lines: Vec<Line<'_>> = std::iter::once(Line::styled("latest decisions", bold))
        .chain(scores.decisions.iter().map(|text| Line::from(text.as_str())))
        .collect();
    frame.render_widget(Paragraph::new(lines), decisions);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    const LINES: u16 = 12;

    /// Draws a screen twice, the second time with a change at the top alone, leaves it, and gives the cursor's line and
    /// the screen.
    fn left(height: u16, from: u16) -> (u16, String) {
        let mut backend = TestBackend::new(90, height);
        backend.set_cursor_position((0, from)).unwrap();
        let options = TerminalOptions { viewport: Viewport::Inline(LINES) };
        let mut terminal = Terminal::with_options(backend, options).unwrap();
        let mut progress = Progress { jobs: 10, phase: "jobs run".to_owned(), ..Progress::default() };
        for over in 1..=2 {
            progress.over = over;
            terminal.draw(|frame| draw(frame, &Scores::default(), &progress)).unwrap();
        }
        leave(&mut terminal).unwrap();
        let backend = terminal.backend_mut();
        (backend.get_cursor_position().unwrap().y, backend.to_string())
    }

    /// The line that the frame ends on.
    fn bottom(screen: &str) -> usize {
        screen.lines().position(|line| line.contains('└')).unwrap()
    }

    #[test]
    fn what_is_said_after_the_show_stands_below_it() {
        let (cursor, screen) = left(30, 2);
        assert_eq!((bottom(&screen), cursor), (2 + usize::from(LINES) - 1, 2 + LINES), "{screen}");
        // At the bottom of the screen, the show scrolls up by a line.
        let (cursor, screen) = left(20, 19);
        assert_eq!((bottom(&screen), cursor), (18, 19), "{screen}");
    }
}
