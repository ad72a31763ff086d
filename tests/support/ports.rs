//! Free TCP ports.
//!
//! Ports below the range from which the kernel takes those of outgoing connections, each locked
//! by a file for as long as the value lives: no other test, in this process or another, is given
//! it, even while the server that uses it is stopped.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::downloads;

/// A port on 127.0.0.1 (and `::1` where there is IPv6) that is ours until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: Option<File>,
}

impl Port {
    /// A port that nobody uses.
    pub fn free() -> Self {
        let folder = downloads::cache()
            .expect("there is a cache folder")
            .join("ports");
        std::fs::create_dir_all(&folder).expect("the cache folder can be written");
        for _ in 0..1000 {
            let number = 20_000 + (random() % 12_000) as u16;
            let file = File::create(folder.join(number.to_string())).expect("a lock file");
            if file.try_lock().is_ok() && unused(number) {
                return Self {
                    number,
                    _lock: Some(file),
                };
            }
        }
        panic!("no free port between 20000 and 32000");
    }

    /// A port that the caller names.
    pub fn fixed(number: u16) -> Self {
        Self {
            number,
            _lock: None,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Whether this machine has IPv6 on loopback.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn unused(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
        && (!has_ipv6() || TcpListener::bind((Ipv6Addr::UNSPECIFIED, number)).is_ok())
}

fn random() -> u32 {
    getrandom::u32().expect("random numbers")
}
