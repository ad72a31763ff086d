//! The process may do nothing that it need not.

use crate::scene::{HOME, Scene, scene};
use crate::support::images;

#[test]
#[ignore = "takes a cluster: make e2e"]
fn the_process_has_no_capability_and_can_write_to_two_folders_only() {
    let Some(scene) = scene() else { return };
    let pod = scene.own_pods().remove(0);
    // The image has no shell: a container beside it, which ends by itself, looks at the process.
    let image = format!("--image={}", images::postgres(17));
    let debug = [
        "debug",
        "-n",
        HOME,
        &pod,
        &image,
        "--image-pull-policy=Never",
        "--quiet",
    ];
    let beside = ["--profile=restricted", "--target=pgexporter", "-c", "look"];
    let wait = ["--", "sleep", "120"];
    scene
        .cluster
        .kubectl(&[&debug[..], &beside[..], &wait[..]].concat());
    let look = |file: &str| {
        let path = format!("/proc/1/{file}");
        let exec = ["exec", "-n", HOME, &pod, "-c", "look", "--", "cat", &path];
        let mut said = String::new();
        let seen = Scene::soon(|| match scene.cluster.try_kubectl(&exec) {
            Ok(text) => {
                said = text;
                true
            }
            Err(error) => {
                said = error;
                false
            }
        });
        assert!(seen, "{said}");
        said
    };
    let status = look("status");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_else(|| panic!("no {name}: {status}"))
    };
    // It puts its port into its title.
    assert!(field("Name").starts_with("pgexporter"), "{status}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    // 2 is a filter of system calls.
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("Uid"), "65532 65532 65532 65532");

    let mounts = look("mountinfo");
    let writable: Vec<&str> = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let (place, options) = (fields[4], fields[5]);
            let system = ["/proc", "/dev", "/sys"]
                .iter()
                .any(|of| place.starts_with(of));
            (!system && options.split(',').any(|option| option == "rw")).then_some(place)
        })
        .filter(|place| {
            ![
                "/etc/hosts",
                "/dev/termination-log",
                "/etc/hostname",
                "/etc/resolv.conf",
            ]
            .contains(place)
        })
        .collect();
    let mut writable = writable;
    writable.sort_unstable();
    assert_eq!(writable, ["/run/pgexporter", "/tmp"], "{mounts}");
    scene.is_whole();
}
