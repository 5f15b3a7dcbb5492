//! A table of the file, read key by key.
//!
//! What lives here: types, ranges, unknown keys. What may not: what a key means.
//!
//! Invariant: every key asked for is known, and [`Section::finish`] reports all others; so no key can be read in code
//! and rejected by name.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Findings, join};
use super::wording::{did_you_mean, list, quote};

/// A table and its dotted path.
pub(super) struct Section<'t> {
    pub(super) path: String,
    table: &'t DeTable<'t>,
    known: BTreeSet<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(path: impl Into<String>, table: &'t DeTable<'t>) -> Section<'t> {
        Section { path: path.into(), table, known: BTreeSet::new() }
    }

    /// The dotted path of one of its keys.
    pub(super) fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn value(&mut self, name: &'static str) -> Option<&'t DeValue<'t>> {
        self.known.insert(name);
        self.table.get(name).map(toml::Spanned::get_ref)
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&mut self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// Whether the key is there with an empty list or table.
    pub(super) fn is_empty(&mut self, name: &'static str) -> bool {
        self.value(name).is_some_and(|value| {
            value.as_array().is_some_and(|array| array.is_empty()) || value.as_table().is_some_and(|t| t.is_empty())
        })
    }

    pub(super) fn text(&mut self, name: &'static str, findings: &mut Findings) -> Option<&'t str> {
        let value = self.value(name)?;
        as_text(value, &self.key(name), findings)
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &mut self,
        name: &'static str,
        remedy: &str,
        findings: &mut Findings,
    ) -> Option<&'t str> {
        if !self.has(name) {
            findings.error(self.key(name), format!("{} is missing", quote(name)), remedy);
        }
        self.text(name, findings)
    }

    /// One of a closed set of words.
    pub(super) fn word<T>(
        &mut self,
        name: &'static str,
        words: &[&'static str],
        parse: fn(&str) -> Option<T>,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.text(name, findings)?;
        as_word(text, &self.key(name), words, parse, findings)
    }

    /// A list of words of a closed set, without repeats.
    pub(super) fn words<T: PartialEq>(
        &mut self,
        name: &'static str,
        words: &[&'static str],
        parse: fn(&str) -> Option<T>,
        findings: &mut Findings,
    ) -> Option<Vec<T>> {
        let mut found = Vec::new();
        for (key, text) in self.texts(name, findings)? {
            let Some(word) = as_word(text, &key, words, parse, findings) else {
                continue;
            };
            if found.contains(&word) {
                findings.error(key, format!("{} is named twice", quote(text)), "remove one of the two");
            } else {
                found.push(word);
            }
        }
        Some(found)
    }

    pub(super) fn flag(&mut self, name: &'static str, findings: &mut Findings) -> Option<bool> {
        let value = self.value(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            wrong_type(&self.key(name), "true or false", value, "write true or false, without quotes", findings);
        }
        flag
    }

    /// A whole number in `min..=max`.
    pub(super) fn whole(&mut self, name: &'static str, min: i64, max: i64, findings: &mut Findings) -> Option<i64> {
        let value = self.value(name)?;
        let key = self.key(name);
        let Some(integer) = value.as_integer() else {
            wrong_type(&key, "a whole number", value, "write a whole number, without quotes or a point", findings);
            return None;
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            Ok(_) | Err(_) => {
                let message = format!("{} is out of range", quote(integer.as_str()));
                findings.error(key, message, format!("write a whole number from {min} to {max}"));
                None
            }
        }
    }

    /// A count from `min` to `max`.
    pub(super) fn count(&mut self, name: &'static str, min: u32, max: u32, findings: &mut Findings) -> Option<u32> {
        self.whole(name, i64::from(min), i64::from(max), findings).and_then(|n| u32::try_from(n).ok())
    }

    /// A number from 0 to `max`, whole or not.
    pub(super) fn number(&mut self, name: &'static str, max: f64, findings: &mut Findings) -> Option<f64> {
        let value = self.value(name)?;
        let key = self.key(name);
        let text = match (value.as_integer(), value.as_float()) {
            (Some(integer), _) if integer.radix() == 10 => integer.as_str(),
            (_, Some(float)) => float.as_str(),
            _ => {
                wrong_type(&key, "a number", value, "write a number such as 0.09, without quotes", findings);
                return None;
            }
        };
        match text.parse::<f64>() {
            Ok(n) if (0.0..=max).contains(&n) => Some(n + 0.0),
            Ok(_) | Err(_) => {
                let message = format!("{} is out of range", quote(text));
                findings.error(key, message, format!("write a number from 0 to {max}"));
                None
            }
        }
    }

    /// A list of texts, each with its own key.
    pub(super) fn texts(&mut self, name: &'static str, findings: &mut Findings) -> Option<Vec<(String, &'t str)>> {
        let value = self.value(name)?;
        let key = self.key(name);
        let Some(array) = value.as_array() else {
            wrong_type(&key, "a list of texts", value, "write a list such as [\"a\", \"b\"]", findings);
            return None;
        };
        let elements = array.iter().enumerate().map(|(i, element)| (format!("{key}[{i}]"), element.get_ref()));
        Some(elements.filter_map(|(key, value)| as_text(value, &key, findings).map(|text| (key, text))).collect())
    }

    /// A table below this one.
    pub(super) fn table(&mut self, name: &'static str, findings: &mut Findings) -> Option<Section<'t>> {
        let value = self.value(name)?;
        as_section(value, self.key(name), findings)
    }

    /// A list of tables below this one, such as `[[pool]]`.
    pub(super) fn tables(&mut self, name: &'static str, findings: &mut Findings) -> Vec<Section<'t>> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let key = self.key(name);
        let Some(array) = value.as_array() else {
            let remedy = format!("write [[{name}]] with two brackets: there may be several");
            wrong_type(&key, "a list of tables", value, &remedy, findings);
            return Vec::new();
        };
        let elements = array.iter().enumerate();
        elements.filter_map(|(i, e)| as_section(e.get_ref(), format!("{key}[{i}]"), findings)).collect()
    }

    /// All tables in this one, whatever their names, in the order of the file.
    pub(super) fn named_tables(&self, findings: &mut Findings) -> Vec<(&'t str, Section<'t>)> {
        let mut names: Vec<_> = self.table.iter().map(|(name, value)| (name.get_ref(), value.get_ref())).collect();
        names.sort_by_key(|(name, _)| findings.offset_of(&self.key(name)));
        let found = names.into_iter();
        found.filter_map(|(n, v)| as_section(v, self.key(n), findings).map(|s| (n.as_ref(), s))).collect()
    }

    /// All texts in this one, whatever their names: none of them is an unknown key.
    pub(super) fn named_texts(&self, findings: &mut Findings) -> Vec<(&'t str, &'t str)> {
        let all = self.table.iter().map(|(name, value)| (name.get_ref().as_ref(), value.get_ref()));
        all.filter_map(|(name, value)| as_text(value, &self.key(name), findings).map(|text| (name, text))).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for name in self.table.keys().map(|name| name.get_ref()) {
            if !self.known.contains(name.as_ref()) {
                let known = || self.known.iter().copied();
                let remedy = did_you_mean(name, known(), format!("remove it; keys here: {}", list(known())));
                findings.error(self.key(name), format!("unknown key {}", quote(name)), remedy);
            }
        }
    }
}

fn as_text<'t>(value: &'t DeValue<'t>, key: &str, findings: &mut Findings) -> Option<&'t str> {
    let text = value.as_str();
    if text.is_none() {
        wrong_type(key, "a text", value, "write it in double quotes", findings);
    }
    text
}

fn as_word<T>(
    text: &str,
    key: &str,
    words: &[&'static str],
    parse: fn(&str) -> Option<T>,
    findings: &mut Findings,
) -> Option<T> {
    let word = parse(text);
    if word.is_none() {
        let remedy = did_you_mean(text, words.iter().copied(), format!("write one of {}", list(words)));
        findings.error(key, format!("{} is not one of {}", quote(text), list(words)), remedy);
    }
    word
}

fn as_section<'t>(value: &'t DeValue<'t>, path: String, findings: &mut Findings) -> Option<Section<'t>> {
    match value.as_table() {
        Some(table) => Some(Section::new(path, table)),
        None => {
            wrong_type(&path, "a table", value, "write a table: `[header]` or { key = value }", findings);
            None
        }
    }
}

fn wrong_type(key: &str, wanted: &str, value: &DeValue<'_>, remedy: &str, findings: &mut Findings) {
    let found = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    findings.error(key, format!("must be {wanted}, not {found}"), remedy);
}
