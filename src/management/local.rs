//! The Unix socket `<unix_socket_dir>/.s.pgexporter`: one that a dead exporter left is replaced,
//! one that answers is refused.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

/// The name of the socket in its folder.
pub const SOCKET_NAME: &str = ".s.pgexporter";

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another exporter answers there.
    #[error("another pgexporter answers on {0}; stop it, or give each its own unix_socket_dir")]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("{0} is there and is no socket; move it away, or choose another unix_socket_dir")]
    NoSocket(PathBuf),
    /// The path does not fit into the address of a socket.
    #[error(
        "{path} has {length} bytes, and the system takes {LONGEST} for a socket; choose a shorter \
         unix_socket_dir"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// There is no such group.
    #[error("unix_socket_group = {0}: there is no such group; `getent group` lists them")]
    NoGroup(String),
    /// Anything else.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LocalError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        LocalError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// `sun_path` less the byte that ends it (unix(7)), and less what the name has while it is made.
const LONGEST: usize = 107 - 12;

/// A listening socket. Its name is removed when it is dropped.
#[derive(Debug)]
pub struct LocalSocket {
    path: PathBuf,
    identity: (u64, u64),
    pub(super) listener: UnixListener,
}

impl LocalSocket {
    /// Listens in `folder`, with mode 0600, or 0660 for a group (a name or a number).
    ///
    /// # Errors
    /// [`LocalError`]; its text says what to do.
    pub fn bind(folder: &Path, group: Option<&str>) -> Result<Self, LocalError> {
        let path = folder.join(SOCKET_NAME);
        let length = path.as_os_str().len();
        if length > LONGEST {
            return Err(LocalError::TooLong { path, length });
        }
        let group = group
            .filter(|group| !group.is_empty())
            .map(group_id)
            .transpose()?;
        // Two that start at once look and replace one after the other.
        let lock = File::open(folder).map_err(|e| LocalError::io("open", folder, e))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| LocalError::io("lock", folder, e.into()))?;
        check_unused(&path)?;

        let beside = folder.join(format!("{SOCKET_NAME}.{}", std::process::id()));
        let _ = fs::remove_file(&beside);
        let made = listen(&beside, group).and_then(|listener| {
            // Under its name it can be connected to at once, and by nobody who may not.
            let identity = identity(&fs::symlink_metadata(&beside)?);
            fs::rename(&beside, &path)?;
            Ok((listener, identity))
        });
        let (listener, identity) = made.map_err(|error| {
            let _ = fs::remove_file(&beside);
            LocalError::io("listen on", &path, error)
        })?;
        Ok(Self {
            path,
            identity,
            listener,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // One that another has made since stays.
        if fs::symlink_metadata(&self.path).is_ok_and(|about| identity(&about) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the name is free, or a dead exporter's.
fn check_unused(path: &Path) -> Result<(), LocalError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LocalError::io("look at", path, error)),
        Ok(about) if !about.file_type().is_socket() => {
            return Err(LocalError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(LocalError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        // It went away meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Its queue is full: so it lives.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(LocalError::InUse(path.to_owned()))
        }
        Err(error) => Err(LocalError::io("connect to", path, error)),
    }
}

fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    // Only now can anybody connect.
    socket.listen(BACKLOG)?;
    Ok(std::os::fd::OwnedFd::from(socket).into())
}

fn identity(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

fn group_id(name: &str) -> Result<u32, LocalError> {
    let unknown = || LocalError::NoGroup(name.to_owned());
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").map_err(|_| unknown())?;
    groups
        .lines()
        .find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name)).then(|| fields.get(2)?.parse().ok())?
        })
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_for_its_user_alone_and_gone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = LocalSocket::bind(folder.path(), None).unwrap();
        assert_eq!(socket.path(), folder.path().join(".s.pgexporter"));
        assert_eq!(mode(socket.path()), 0o600);
        UnixStream::connect(socket.path()).unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_group_may_come_in_and_an_unknown_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw();
        let socket = LocalSocket::bind(folder.path(), Some(&own.to_string())).unwrap();
        assert_eq!(mode(socket.path()), 0o660);
        assert_eq!(fs::metadata(socket.path()).unwrap().gid(), own);
        drop(socket);
        let root = LocalSocket::bind(folder.path(), Some("root"));
        // Only root may give files to other groups.
        assert!(root.is_ok() || matches!(root, Err(LocalError::Io { .. })));
        drop(root);
        let error = LocalSocket::bind(folder.path(), Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("no-such-group"), "{error}");
    }

    #[test]
    fn a_live_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = LocalSocket::bind(folder.path(), None).unwrap();
        let error = LocalSocket::bind(folder.path(), None).unwrap_err();
        assert!(matches!(error, LocalError::InUse(_)), "{error}");
        UnixStream::connect(first.path()).unwrap();
    }

    #[test]
    fn one_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_NAME);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = LocalSocket::bind(folder.path(), None).unwrap();
        UnixStream::connect(socket.path()).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays_and_one_that_is_anothers_now_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET_NAME);
        fs::write(&path, "precious").unwrap();
        let error = LocalSocket::bind(folder.path(), None).unwrap_err();
        assert!(matches!(error, LocalError::NoSocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        let socket = LocalSocket::bind(folder.path(), None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"another's");
    }

    #[test]
    fn a_path_that_is_too_long_is_told_with_what_to_do() {
        let error = LocalSocket::bind(Path::new(&"/x".repeat(60)), None).unwrap_err();
        assert!(
            error.to_string().contains("shorter unix_socket_dir"),
            "{error}"
        );
    }

    #[test]
    fn of_many_that_start_at_once_exactly_one_gets_the_name() {
        let folder = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap());
        let bound: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| LocalSocket::bind(folder.path(), None)))
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(bound.iter().filter(|one| one.is_ok()).count(), 1);
    }
}
