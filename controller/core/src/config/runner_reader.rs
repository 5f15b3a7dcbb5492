//! Reads `[pool.runner]`.
//!
//! What lives here: keys and types. What may not: what a value may be (`runner_options.rs`: the agent judges by the same
//! rules).
//!
//! Invariant: a value that cannot be used is an error at its own key, and is not kept.

use std::collections::BTreeMap;

use super::diagnostic::Findings;
use super::market::Os;
use super::runner_options::RunnerOptions;
use super::section::Section;

/// Reads the section; all of it may be absent.
pub(super) fn read(section: Option<Section<'_>>, os: Option<Os>, findings: &mut Findings) -> RunnerOptions {
    let Some(mut section) = section else {
        return RunnerOptions::default();
    };
    let options = RunnerOptions {
        max_job_hours: None,
        hook_job_started: text(&mut section, "hook_job_started", findings),
        hook_job_completed: text(&mut section, "hook_job_completed", findings),
        proxy: text(&mut section, "proxy", findings),
        no_proxy: texts(&mut section, "no_proxy", findings),
        extra_ca: text(&mut section, "extra_ca", findings),
        environment: environment(&mut section, findings),
        docker_data_root: text(&mut section, "docker_data_root", findings),
        docker_mirrors: texts(&mut section, "docker_mirrors", findings),
    };
    let path = section.path.clone();
    section.finish(findings);
    // Without a system there is an error already, and nothing to judge paths by.
    let bad = os.map(|os| options.bad(os)).unwrap_or_default();
    let good = bad.is_empty();
    for one in bad {
        findings.error(format!("{path}.{}", one.key), one.message, one.remedy);
    }
    if good { options } else { RunnerOptions::default() }
}

fn text(section: &mut Section<'_>, name: &'static str, findings: &mut Findings) -> Option<String> {
    section.text(name, findings).map(str::to_owned)
}

fn texts(section: &mut Section<'_>, name: &'static str, findings: &mut Findings) -> Vec<String> {
    let texts = section.texts(name, findings).unwrap_or_default();
    texts.into_iter().map(|(_, text)| text.to_owned()).collect()
}

fn environment(section: &mut Section<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    let table = section.table("environment", findings);
    let variables = table.map(|table| table.named_texts(findings)).unwrap_or_default();
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
