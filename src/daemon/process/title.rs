//! The name of the process in `ps`, `top` and `pgrep`.
//!
//! The C program writes over its arguments. That cannot be done safely here, and hides how it was
//! started; so the name (`comm`) says what the arguments do not. It has room for 15 bytes, and
//! always begins with `pgexporter`.

use std::fs;
use std::io;

use crate::config::ProcessTitle;

/// `TASK_COMM_LEN` of the kernel, less the byte that ends it.
const LONGEST: usize = 15;

/// Names the process as the key `update_process_title` says. May be called again after a reload.
///
/// * `never`: nothing is changed; a name given before stays.
/// * `strict`, `minimal`: `pgexporter`, also when the program's file is called otherwise.
/// * `verbose`: `pgexporter:5002`, with the metrics port; only `pgexporter` when the port has five
///   digits, for which there is no room.
///
/// # Errors
/// `/proc` is not there or read only; the process can run on with the name it has.
pub fn apply(title: ProcessTitle, metrics_port: u16) -> io::Result<()> {
    match title_of(title, metrics_port) {
        // Not by prctl: that names the calling thread, and the process has the main thread's name.
        Some(name) => fs::write("/proc/self/comm", name),
        None => Ok(()),
    }
}

fn title_of(title: ProcessTitle, metrics_port: u16) -> Option<String> {
    let short = "pgexporter".to_owned();
    match title {
        ProcessTitle::Never => None,
        ProcessTitle::Strict | ProcessTitle::Minimal => Some(short),
        ProcessTitle::Verbose => {
            let long = format!("{short}:{metrics_port}");
            Some(if long.len() <= LONGEST { long } else { short })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_what_the_kernel_keeps() {
        assert_eq!(title_of(ProcessTitle::Never, 5002), None);
        assert_eq!(title_of(ProcessTitle::Strict, 5002).unwrap(), "pgexporter");
        assert_eq!(title_of(ProcessTitle::Minimal, 5002).unwrap(), "pgexporter");
        assert_eq!(
            title_of(ProcessTitle::Verbose, 5002).unwrap(),
            "pgexporter:5002"
        );
        assert_eq!(
            title_of(ProcessTitle::Verbose, 50_002).unwrap(),
            "pgexporter"
        );
    }

    #[test]
    fn the_process_gets_its_name_also_from_another_thread() {
        let comm = || fs::read_to_string("/proc/self/comm").unwrap();
        apply(ProcessTitle::Verbose, 5002).unwrap();
        assert_eq!(comm(), "pgexporter:5002\n");
        apply(ProcessTitle::Never, 6003).unwrap();
        assert_eq!(comm(), "pgexporter:5002\n");
        apply(ProcessTitle::Strict, 5002).unwrap();
        assert_eq!(comm(), "pgexporter\n");
    }
}
