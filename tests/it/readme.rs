//! README's walk-through, run as it is written: the same blocks, the built program, an empty folder.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const SECTION: &str = "## One order, from submit to stop";
/// What the walk-through says; the test takes a free port instead, for nothing else.
const ADDRESS: &str = "127.0.0.1:8080";

/// The `sh` blocks of a section.
fn blocks(readme: &str, section: &str) -> String {
    let (_, rest) =
        readme.split_once(&format!("\n{section}\n")).unwrap_or_else(|| panic!("there is no {section:?}"));
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_walk_runs_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let walk = blocks(&fs::read_to_string(root.join("README.md")).unwrap(), SECTION);
    assert!(walk.contains("/verdict") && walk.contains(ADDRESS), "{walk}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let walk = walk.replace(ADDRESS, &port.to_string());

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deploy")).unwrap();
    for name in ["labs.toml", "order.json"] {
        fs::copy(root.join("deploy").join(name), folder.path().join("deploy").join(name)).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_stoppress")).parent().unwrap().to_str().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the walk-through runs with the PATH of whoever runs it")]
    let path = std::env::var("PATH").unwrap_or_default();
    // Whatever fails on the way, the gateway does not stay behind.
    let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{walk}\n");
    let walked = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", format!("{program}:{path}"))
        .env_remove("STOPPRESS_KEY")
        .env_remove("STOPPRESS_CONFIG")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&walked.stdout);
    let log = fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
    let said = format!("{out}\n--- said\n{}\n--- log\n{log}", String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{said}");
    let verdict = out.find("\"can_stop\":\"yes\"").unwrap_or_else(|| panic!("{said}"));
    let stopped = out.find("\"state\":\"stopped\"").unwrap_or_else(|| panic!("{said}"));
    assert!(verdict < stopped && out.contains("stop.stopped"), "{said}");
    assert!(!log.contains("ERROR"), "{said}");
}

#[test]
fn blocks_are_those_of_the_section() {
    let readme = "# a\n```sh\nno\n```\n## B\n\n```sh\none\n```\ntext\n```\nno\n```\n\n```sh\ntwo\nthree\n```\n\n## C\n```sh\nno\n```\n";
    assert_eq!(blocks(readme, "## B"), "one\ntwo\nthree");
}

#[test]
fn ci_runs_the_command_that_readme_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let run = fs::read_to_string(root.join(".ci/run")).unwrap();
    let command = run.lines().find_map(|line| line.strip_prefix("exec ")).unwrap();
    assert!(readme.contains(&format!("\n```\n{command}\n```\n")), "README does not give {command:?}");
}
