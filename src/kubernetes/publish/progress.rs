//! How far the controller is, for `/readyz`.

use std::collections::BTreeSet;

use crate::kubernetes::client::{ApiKind, ApiResource};

/// How far the controller is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerProgress {
    /// The first list was resolved.
    pub synced: bool,
    /// Why it cannot do its work: a right without which there are no targets.
    pub blocked: Option<String>,
    /// What else a person should know: rights that are missing, a Lease that is lost.
    pub notes: Vec<String>,
}

impl ControllerProgress {
    /// The progress with these rights missing. `blind`: no target can be watched at all. `lost`: the
    /// Lease is another pod's.
    pub(in crate::kubernetes) fn new(
        synced: bool,
        missing: &BTreeSet<ApiResource>,
        blind: bool,
        lost: bool,
    ) -> Self {
        let (mut blocked, mut notes) = (Vec::new(), Vec::new());
        for right in missing {
            let (verb, resource) = (right.verb.as_str(), right.kind.as_str());
            let text = format!("the service account may not {verb} {resource}");
            let text = match &right.namespace {
                Some(namespace) => format!("{text} in the namespace {namespace}"),
                None => text,
            };
            if right.kind == ApiKind::Targets && blind {
                blocked.push(text);
            } else {
                notes.push(text);
            }
        }
        if lost && synced {
            let text = "this pod has lost its Lease: others serve the targets of Kubernetes";
            notes.push(text.to_owned());
        }
        Self {
            synced,
            blocked: (!blocked.is_empty()).then(|| blocked.join("; ")),
            notes,
        }
    }
}
