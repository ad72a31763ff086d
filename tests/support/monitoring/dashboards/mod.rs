//! The dashboards: all targets at a glance, one server, the exporter itself.

mod exporter;
mod server;
mod targets;

use anyhow::Result;

use super::grafana::{Dashboard, Panel, Query, Shape, Variable};
use super::{check, families};

/// All dashboards.
///
/// # Errors
/// A panel asks for a family that does not exist.
pub fn all() -> Result<Vec<Dashboard>> {
    let dashboards = vec![
        targets::dashboard(),
        server::dashboard(),
        exporter::dashboard(),
    ];
    let families = families()?;
    for query in dashboards.iter().flat_map(queries) {
        check(&query.expr, &families)?;
    }
    Ok(dashboards)
}

/// The queries of a dashboard's panels, and of its variables as far as they are PromQL.
pub fn queries(dashboard: &Dashboard) -> Vec<Query> {
    let panels = dashboard.rows.iter().flat_map(|row| &row.panels);
    let mut all: Vec<Query> = panels.flat_map(|panel| panel.queries.clone()).collect();
    for variable in &dashboard.variables {
        let inner = variable.query.trim_start_matches("label_values(");
        if let Some((expr, _)) = inner.rsplit_once(", ") {
            all.push(Query {
                expr: expr.to_owned(),
                legend: String::new(),
            });
        }
    }
    all
}

fn panel(
    shape: Shape,
    width: u64,
    unit: &'static str,
    (title, about): (&'static str, &'static str),
    queries: &[(&str, &str)],
) -> Panel {
    // `$all`, `$one` and `$in` stand for the choice at the top of the dashboard.
    let choice = |expr: &str| {
        expr.replace("$all", r#"server=~"$namespace.*""#)
            .replace("$one", r#"server="$target""#)
            .replace("$in", r#"server="$target", database=~"$database""#)
    };
    Panel {
        title,
        about,
        shape,
        unit,
        width,
        queries: queries
            .iter()
            .map(|(expr, legend)| Query {
                expr: choice(expr),
                legend: (*legend).to_owned(),
            })
            .collect(),
    }
}

fn lines(
    unit: &'static str,
    about: (&'static str, &'static str),
    queries: &[(&str, &str)],
) -> Panel {
    panel(Shape::Lines, 12, unit, about, queries)
}

fn number(
    unit: &'static str,
    about: (&'static str, &'static str),
    queries: &[(&str, &str)],
) -> Panel {
    panel(Shape::Number, 4, unit, about, queries)
}

fn namespace() -> Variable {
    Variable {
        name: "namespace",
        label: "Namespace",
        query: "label_values(pgexporter_postgresql_active, server)",
        // A target is called NAMESPACE/NAME; a server of the file has no namespace.
        regex: "/^([^\\/]+\\/)/",
        many: true,
    }
}
