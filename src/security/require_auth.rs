//! Which ways of authentication a server may ask for: libpq's `require_auth`, and the rules that
//! hold without it. No I/O.

use std::fmt;

/// A way for a server to be sure of who logs in, by libpq's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthMethod {
    /// It asks for nothing: `trust`, or a client certificate.
    None,
    /// The password in the clear.
    Password,
    /// A hash of the password that can be tried out offline.
    Md5,
    /// GSSAPI, which is not spoken.
    Gss,
    /// SSPI, which is not spoken.
    Sspi,
    /// OAuth, which is not spoken.
    Oauth,
    /// SCRAM-SHA-256, with channel binding or without.
    ScramSha256,
}

impl AuthMethod {
    const ALL: [AuthMethod; 7] = [
        AuthMethod::None,
        AuthMethod::Password,
        AuthMethod::Md5,
        AuthMethod::Gss,
        AuthMethod::Sspi,
        AuthMethod::Oauth,
        AuthMethod::ScramSha256,
    ];

    /// The name in `require_auth`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Password => "password",
            AuthMethod::Md5 => "md5",
            AuthMethod::Gss => "gss",
            AuthMethod::Sspi => "sspi",
            AuthMethod::Oauth => "oauth",
            AuthMethod::ScramSha256 => "scram-sha-256",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A list of methods (PostgreSQL documentation, "Database Connection Control Functions",
/// `require_auth`). The default is an empty list, which takes every method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequireAuth {
    /// The methods of the list, by their bits.
    methods: u8,
    /// Each of them has a `!` before it.
    negated: bool,
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequireAuthError {
    /// A word that is no method.
    #[error(
        "allowed are none, password, md5, scram-sha-256, gss, sspi and oauth, with commas between \
         them, or all of them with a `!` before each"
    )]
    Unknown,
    /// Both with and without `!`.
    #[error("either all methods have a `!` before them, or none of them has")]
    Mixed,
    /// One stands twice.
    #[error("a method is listed twice")]
    Twice,
}

impl RequireAuth {
    /// Reads the words of a list: `scram-sha-256`, or `!password`.
    ///
    /// # Errors
    /// What is wrong with it. The words are not repeated.
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, RequireAuthError> {
        let mut list = Self::default();
        for word in words.map(str::trim).filter(|word| !word.is_empty()) {
            let (name, negated) = match word.strip_prefix('!') {
                Some(name) => (name, true),
                None => (word, false),
            };
            let method = AuthMethod::ALL
                .into_iter()
                .find(|method| method.as_str() == name)
                .ok_or(RequireAuthError::Unknown)?;
            if list.methods != 0 && list.negated != negated {
                return Err(RequireAuthError::Mixed);
            }
            if list.methods & method.bit() != 0 {
                return Err(RequireAuthError::Twice);
            }
            list.methods |= method.bit();
            list.negated = negated;
        }
        Ok(list)
    }

    /// Whether the list takes a method.
    #[must_use]
    pub fn allows(self, method: AuthMethod) -> bool {
        self.methods == 0 || (self.methods & method.bit() != 0) != self.negated
    }

    /// Whether the list names a method as one that is good.
    #[must_use]
    pub fn names(self, method: AuthMethod) -> bool {
        !self.negated && self.methods & method.bit() != 0
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.negated { "!" } else { "" };
        let methods = AuthMethod::ALL
            .into_iter()
            .filter(|method| self.methods & method.bit() != 0);
        for (at, method) in methods.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{mark}{}", method.as_str())?;
        }
        Ok(())
    }
}

/// What a request for authentication is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthRules {
    /// The server's `require_auth`.
    pub require: RequireAuth,
    /// Nobody else can read along or answer in the server's place: its certificate was verified, or
    /// it is a Unix socket.
    pub private: bool,
    /// The server has used SCRAM for this role before.
    pub scram_before: bool,
    /// TLS is spoken, and the server has used SCRAM with channel binding for this role before.
    pub binding_before: bool,
}

/// Why a request for authentication is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefused {
    /// `require_auth` does not take it.
    #[error(
        "the server chose the authentication method {asked}, and require_auth takes {require} alone"
    )]
    NotRequired {
        /// What it asks for.
        asked: AuthMethod,
        /// The list.
        require: RequireAuth,
    },
    /// The password would be sent to somebody unknown.
    #[error(
        "the server asks for the password in the clear, and its certificate was not verified; set \
         tls = verify-full (of a target: spec.tls.mode) here, or scram-sha-256 in its pg_hba.conf. \
         To send it anyway, set require_auth = password"
    )]
    InTheClear,
    /// Less than before.
    #[error(
        "the server chose the authentication method {0}, and has used scram-sha-256 before: this \
         may be an attack on the connection. If the method was changed, name {0} in require_auth \
         (of a target: spec.requireAuth), or restart the exporter"
    )]
    LessThanBefore(AuthMethod),
    /// SCRAM without the channel binding that was used before.
    #[error(
        "the server has used channel binding (SCRAM-SHA-256-PLUS) before, and this login would not \
         use it: this may be an attack on the connection. If its certificate or a proxy in front \
         of it was changed, name scram-sha-256 in require_auth (of a target: spec.requireAuth), or \
         restart the exporter"
    )]
    WithoutBinding,
}

/// How SCRAM is bound to the TLS connection that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramBinding {
    /// The server offers SCRAM-SHA-256-PLUS, and the client uses it.
    Bound,
    /// The server offers it, and its certificate has a signature for which no binding is defined.
    NoneForCertificate,
    /// The server does not offer it.
    NotOffered,
}

impl AuthRules {
    /// Whether a request is answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self, asked: AuthMethod) -> Result<(), AuthRefused> {
        let require = self.require;
        if !require.allows(asked) {
            return Err(AuthRefused::NotRequired { asked, require });
        }
        if require.names(asked) {
            return Ok(());
        }
        if self.scram_before && asked < AuthMethod::ScramSha256 {
            return Err(AuthRefused::LessThanBefore(asked));
        }
        if asked == AuthMethod::Password && !self.private {
            return Err(AuthRefused::InTheClear);
        }
        Ok(())
    }

    /// Whether SCRAM goes on with this binding. Who relays a login has no certificate of the server,
    /// and can only hide that the server offers binding, or show a certificate without one.
    ///
    /// # Errors
    /// Why not.
    pub fn check_binding(self, binding: ScramBinding) -> Result<(), AuthRefused> {
        let is_taken = match binding {
            ScramBinding::Bound => true,
            // A verified certificate is the server's own, whatever it is signed with.
            ScramBinding::NoneForCertificate => self.private,
            ScramBinding::NotOffered => false,
        };
        if is_taken || !self.binding_before || self.require.names(AuthMethod::ScramSha256) {
            return Ok(());
        }
        Err(AuthRefused::WithoutBinding)
    }
}

/// The most rounds of SCRAM that are computed for a server, which chooses them: each login costs
/// so many, on a thread that others wait for. PostgreSQL's own default is 4,096
/// (`scram_iterations`).
pub const MOST_SCRAM_ROUNDS: u32 = 1_000_000;

/// Whether the first answer of a server in SCRAM (RFC 5802, `server-first-message`) asks for more
/// than [`MOST_SCRAM_ROUNDS`].
#[must_use]
pub fn has_too_many_rounds(server_first: &[u8]) -> bool {
    let rounds = server_first
        .split(|byte| *byte == b',')
        .filter_map(|attribute| attribute.strip_prefix(b"i="));
    // What is no number is refused by whoever reads the whole; a larger one is too many.
    rounds.into_iter().any(|digits| {
        let digits = digits.trim_ascii();
        !digits.is_empty()
            && digits.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .is_none_or(|rounds: u32| rounds > MOST_SCRAM_ROUNDS)
    })
}

#[cfg(test)]
mod tests {
    use super::AuthMethod::{Gss, Md5, None as Nothing, Password, ScramSha256};
    use super::*;

    fn list(text: &str) -> Result<RequireAuth, RequireAuthError> {
        RequireAuth::parse(text.split(','))
    }

    #[test]
    fn a_list_is_read_as_libpq_reads_it() {
        for (text, takes, refuses) in [
            ("", &[Nothing, Password, Md5, Gss, ScramSha256][..], &[][..]),
            (
                "scram-sha-256",
                &[ScramSha256],
                &[Nothing, Password, Md5, Gss],
            ),
            (
                "md5, scram-sha-256",
                &[Md5, ScramSha256],
                &[Nothing, Password, Gss],
            ),
            ("!password", &[Nothing, Md5, Gss, ScramSha256], &[Password]),
            (
                "!none,!password,!md5",
                &[Gss, ScramSha256],
                &[Nothing, Password, Md5],
            ),
            ("none", &[Nothing], &[Password, Md5, Gss, ScramSha256]),
            ("gss,sspi,oauth", &[Gss], &[Nothing, ScramSha256]),
        ] {
            let list = list(text).unwrap();
            for method in takes {
                assert!(list.allows(*method), "{text}: {method:?}");
            }
            for method in refuses {
                assert!(!list.allows(*method), "{text}: {method:?}");
            }
            assert_eq!(list.to_string(), text.replace(' ', ""));
        }
        for (text, error) in [
            ("scram", RequireAuthError::Unknown),
            ("SCRAM-SHA-256", RequireAuthError::Unknown),
            ("!", RequireAuthError::Unknown),
            ("md5,!password", RequireAuthError::Mixed),
            ("!md5,password", RequireAuthError::Mixed),
            ("md5,md5", RequireAuthError::Twice),
        ] {
            assert_eq!(list(text), Err(error), "{text}");
        }
        assert!(list("!password").unwrap().allows(Md5));
        assert!(!list("!password").unwrap().names(Md5));
    }

    #[test]
    fn rounds_of_scram_are_bounded() {
        for (text, too_many) in [
            ("r=abc,s=c2FsdA==,i=4096", false),
            ("r=abc,s=c2FsdA==,i=1000000", false),
            ("r=abc,s=c2FsdA==,i=1000001", true),
            ("r=abc,s=c2FsdA==,i=2147483647", true),
            ("r=abc,s=c2FsdA==,i=99999999999999999999", true),
            ("r=abc,s=c2FsdA==,i=4096,i=2147483647", true),
            ("r=abc,s=c2FsdA==,i=", false),
            ("", false),
        ] {
            assert_eq!(has_too_many_rounds(text.as_bytes()), too_many, "{text}");
        }
    }

    #[test]
    fn a_request_is_answered_where_it_costs_nothing() {
        // require_auth, verified, SCRAM before; what is answered of none, password, md5, SCRAM.
        for (require, private, scram_before, answered) in [
            ("", false, false, [true, false, true, true]),
            ("", true, false, [true, true, true, true]),
            ("", false, true, [false, false, false, true]),
            ("", true, true, [false, false, false, true]),
            ("password", false, false, [false, true, false, false]),
            ("password", false, true, [false, true, false, false]),
            ("md5,scram-sha-256", false, true, [false, false, true, true]),
            ("!none", false, false, [false, false, true, true]),
            ("!none", true, true, [false, false, false, true]),
            ("scram-sha-256", true, false, [false, false, false, true]),
            ("none", false, true, [true, false, false, false]),
        ] {
            let rules = AuthRules {
                require: list(require).unwrap(),
                private,
                scram_before,
                binding_before: false,
            };
            let methods = [Nothing, Password, Md5, ScramSha256];
            let found = methods.map(|method| rules.check(method).is_ok());
            assert_eq!(found, answered, "{require} {private} {scram_before}");
        }
    }

    #[test]
    fn what_was_bound_to_its_channel_stays_bound() {
        use ScramBinding::{Bound, NoneForCertificate, NotOffered};
        // require_auth, verified, bound before; whether each of the three goes on.
        for (require, private, binding_before, answered) in [
            ("", false, false, [true, true, true]),
            ("", false, true, [true, false, false]),
            ("", true, true, [true, true, false]),
            ("!md5", false, true, [true, false, false]),
            ("scram-sha-256", false, true, [true, true, true]),
        ] {
            let rules = AuthRules {
                require: list(require).unwrap(),
                private,
                scram_before: true,
                binding_before,
            };
            let found = [Bound, NoneForCertificate, NotOffered]
                .map(|binding| rules.check_binding(binding).is_ok());
            assert_eq!(found, answered, "{require} {private} {binding_before}");
        }
    }
}
