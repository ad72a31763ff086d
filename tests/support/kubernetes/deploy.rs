//! The exporter's own manifests, deployed as the documentation says.

use std::fs;
use std::path::Path;

use super::ApiServer;

impl ApiServer {
    /// An API server with what `deploy/base` holds, and the right to share targets; the service
    /// account `pgexporter` is in this namespace.
    #[track_caller]
    pub fn with_operator(home: &str) -> Self {
        let api = Self::start();
        api.kubectl(&["create", "namespace", home]);
        api.apply(&api.kustomized(home, "base", &["lease"]));
        let crd = "crd/postgrestargets.pgexporter.io";
        api.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=60s"]);
        api
    }

    /// The manifests of a folder of `deploy/` in a namespace, with components, as a kustomization
    /// of one's own makes them.
    #[track_caller]
    pub fn kustomized(&self, namespace: &str, folder: &str, components: &[&str]) -> String {
        let own = self.folder().join(format!("{namespace}-overlay"));
        fs::create_dir_all(&own).expect("a folder");
        // Kustomize wants a path relative to where it stands.
        let whole = own.canonicalize().expect("it is there");
        let up = "../".repeat(whole.components().count() - 1);
        let deploy = Path::new(crate::ROOT).join("deploy");
        let deploy = deploy.strip_prefix("/").expect("it is absolute");
        let deploy = format!("{up}{}", deploy.display());
        let components: Vec<String> = components
            .iter()
            .map(|name| format!("{deploy}/components/{name}"))
            .collect();
        let text = format!(
            "namespace: {namespace}\nresources: [{deploy}/{folder}]\ncomponents: [{}]\n",
            components.join(", ")
        );
        fs::write(own.join("kustomization.yaml"), text).expect("it is written");
        self.kubectl(&["kustomize", &own.display().to_string()])
    }
}
