//! What goes wrong, on demand.

use std::time::Duration;

use serde_json::Value;

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// This is answered, and nothing done.
    Answer {
        /// The status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Value,
    },
    /// The connection is closed without an answer, and nothing done.
    LostBefore,
    /// It is done, and the connection closed without an answer.
    LostAfter,
    /// It is done, and answered only after this long.
    Slow(Duration),
    /// It is done, and half the body is answered.
    Truncated,
    /// It is done, and something in the answer is another value.
    Changed {
        /// A JSON pointer.
        pointer: String,
        /// The value there.
        value: Value,
        /// Whether GitHub's description still has to hold. It need not for words that GitHub will have one day.
        described: bool,
    },
}

/// Something that goes wrong a number of times.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    method: String,
    path: String,
    times: u32,
    skip: u32,
    what: What,
}

impl Fault {
    /// For requests of a method whose path contains `path`.
    pub fn on(method: &str, path: &str, what: What) -> Fault {
        Fault { method: method.to_owned(), path: path.to_owned(), times: 1, skip: 0, what }
    }

    /// As often as this. Once, without it.
    #[must_use]
    pub fn times(self, times: u32) -> Fault {
        Fault { times, ..self }
    }

    /// Only after so many that go well.
    #[must_use]
    pub fn after(self, skip: u32) -> Fault {
        Fault { skip, ..self }
    }

    /// A bare status with a message.
    pub fn status(method: &str, path: &str, status: u16, message: &str) -> Fault {
        let body = serde_json::json!({ "message": message, "documentation_url": "https://docs.github.com/rest" });
        Fault::on(method, path, What::Answer { status, headers: Vec::new(), body })
    }

    /// GitHub's secondary limit.
    pub fn secondary(method: &str, path: &str, retry_after: Option<u64>) -> Fault {
        let mut fault = Fault::status(method, path, 403, "You have exceeded a secondary rate limit.");
        if let (What::Answer { headers, .. }, Some(seconds)) = (&mut fault.what, retry_after) {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        fault
    }

    /// From JSON, for other processes: `{"method", "path", "times"?, "after"?, "what", ...}` with `what` one of `answer`
    /// (`status`, `headers`?, `body`?), `lost_before`, `lost_after`, `slow` (`ms`), `truncated`, `changed` (`pointer`,
    /// `value`, `described`?).
    pub(super) fn from_json(value: &Value) -> Option<Fault> {
        let number = |name: &str, default: u64| value.get(name).map_or(Some(default), Value::as_u64);
        let what = match value["what"].as_str()? {
            "answer" => What::Answer {
                status: u16::try_from(value["status"].as_u64()?).ok()?,
                headers: value["headers"].as_object().map_or_else(Vec::new, |headers| {
                    headers.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
                }),
                body: value["body"].clone(),
            },
            "lost_before" => What::LostBefore,
            "lost_after" => What::LostAfter,
            "slow" => What::Slow(Duration::from_millis(value["ms"].as_u64()?)),
            "truncated" => What::Truncated,
            "changed" => What::Changed {
                pointer: value["pointer"].as_str()?.to_owned(),
                value: value["value"].clone(),
                described: value["described"].as_bool().unwrap_or(false),
            },
            _ => return None,
        };
        let times = u32::try_from(number("times", 1)?).ok()?;
        let skip = u32::try_from(number("after", 0)?).ok()?;
        let fault = Fault::on(value["method"].as_str()?, value["path"].as_str()?, what);
        Some(fault.times(times).after(skip))
    }
}

/// The fault that strikes this request, if one does.
pub(super) fn strike(faults: &mut Vec<Fault>, method: &str, path: &str) -> Option<What> {
    let hit = |fault: &&mut Fault| fault.method == method && path.contains(&fault.path);
    let fault = faults.iter_mut().find(hit)?;
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times = fault.times.saturating_sub(1);
    let what = fault.what.clone();
    faults.retain(|fault| fault.times > 0);
    Some(what)
}
