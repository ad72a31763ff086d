//! Keeps what came from a Secret out of what people read.

use super::{Target, TargetError};

/// What stands in its place.
const REDACTED: &str = "[redacted]";
/// A shorter value is replaced as a whole word alone: it stands in other words by chance.
const SHORT: usize = 6;

impl Target {
    /// A text that the server or a pooler wrote, without the password, and without the role's name
    /// where that came from a Secret.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let password = self.password.as_ref().map(|one| one.expose());
        let user = self.user_is_secret.then_some(self.user.as_str());
        for secret in [password, user].into_iter().flatten() {
            // What the target names in the open is nobody's secret.
            let open = secret == self.database
                || self.name.contains(secret)
                || self.address.to_string().contains(secret);
            if !secret.is_empty() && !open {
                text = replace_secret(&text, secret);
            }
        }
        text
    }

    /// The same of a trouble.
    #[must_use]
    pub fn redact_error(&self, trouble: TargetError) -> TargetError {
        TargetError {
            message: self.redact(&trouble.message),
            ..trouble
        }
    }

    /// The role's name, for messages.
    #[must_use]
    pub fn user_in_words(&self) -> &str {
        match self.user_is_secret {
            true => "of the Secret",
            false => &self.user,
        }
    }
}

fn replace_secret(text: &str, secret: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(secret.len());
        let inner = |c: char| c.is_alphanumeric() || c == '_';
        // The word begins before what is left of the text.
        let begun = before.chars().next_back().or(out.chars().next_back());
        let word = begun.is_none_or(|c| !inner(c)) && !after.starts_with(inner);
        out.push_str(before);
        out.push_str(match secret.len() >= SHORT || word {
            true => REDACTED,
            false => found,
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_cut_out_wherever_it_stands() {
        let said = "password authentication failed for user \"s3cret-Xyzzy\" (s3cret-Xyzzy2)";
        let told = replace_secret(said, "s3cret-Xyzzy");
        assert_eq!(
            told,
            "password authentication failed for user \"[redacted]\" ([redacted]2)"
        );
        assert_eq!(
            replace_secret("user \"a\" has a role: abba", "a"),
            "user \"[redacted]\" has [redacted] role: abba"
        );
        assert_eq!(replace_secret("aa a", "a"), "aa [redacted]");
    }
}
