//! Between a [`Value`] of the file and the type a field of the configuration has.

use std::path::PathBuf;
use std::time::Duration;

use super::configuration::{
    Discover, HugePage, KubernetesMode, ManagementTls, ProcessTitle, ServerKind, ServerTls, Shards,
};
use super::value::Value;
use crate::telemetry::{LogFormat, LogLevel, LogMode, LogType};

/// A type that a key can have.
pub(super) trait Field: Sized {
    /// `None` when the table of keys gives the key a kind that does not fit the field.
    fn from_value(value: &Value) -> Option<Self>;
    fn to_value(&self) -> Value;
}

impl Field for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Unset => Some(String::new()),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match self.is_empty() {
            true => Value::Unset,
            false => Value::Text(self.clone()),
        }
    }
}

impl Field for Option<String> {
    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(|text| (!text.is_empty()).then_some(text))
    }

    fn to_value(&self) -> Value {
        self.clone().unwrap_or_default().to_value()
    }
}

impl Field for Option<PathBuf> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Some(PathBuf::from(text))),
            Value::Unset => Some(None),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            // The file is UTF-8, and so is every path in it.
            Some(path) => Value::Text(path.display().to_string()),
            None => Value::Unset,
        }
    }
}

impl Field for PathBuf {
    fn from_value(value: &Value) -> Option<Self> {
        Option::<PathBuf>::from_value(value).map(Option::unwrap_or_default)
    }

    fn to_value(&self) -> Value {
        let set = !self.as_os_str().is_empty();
        set.then(|| self.clone()).to_value()
    }
}

macro_rules! number_fields {
    ($($number:ty => $value:ident),*) => {$(
        impl Field for $number {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$value(number) => (*number).try_into().ok(),
                    _ => None,
                }
            }

            fn to_value(&self) -> Value {
                Value::$value((*self).try_into().unwrap_or(u64::MAX))
            }
        }
    )*};
}

number_fields!(u16 => Number, u32 => Number, usize => Number, u64 => Size);

/// A port, where 0 is off.
impl Field for Option<u16> {
    fn from_value(value: &Value) -> Option<Self> {
        u16::from_value(value).map(|port| (port != 0).then_some(port))
    }

    fn to_value(&self) -> Value {
        self.unwrap_or(0).to_value()
    }
}

impl Field for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(on) => Some(*on),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl Field for Duration {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        Value::Duration(*self)
    }
}

/// A duration, or `auto`.
impl Field for Option<Duration> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Word("auto") => Some(None),
            value => Duration::from_value(value).map(Some),
        }
    }

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Word("auto"), Field::to_value)
    }
}

impl Field for Vec<String> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::List(names) => Some(names.clone()),
            Value::Unset => Some(Vec::new()),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }
}

/// A word that only its text matters of.
impl Field for &'static str {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        Value::Word(self)
    }
}

macro_rules! word_fields {
    ($($word:ty { $($text:literal => $variant:ident),* })*) => {$(
        impl Field for $word {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $(Value::Word($text) => Some(<$word>::$variant),)*
                    _ => None,
                }
            }

            fn to_value(&self) -> Value {
                match self {
                    $(<$word>::$variant => Value::Word($text),)*
                }
            }
        }
    )*};
}

word_fields! {
    LogType { "console" => Console, "file" => File, "syslog" => Syslog }
    LogLevel {
        "debug5" => Trace, "debug" => Debug, "info" => Info, "warn" => Warn, "error" => Error,
        "fatal" => Fatal
    }
    LogMode { "append" => Append, "create" => Create }
    LogFormat { "text" => Text, "json" => Json }
    KubernetesMode { "auto" => Auto, "on" => On, "off" => Off }
    Shards { "off" => Off, "lease" => Lease }
    ManagementTls { "allow" => Allow, "require" => Require }
    Discover { "off" => Off, "services" => Services }
    HugePage { "off" => Off, "try" => Try, "on" => On }
    ProcessTitle {
        "never" => Never, "strict" => Strict, "minimal" => Minimal, "verbose" => Verbose
    }
    ServerKind { "postgresql" => Postgresql, "prometheus" => Prometheus }
    ServerTls {
        "off" => Off, "try" => Try, "on" => On, "verify-ca" => VerifyCa,
        "verify-full" => VerifyFull
    }
}
