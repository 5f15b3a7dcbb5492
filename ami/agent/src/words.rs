//! What people can read of a machine: the journal, and last words on the serial console. No secret is ever among them.

use std::io::Write;
use std::path::Path;

/// The longest line that is written to the console.
const CHARS_MAX: usize = 300;

/// One line for the journal.
pub fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "muster-agent: {text}");
}

/// One line for the journal and the serial console.
pub fn say(console: &Path, text: &str) {
    log(text);
    let line: String = text.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect();
    // Whoever cannot write there has nobody to tell.
    if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(console) {
        let _ = writeln!(file, "muster-agent: {line}");
    }
}
