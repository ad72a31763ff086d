//! `README.md` of the chart: a text, and a table made of `values.yaml` and its comments.

use anyhow::{Context, Result, ensure};
use serde_yaml::Value;

/// A key of `values.yaml` with the comment above it.
struct Line {
    indent: usize,
    key: String,
    comment: String,
}

/// The page.
pub(super) fn page(values: &str) -> Result<String> {
    let tree: Value = serde_yaml::from_str(values).context("values.yaml")?;
    let mut rows = String::new();
    let lines = lines(values);
    let mut path: Vec<&Line> = Vec::new();
    let mut skip = None;
    for (at, line) in lines.iter().enumerate() {
        path.retain(|above| above.indent < line.indent);
        path.push(line);
        if skip.is_some_and(|indent| line.indent > indent) {
            continue;
        }
        skip = None;
        let children: Vec<&Line> = lines[at + 1..]
            .iter()
            .take_while(|below| below.indent > line.indent)
            .collect();
        let described = children.iter().any(|below| !below.comment.is_empty());
        let names: Vec<&str> = path.iter().map(|one| one.key.as_str()).collect();
        let name = names.join(".");
        let default = names
            .iter()
            .try_fold(&tree, |value, key| value.get(*key))
            .with_context(|| format!("values.yaml has no {name}"))?;
        if !children.is_empty() && (described || line.comment.is_empty()) {
            if !line.comment.is_empty() {
                rows.push_str(&format!("| `{name}` | | **{}** |\n", line.comment));
            }
            continue;
        }
        skip = Some(line.indent);
        let default = serde_json::to_string(default)?;
        rows.push_str(&format!("| `{name}` | `{default}` | {} |\n", line.comment));
    }
    ensure!(!rows.is_empty(), "values.yaml has no keys");
    Ok(include_str!("readme.md").replace("{values}\n", &rows))
}

fn lines(values: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut comment = String::new();
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(more) = text.strip_prefix('#') {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(more.trim());
            continue;
        }
        let said = std::mem::take(&mut comment);
        let Some((key, _)) = text.split_once(':').filter(|_| !text.starts_with('-')) else {
            continue;
        };
        lines.push(Line {
            indent: line.len() - text.len(),
            key: key.to_owned(),
            comment: said.replace('|', "\\|"),
        });
    }
    lines
}
