//! `docs/write-a-plugin.md` is true: every command on the page is run, in its
//! order and in one shell, against a real server. The server and its clients
//! are in a network namespace of their own; the crates come from cargo's cache,
//! in the versions of this repository.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pintle_e2e::{bin_dir, compiled, hermetic, require_machine, workspace};

/// The ```sh blocks of a page, with the line each begins at.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        match (inside, line.trim_end()) {
            (false, "```sh") => {
                inside = true;
                blocks.push((number + 2, String::new()));
            }
            (true, "```") => inside = false,
            (true, line) => {
                if let Some((_, text)) = blocks.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    assert!(!inside, "the last block is not closed");
    blocks
}

/// One script: what fails is named by the line of the page that its block
/// begins at, and nothing that was started outlives it. The first start of the
/// page's server finds the plugins that it has built in compiled already: that is
/// half a minute of all processors, and what other tests do.
fn script(page: &str) -> String {
    let mut script = String::from(
        "set -eu\nBLOCK=none\n\
         mkdir() { command mkdir \"$@\"; [ \"$1\" != tutorial ] || mv \"$HERE/compiled\" tutorial/cluster; }\n\
         at_exit() { code=$?; [ $code = 0 ] || { echo \"FAILED in the block at line $BLOCK\" >&2; \
         tail -n 20 \"$HERE/tutorial/server.log\" >&2 || true; }; \
         [ ! -f \"$HERE/tutorial/server.pid\" ] || kill \"$(cat \"$HERE/tutorial/server.pid\")\" 2>/dev/null || true; }\n\
         trap at_exit EXIT\nip link set lo up\n",
    );
    for (line, text) in blocks(page) {
        let _ = write!(script, "BLOCK={line}\necho \"== line {line}\" >&2\n{text}");
    }
    script
}

#[test]
fn blocks_are_found_by_their_mark() {
    let page = "text\n```sh\na\nb\n```\n```text\nout\n```\n```sh\nc\n```\n";
    assert_eq!(blocks(page), [(3, "a\nb\n".to_owned()), (10, "c\n".to_owned())]);
}

#[test]
fn every_command_of_the_page_works() {
    require_machine!();
    let workspace = workspace();
    let page = std::fs::read_to_string(workspace.join("docs/write-a-plugin.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    compiled::provide(&folder.path().join("compiled"));
    let output = run(&script(&page), folder.path(), &workspace);
    let log = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}\n{errors}");
    // What the page promises to the reader.
    for promised in ["disk-scorer", "node(s) without a disk of type tape", "test result: ok"] {
        assert!(log.contains(promised), "{promised} is missing in:\n{log}\n{errors}");
    }
}

fn run(script: &str, folder: &Path, workspace: &Path) -> std::process::Output {
    let path = std::env::var("PATH").unwrap_or_default();
    // Kept between runs, so that the SDK is compiled once.
    let target = workspace.join("target/tutorial");
    let mut command = Command::new("unshare");
    // Where cargo has its crates.
    hermetic(&mut command, Path::new(&std::env::var_os("HOME").unwrap_or_default()));
    command
        .args(["--net", "bash", "-c", script])
        .current_dir(folder)
        .env("HERE", folder)
        .env("PATH", format!("{}:{path}", bin_dir().display()))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .expect("unshare and bash are there")
}
