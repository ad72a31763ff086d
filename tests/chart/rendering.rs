//! What the chart renders to.

use std::fs;
use std::path::Path;

use super::{ROOT, SETS, documents, find, folder, helm, is_golden, kind, name, run, set, template};
use crate::support::chart::generated;

#[test]
fn generated_files_are_those_that_the_program_makes() {
    for (path, text) in generated().unwrap() {
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is out of date; run `make docs`",
            path.display()
        );
    }
}

#[test]
fn helm_finds_nothing_to_complain_of_in_any_set_of_values() {
    for name in SETS {
        let linted = run(helm()
            .args(["lint", "--strict"])
            .arg(folder())
            .args(["-f", &set(name)]));
        if let Err(said) = linted {
            panic!("{name}: {said}");
        }
    }
}

#[test]
fn each_set_of_values_renders_to_its_golden_text() {
    for name in SETS {
        let text = template(&["-f", &set(name)]).unwrap();
        let mut golden = String::new();
        for part in text.split("---\n").filter(|part| !part.trim().is_empty()) {
            if part.contains("\nkind: CustomResourceDefinition\n") {
                continue;
            }
            golden.push_str("---\n");
            // A dashboard is a file of its own.
            let end = part.find(".json: |\n").map(|at| at + ".json: |\n".len());
            golden.push_str(&part[..end.unwrap_or(part.len())]);
        }
        let path = Path::new(ROOT).join(format!("tests/chart/golden/{name}.yaml"));
        is_golden(&path, &golden);
    }
}

#[test]
fn the_program_reads_the_rendered_configuration_without_a_complaint() {
    for set_name in SETS {
        let rendered = documents(&template(&["-f", &set(set_name)]).unwrap());
        let map = rendered
            .iter()
            .find(|one| kind(one) == "ConfigMap" && one["data"].get("pgexporter.conf").is_some());
        let text = map.unwrap()["data"]["pgexporter.conf"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // It looks whether what is named is there.
        let text = text.replace(
            "= /etc/pgexporter",
            &format!("= {}/pgexporter", folder.path().display()),
        );
        fs::create_dir_all(folder.path().join("pgexporter-metrics")).unwrap();
        for line in text.lines() {
            if let Some((_, file)) = line
                .split_once(" = /")
                .filter(|(key, _)| key.ends_with("file"))
            {
                let file = Path::new("/").join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
        }
        let path = folder.path().join("pgexporter.conf");
        fs::write(&path, &text).unwrap();
        let loaded = match pgexporter::config::load(&path) {
            Ok(loaded) => loaded,
            Err(errors) => panic!("{set_name}: {errors}\n{text}"),
        };
        let main = &loaded.configuration.main;
        assert_eq!((main.metrics, main.health), (5002, Some(5003)));
        if set_name == "servers" {
            let servers = &loaded.configuration.servers;
            let names: Vec<&str> = servers.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["legacy", "plain", "warehouse"]);
            assert_eq!(servers[0].user, "user # with a sign");
            assert_eq!(main.exclude_collectors, ["table_bloat", "stat_io"]);
            assert_eq!(main.log_line_prefix, "%H:%M:%S");
        }
    }
}

/// What is mounted is what the configuration names.
#[test]
fn every_file_that_the_configuration_names_is_mounted() {
    for set_name in SETS {
        let rendered = documents(&template(&["-f", &set(set_name)]).unwrap());
        let deployment = rendered.iter().find(|one| kind(one) == "Deployment");
        let pod = &deployment.unwrap()["spec"]["template"]["spec"];
        let mut mounted = Vec::new();
        for mount in pod["containers"][0]["volumeMounts"].as_sequence().unwrap() {
            let place = mount["mountPath"].as_str().unwrap();
            let volumes = pod["volumes"].as_sequence().unwrap();
            let volume = volumes.iter().find(|one| one["name"] == mount["name"]);
            mounted.push(place.to_owned());
            let sources = volume.unwrap()["projected"]["sources"].as_sequence();
            for source in sources.into_iter().flatten() {
                let of = source.get("secret").or(source.get("configMap")).unwrap();
                for item in of["items"].as_sequence().into_iter().flatten() {
                    mounted.push(format!("{place}/{}", item["path"].as_str().unwrap()));
                }
            }
        }
        let map = rendered
            .iter()
            .find(|one| kind(one) == "ConfigMap" && one["data"].get("pgexporter.conf").is_some());
        let text = map.unwrap()["data"]["pgexporter.conf"].as_str().unwrap();
        for line in text.lines() {
            let Some((key, path)) = line.split_once(" = /") else {
                continue;
            };
            let path = format!("/{path}");
            assert!(mounted.contains(&path), "{set_name}: {key} = {path}");
        }
        for argument in pod["containers"][0]["args"].as_sequence().unwrap() {
            let argument = argument.as_str().unwrap();
            if argument.starts_with('/') {
                assert!(mounted.contains(&argument.to_owned()), "{argument}");
            }
        }
    }
}

#[test]
fn a_key_that_needs_a_restart_replaces_the_pods_and_no_other_does() {
    let checksum = |arguments: &[&str]| {
        let rendered = documents(&template(arguments).unwrap());
        let deployment = find(&rendered, "Deployment", "pgexporter").clone();
        deployment["spec"]["template"]["metadata"]["annotations"]["checksum/restart"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = checksum(&[]);
    for reloads in [
        "config.log_level=debug",
        "config.lock_timeout=2s",
        "kubernetes.allowedHosts={*.svc}",
        "servers.a.host=h,servers.a.user=u",
    ] {
        assert_eq!(checksum(&["--set", reloads]), before, "{reloads}");
    }
    for restarts in [
        "config.max_connections=7",
        "config.hugepage=off",
        "kubernetes.namespaces={shop}",
        "kubernetes.selector=a=b",
        "metrics.port=9187",
        "replicas=2",
    ] {
        assert_ne!(checksum(&["--set", restarts]), before, "{restarts}");
    }
    let without = |more| checksum(&["--set", "reloadOnChange=false", "--set", more]);
    assert_ne!(without("replicas=1"), without("config.log_level=debug"));
}

#[test]
fn each_pod_is_scraped_once_whatever_is_chosen() {
    for monitor in ["ServiceMonitor", "PodMonitor"] {
        let key = format!(
            "{}{}.enabled=true",
            monitor[..1].to_lowercase(),
            &monitor[1..]
        );
        let rendered = documents(&template(&["--set", &key]).unwrap());
        let monitors: Vec<&str> = rendered
            .iter()
            .map(kind)
            .filter(|kind| kind.ends_with("Monitor"))
            .collect();
        assert_eq!(monitors, [monitor]);
        let spec = &find(&rendered, monitor, "pgexporter")["spec"];
        let wanted = &spec["selector"]["matchLabels"];
        let endpoints = spec.get("endpoints").or(spec.get("podMetricsEndpoints"));
        let endpoints = endpoints.unwrap().as_sequence().unwrap();
        assert_eq!(endpoints.len(), 1);
        assert_eq!(endpoints[0]["honorLabels"], true);
        // One Service, or one kind of pod, has the labels, and it has the port.
        let has = |labels: &serde_yaml::Value| {
            let wanted = wanted.as_mapping().unwrap();
            wanted
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        };
        if monitor == "ServiceMonitor" {
            let services: Vec<_> = rendered
                .iter()
                .filter(|one| kind(one) == "Service" && has(&one["metadata"]["labels"]))
                .collect();
            assert_eq!(services.len(), 1);
            assert_eq!(services[0]["spec"]["ports"][0]["name"], "metrics");
        } else {
            let pod = &find(&rendered, "Deployment", "pgexporter")["spec"]["template"];
            assert!(has(&pod["metadata"]["labels"]));
            let ports = &pod["spec"]["containers"][0]["ports"];
            assert_eq!(ports[0]["name"], "metrics");
        }
    }
}

#[test]
fn the_network_policy_lets_in_who_is_named_and_out_to_what_is_needed() {
    let rendered = documents(&template(&["-f", &set("locked-down")]).unwrap());
    let spec = &find(&rendered, "NetworkPolicy", "pgexporter")["spec"];
    assert_eq!(spec["policyTypes"].as_sequence().unwrap().len(), 2);
    let rules = spec["ingress"].as_sequence().unwrap();
    let to = |port: &str| {
        rules
            .iter()
            .find(|rule| rule["ports"][0]["port"] == port)
            .unwrap_or_else(|| panic!("nothing about {port}"))
    };
    let monitoring = &to("metrics")["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(monitoring["kubernetes.io/metadata.name"], "monitoring");
    assert_eq!(
        to("management")["from"][0]["podSelector"]["matchLabels"]["role"],
        "admin"
    );
    assert!(to("health").get("from").is_none());
    let mut out = Vec::new();
    for rule in spec["egress"].as_sequence().unwrap() {
        for port in rule["ports"].as_sequence().into_iter().flatten() {
            out.push(port["port"].as_u64().unwrap());
        }
    }
    assert_eq!(out, [53, 53, 5432, 443, 6443]);
}

#[test]
fn names_follow_the_release() {
    let rendered = documents(&template(&["--set", "fullnameOverride=other"]).unwrap());
    for document in &rendered {
        let named =
            kind(document) == "CustomResourceDefinition" || name(document).starts_with("other");
        assert!(named, "{} {}", kind(document), name(document));
    }
}
