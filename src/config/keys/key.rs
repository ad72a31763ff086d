//! What the table says about a key.

use crate::config::value::{Value, ValueError, ValueKind};

/// When a changed value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// After a reload.
    Reload,
    /// After a restart; a reload leaves the running value alone and says so.
    Restart,
}

/// Where an administrator must be to change a value of the running exporter (`conf set`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedFrom {
    /// On the exporter's machine, over its Unix socket. What names a file, a place that secrets
    /// are sent to, a user, TLS, or a right of Kubernetes; and every key that does not say
    /// otherwise.
    Machine,
    /// Over the management port too.
    Anywhere,
}

/// Whether the file must give a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Always.
    Yes,
    /// Unless the server's `type` is `prometheus`.
    ForPostgresql,
    /// Never.
    No,
}

/// A key of a section, whose values stand in an `S`.
#[derive(Debug)]
pub struct Key<S> {
    /// The word before the `=`.
    pub name: &'static str,
    /// What it takes.
    pub kind: ValueKind,
    /// The value without a line, as the file would have it; empty is none.
    pub default: &'static str,
    /// Whether it must be given.
    pub required: Required,
    /// When a changed value is used.
    pub effect: Effect,
    /// Where an administrator must be to change it.
    pub changed_from: ChangedFrom,
    /// Where it stands; `None` when it is read and checked, and has no effect yet.
    pub(in crate::config) place: Option<FieldAccess<S>>,
    /// What it means, in a sentence of Markdown.
    pub about: &'static str,
}

/// Reads and writes a key's field.
#[derive(Debug)]
pub(in crate::config) struct FieldAccess<S> {
    pub(in crate::config) get: fn(&S) -> Value,
    /// False when the value does not fit the field, which a test of the tables rules out.
    pub(in crate::config) set: fn(&mut S, &Value) -> bool,
}

impl<S> Key<S> {
    pub(super) const fn new(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        effect: Effect,
        place: FieldAccess<S>,
        about: &'static str,
    ) -> Self {
        let required = Required::No;
        Self {
            name,
            kind,
            default,
            required,
            effect,
            changed_from: ChangedFrom::Machine,
            place: Some(place),
            about,
        }
    }

    /// A key that is read and checked, and has no effect yet.
    pub(super) const fn reserved(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        effect: Effect,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            required: Required::No,
            effect,
            changed_from: ChangedFrom::Machine,
            place: None,
            about,
        }
    }

    pub(super) const fn required(mut self, required: Required) -> Self {
        self.required = required;
        self
    }

    /// A key that may be changed over the management port: it names no file, no place that secrets
    /// are sent to, no user, no TLS and no right of Kubernetes, and costs no server more than
    /// before.
    pub(super) const fn anywhere(mut self) -> Self {
        self.changed_from = ChangedFrom::Anywhere;
        self
    }

    /// The default as a value.
    ///
    /// # Errors
    /// As [`ValueKind::parse`]; a test of the tables rules it out.
    pub fn default_value(&self) -> Result<Value, ValueError> {
        match self.default {
            "" => Ok(Value::Unset),
            text => self.kind.parse(text),
        }
    }
}

/// A [`FieldAccess`] for a field of a section's type, by its name.
macro_rules! place {
    ($section:ty: $($field:ident).+) => {
        crate::config::keys::key::FieldAccess {
            get: |section: &$section| crate::config::field::Field::to_value(&section.$($field).+),
            set: |section, value| match crate::config::field::Field::from_value(value) {
                Some(value) => {
                    section.$($field).+ = value;
                    true
                }
                None => false,
            },
        }
    };
}
pub(super) use place;
