//! Colours for people who watch a terminal that shows them.

use std::io::{self, IsTerminal};

/// Whether what is printed may be coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    coloured: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    /// Neither, but worth a look.
    Notice,
    Head,
}

impl Style {
    /// Of what goes to the standard output.
    pub(super) fn of_output() -> Self {
        Self::for_stream(&io::stdout())
    }

    /// Of what goes to the standard error.
    pub(super) fn of_errors() -> Self {
        Self::for_stream(&io::stderr())
    }

    /// By the terminal, `TERM`, and `NO_COLOR` of <https://no-color.org>: set and not empty.
    fn for_stream(stream: &impl IsTerminal) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let able = variable("TERM").is_none_or(|term| term != "dumb");
        Self {
            coloured: stream.is_terminal() && able && variable("NO_COLOR").is_none(),
        }
    }

    /// The text in that tone. Its width on the terminal is the same.
    pub(super) fn paint(self, tone: Option<Tone>, text: &str) -> String {
        let code = match tone {
            Some(tone) if self.coloured && !text.is_empty() => match tone {
                Tone::Good => "32",
                Tone::Bad => "31",
                Tone::Notice => "33",
                Tone::Head => "1",
            },
            _ => return text.to_owned(),
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_paints() {
        let coloured = Style { coloured: true };
        assert_eq!(coloured.paint(Some(Tone::Bad), "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(coloured.paint(None, "no"), "no");
        assert_eq!(Style::default().paint(Some(Tone::Bad), "no"), "no");
    }
}
