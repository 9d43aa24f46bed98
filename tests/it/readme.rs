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

/// Runs the `sh` blocks of a section in a folder, as they are written but for what `change` changes; gives what
/// they print. Whatever fails ends the test.
pub(crate) fn walk(text: &str, section: &str, folder: &Path, change: impl Fn(&str) -> String) -> String {
    let walk = change(&blocks(text, section));
    let program = Path::new(env!("CARGO_BIN_EXE_stoppress")).parent().unwrap().to_str().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the walk-through runs with the PATH of whoever runs it")]
    let path = std::env::var("PATH").unwrap_or_default();
    // Whatever fails on the way, what was started does not stay behind.
    let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{walk}\n");
    let walked = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder)
        .env("PATH", format!("{program}:{path}"))
        .env_remove("STOPPRESS_KEY")
        .env_remove("STOPPRESS_CONFIG")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&walked.stdout).into_owned();
    let log = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let logs = ["serve.log", "lab.log"].map(log).concat();
    let said = format!("{out}\n--- said\n{}\n--- log\n{logs}", String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{said}");
    assert!(!logs.contains("ERROR"), "{said}");
    out
}

#[test]
fn the_walk_runs_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(blocks(&readme, SECTION).contains(ADDRESS));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deploy")).unwrap();
    for name in ["labs.toml", "order.json"] {
        fs::copy(root.join("deploy").join(name), folder.path().join("deploy").join(name)).unwrap();
    }
    let out = walk(&readme, SECTION, folder.path(), |text| text.replace(ADDRESS, &port.to_string()));
    let verdict = out.find("\"can_stop\":\"yes\"").unwrap_or_else(|| panic!("{out}"));
    let stopped = out.find("\"state\":\"stopped\"").unwrap_or_else(|| panic!("{out}"));
    assert!(verdict < stopped && out.contains("stop.stopped"), "{out}");
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
