//! A strict reader of OpenMetrics 1.0 text, as far as this exporter writes it, written apart from
//! the program's own encoder.

use std::collections::{BTreeMap, BTreeSet};

use super::support::Samples;

/// The type of each family.
///
/// # Errors
/// With the line and the rule of OpenMetrics 1.0 that it breaks.
pub(crate) fn check(body: &str) -> Result<BTreeMap<String, String>, String> {
    let text = body
        .strip_suffix("# EOF\n")
        .ok_or("it does not end with # EOF")?;
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut present = String::new();
    let mut helped = String::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |what: &str| Err(format!("line {}: {what}: {line}", number + 1));
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            match words[..] {
                ["HELP", family, help] => {
                    if !is_escaped(help) {
                        return fail("a quotation mark or backslash stands bare in the help");
                    }
                    helped = family.to_owned();
                }
                ["TYPE", family, kind] => {
                    if !["gauge", "counter", "histogram", "unknown"].contains(&kind) {
                        return fail("an unknown type");
                    }
                    if helped != family {
                        return fail("HELP is of another family");
                    }
                    if kind == "counter" && family.ends_with("_total") {
                        return fail("a counter's family must not end with _total");
                    }
                    if families.insert(family.into(), kind.into()).is_some() {
                        return fail("a family stands in two blocks");
                    }
                    present = family.to_owned();
                }
                _ => return fail("neither HELP nor TYPE"),
            }
            continue;
        }
        if line.is_empty() {
            return fail("an empty line");
        }
        let parsed = match Samples::try_parse(&format!("{line}\n")) {
            Ok(parsed) if parsed.samples.len() == 1 => parsed,
            _ => return fail("no sample"),
        };
        let sample = &parsed.samples[0];
        let kind = families.get(&present).map(String::as_str);
        let suffix = sample.name.strip_prefix(&present);
        let right = match (kind, suffix) {
            (Some("counter"), Some("_total")) => sample.value >= 0.0,
            (Some("histogram"), Some("_bucket")) => sample.labels.contains_key("le"),
            (Some("histogram"), Some("_count")) => sample.value >= 0.0,
            (Some("histogram"), Some("_sum")) => true,
            (Some("gauge" | "unknown"), Some("")) => true,
            _ => false,
        };
        if !right {
            return fail("no sample of the family before it");
        }
        if line
            .split(' ')
            .next_back()
            .is_none_or(|value| value.parse::<f64>().is_err())
        {
            return fail("a value that is no number, or a timestamp");
        }
        let labels: Vec<(String, String)> = sample.labels.clone().into_iter().collect();
        if !seen.insert((sample.name.clone(), labels)) {
            return fail("a sample twice");
        }
    }
    Ok(families)
}

/// Only `\\`, `\"` and `\n` begin with a backslash, and no quotation mark stands without one.
fn is_escaped(text: &str) -> bool {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return false,
            '\\' if !matches!(letters.next(), Some('\\' | '"' | 'n')) => return false,
            _ => {}
        }
    }
    true
}
