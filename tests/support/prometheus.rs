//! A real Prometheus on a free port, that scrapes what a test names.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::downloads;
use super::keeper::Keeper;
use super::ports::Port;
use super::within;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running Prometheus. Dropping it stops it.
#[derive(Debug)]
pub struct Prometheus {
    port: Port,
    process: Child,
    keeper: Keeper,
}

/// A series of an answer: its labels and its value now.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: std::collections::BTreeMap<String, String>,
    pub value: f64,
}

impl Prometheus {
    /// Scrapes addresses (`host:port`) every second under the job `pgexporter`, with the rules of
    /// a file.
    pub fn start(targets: &[String], rules: &str) -> Self {
        let tool = downloads::prometheus().unwrap_or_else(|error| panic!("{error:#}"));
        let keeper = Keeper::new().expect("a temporary folder");
        let port = Port::free();
        fs::write(keeper.path().join("alerts.rules"), rules).expect("it is written");
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["alerts.rules"],
            "scrape_configs": [{
                "job_name": "pgexporter",
                "honor_labels": true,
                "static_configs": [{ "targets": targets }],
            }],
        });
        fs::write(keeper.path().join("prometheus.yml"), config.to_string()).expect("written");
        let log = File::create(keeper.path().join("log")).expect("a log file");
        let process = Command::new(tool.program)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()))
            .current_dir(keeper.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let prometheus = Self {
            port,
            process,
            keeper,
        };
        let ready = within(START, || {
            super::exporter::get(&prometheus.url("/-/ready"), &[])
                .is_ok_and(|answer| answer.status == 200)
        });
        assert!(ready, "prometheus does not come up: {}", prometheus.log());
        prometheus
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port.number())
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.keeper.path().join("log")).unwrap_or_default()
    }

    /// The series that a query has now.
    ///
    /// # Errors
    /// What it says to a query that it does not understand.
    pub fn query(&self, expr: &str) -> Result<Vec<Series>, String> {
        let mut answer = ureq::get(self.url("/api/v1/query"))
            .config()
            .http_status_as_error(false)
            .build()
            .query("query", expr)
            .call()
            .map_err(|error| error.to_string())?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?;
        series(&text)
    }
}

/// The series in an answer of Prometheus' API to a query.
///
/// # Errors
/// What the answer says is wrong.
pub fn series(answer: &str) -> Result<Vec<Series>, String> {
    let answer: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    let found = answer["data"]["result"].as_array().cloned();
    found
        .unwrap_or_default()
        .iter()
        .map(|one| {
            let labels = serde_json::from_value(one["metric"].clone());
            let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
            Ok(Series {
                labels: labels.map_err(|error| error.to_string())?,
                value: value.ok_or("no value")?,
            })
        })
        .collect()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
