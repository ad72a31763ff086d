//! Dashboards in the JSON of Grafana: as much of it as ours need.

use serde_json::{Value, json};

/// How wide a dashboard is, in Grafana's units.
const WIDTH: u64 = 24;

/// One query of a panel.
#[derive(Clone, Debug)]
pub struct Query {
    pub expr: String,
    /// How a series is called, with labels in double braces.
    pub legend: String,
}

/// What a panel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Lines over time.
    Lines,
    /// One number.
    Number,
    /// A row for each series.
    Table,
}

/// A panel before it has a place.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub about: &'static str,
    pub shape: Shape,
    pub unit: &'static str,
    pub width: u64,
    pub queries: Vec<Query>,
}

/// A row of a dashboard with its panels.
#[derive(Clone, Debug)]
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// A variable that is chosen at the top of a dashboard.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub label: &'static str,
    pub query: &'static str,
    /// Which part of a value is meant; empty is all of it.
    pub regex: &'static str,
    /// Whether more than one, or all, may be chosen.
    pub many: bool,
}

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its file, without `.json`, and its identity in Grafana.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub variables: Vec<Variable>,
    pub rows: Vec<Row>,
}

impl Dashboard {
    /// Its JSON, as Grafana's provisioning takes it.
    pub fn json(&self) -> String {
        let mut panels = Vec::new();
        let (mut id, mut y) = (1, 0);
        for row in &self.rows {
            panels.push(json!({
                "id": id,
                "type": "row",
                "title": row.title,
                "collapsed": false,
                "panels": [],
                "gridPos": { "x": 0, "y": y, "w": WIDTH, "h": 1 },
            }));
            id += 1;
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > WIDTH {
                    y += height;
                    (x, height) = (0, 0);
                }
                let h = if panel.shape == Shape::Number { 4 } else { 8 };
                let place = json!({ "x": x, "y": y, "w": panel.width, "h": h });
                panels.push(self::panel(panel, id, place));
                id += 1;
                x += panel.width;
                height = height.max(h);
            }
            y += height;
        }
        let dashboard = json!({
            "uid": format!("pgexporter-{}", self.name),
            "title": self.title,
            "description": self.about,
            "tags": ["pgexporter", "postgresql"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-3h", "to": "now" },
            "templating": { "list": self.variables() },
            "links": [{
                "type": "dashboards",
                "tags": ["pgexporter"],
                "title": "pgexporter",
                "asDropdown": true,
                "includeVars": true,
                "keepTime": true,
            }],
            "annotations": { "list": [] },
            "panels": panels,
        });
        format!("{dashboard:#}\n")
    }

    fn variables(&self) -> Vec<Value> {
        let mut all = vec![json!({
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        })];
        for variable in &self.variables {
            let mut made = json!({
                "name": variable.name,
                "label": variable.label,
                "type": "query",
                "datasource": source(),
                "definition": variable.query,
                "query": { "query": variable.query, "refId": variable.name },
                "regex": variable.regex,
                "refresh": 2,
                "sort": 1,
                "multi": false,
                "includeAll": variable.many,
            });
            if variable.many {
                made["allValue"] = ".*".into();
                made["current"] = json!({ "text": "All", "value": "$__all" });
            }
            all.push(made);
        }
        all
    }
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn panel(panel: &Panel, id: u64, place: Value) -> Value {
    let table = panel.shape == Shape::Table;
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..='Z')
        .map(|(query, name)| {
            json!({
                "refId": name.to_string(),
                "datasource": source(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.shape != Shape::Lines,
                "range": panel.shape == Shape::Lines,
                "format": if table { "table" } else { "time_series" },
            })
        })
        .collect();
    let kind = match panel.shape {
        Shape::Lines => "timeseries",
        Shape::Number => "stat",
        Shape::Table => "table",
    };
    let mut made = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source(),
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "min": if panel.shape == Shape::Lines { json!(0) } else { Value::Null } },
            "overrides": [],
        },
    });
    match panel.shape {
        Shape::Lines => {
            made["options"] = json!({
                "legend": { "displayMode": "list", "placement": "bottom" },
                "tooltip": { "mode": "multi", "sort": "desc" },
            });
        }
        Shape::Number => {
            made["options"] = json!({
                "reduceOptions": { "calcs": ["lastNotNull"] },
                "colorMode": "value",
                "graphMode": "none",
                "textMode": "value_and_name",
            });
        }
        Shape::Table => {
            // One row for each server, a column for each query, which is named after it.
            let mut names = serde_json::Map::new();
            for (query, name) in panel.queries.iter().zip('A'..='Z') {
                let value = if panel.queries.len() == 1 {
                    "Value".to_owned()
                } else {
                    format!("Value #{name}")
                };
                names.insert(value, query.legend.clone().into());
            }
            made["transformations"] = json!([
                { "id": "merge", "options": {} },
                { "id": "organize", "options": {
                    "excludeByName": { "Time": true },
                    "renameByName": names,
                } },
            ]);
        }
    }
    made
}
