//! Each setting of the server is a family of its own.

use tokio_postgres::Config;

use super::scene::{Scene, number};
use super::support::{Samples, client};

/// Each row of `pg_settings` is a gauge with its value and its description, also where the exporter
/// set something else for its own session.
pub(crate) fn of_the_settings(scene: &Scene, samples: &Samples) -> Vec<String> {
    let mut wrong = Vec::new();
    // Over TCP, as the exporter asks: some settings are those of the connection.
    let mut config = Config::new();
    config
        .host(scene.primary.host())
        .port(scene.primary.port())
        .user("postgres")
        .dbname("postgres");
    let sql =
        "SELECT name, vartype, setting, short_desc FROM pg_settings WHERE setting IS NOT NULL";
    let rows = client::text(&config, sql).expect("the superuser may ask");
    let mut count = 0;
    for row in &rows {
        let [Some(setting), Some(kind), Some(value), Some(help)] = &row[..] else {
            wrong.push(format!("{row:?}"));
            continue;
        };
        count += 1;
        let name = format!(
            "pgexporter_pg_settings_{}",
            setting.to_lowercase().replace('.', "_")
        );
        let expected = match kind.as_str() {
            "bool" | "integer" | "real" => number(value),
            _ => 1.0,
        };
        let found = samples.with(&name, &[("server", "primary")]);
        match found[..] {
            [sample] if sample.value == expected => {
                if sample.labels.len() != 1 {
                    wrong.push(format!("{name} has labels {:?}", sample.labels));
                }
            }
            _ => wrong.push(format!("{name} is {found:?}, not {expected}")),
        }
        let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
        if samples.helps.get(&name) != Some(&escaped) || samples.types[&name] != "gauge" {
            wrong.push(format!(
                "{name} has help {:?}, not {escaped}",
                samples.helps.get(&name)
            ));
        }
    }
    let families = samples.types.keys();
    let shown = families
        .filter(|name| name.starts_with("pgexporter_pg_settings_"))
        .count();
    if shown < count {
        wrong.push(format!("{shown} settings of {count}"));
    }
    wrong
}
