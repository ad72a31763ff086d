//! A temporary folder that outlives nobody: it goes away, with every process that works in it,
//! when its value is dropped, and also when the test's process dies in whatever way.
//!
//! A small shell waits at the end of a pipe whose other end this process holds. However the
//! process ends, the kernel closes the pipe, and the shell stops what has its working folder
//! below the temporary one, then removes it. So whoever starts a process for a test gives it a
//! working folder in a [`Keeper`], and need think of nothing else.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::account;

/// Processes that may leave their working folder (daemons do) carry the folder in this variable.
pub const FOLDER_VARIABLE: &str = "PGEXPORTER_TESTBED";

/// PostgreSQL is asked to end at once (it removes its shared memory then) and killed when it does
/// not within 5 s; everything else is killed.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folder=$1
read -r _
inside() {
    find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$folder" -o -lname "$folder/*" \) 2>/dev/null |
        cut -d/ -f3
    grep -lzxF "PGEXPORTER_TESTBED=$folder" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}
all() { for pid in $(inside); do kill -"$1" "$pid" 2>/dev/null; done; }
all CONT
polite=0
if read -r server <"$folder/data/postmaster.pid" 2>/dev/null; then
    for pid in $(inside); do
        [ "$pid" = "$server" ] && kill -QUIT "$pid" && polite=100
    done
fi
turn=0
while [ -n "$(inside)" ] && [ $turn -lt 400 ]; do
    [ $turn -lt $polite ] || all KILL
    sleep 0.05
    turn=$((turn + 1))
done
rm -rf "$folder"
# Control groups of a node that worked in it.
find /sys/fs/cgroup/*/"${folder##*/}" -depth -type d -exec rmdir {} \; 2>/dev/null
"#;

/// A temporary folder and the shell that watches over it.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    pipe: Option<ChildStdin>,
    shell: Child,
}

impl Keeper {
    /// Makes a new, empty folder, which belongs to the user of the servers.
    pub fn new() -> io::Result<Self> {
        Self::below(&account::temporary())
    }

    /// The same for a data folder, in memory where there is plenty. Programs may not run there.
    pub fn for_data() -> io::Result<Self> {
        Self::below(&account::roomy_memory())
    }

    fn below(place: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pgx-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(place)?
            .keep()
            .canonicalize()?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "pgexporter-testbeds-keeper"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches the whole group of the test; the shell has to work after it.
            .process_group(0)
            .spawn()?;
        let keeper = Self {
            folder,
            pipe: shell.stdin.take(),
            shell,
        };
        // The umask may have taken away what the other user needs.
        std::fs::set_permissions(&keeper.folder, PermissionsExt::from_mode(0o755))?;
        account::own(&keeper.folder)?;
        Ok(keeper)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The processes that work in the folder, by id.
    pub fn processes(&self) -> Vec<i32> {
        processes_in(&self.folder)
    }

    /// Lets the shell begin to clean up; [`Drop`] waits for its end.
    pub fn close(&mut self) {
        drop(self.pipe.take());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
        let _ = self.shell.wait();
    }
}

/// The processes whose working folder is `folder` or lies below it, by id.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|process| {
            let id = process.file_name().to_str()?.parse().ok()?;
            let works_in = std::fs::read_link(process.path().join("cwd")).ok()?;
            works_in.starts_with(folder).then_some(id)
        })
        .collect()
}

/// The state letter of a process (`R`, `S`, `T` for stopped, `Z`), `None` when there is none.
pub fn state(process: i32) -> Option<char> {
    let mut text = String::new();
    std::fs::File::open(format!("/proc/{process}/stat"))
        .ok()?
        .read_to_string(&mut text)
        .ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}
